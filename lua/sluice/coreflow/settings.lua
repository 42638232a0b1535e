--- Where Coreflow is and which ports are served: options of the script, else the environment, else
-- what the original had.

local options = require "sluice.options"
local typedsocket = require "sluice.typedsocket"

local settings = {}

local function url(text)
  local ok, err = typedsocket.websocket_url(text)
  return ok and text, err
end

local rows = {
  { name = "url", option = "--coreflow-url", variable = "COREFLOW_URL", read = url,
    otherwise = "http://coreflow:3000" },
  { name = "http_port", option = "--http-port", variable = "CORETRAFFIC_HTTP_PORT",
    read = options.port, otherwise = "7999" },
  { name = "https_port", option = "--https-port", variable = "CORETRAFFIC_HTTPS_PORT",
    read = options.port, otherwise = "8000" },
  { name = "alt_svc_port", option = "--alt-svc-port", variable = "CORETRAFFIC_ALT_SVC_PORT",
    read = options.port, otherwise = "443" },
}

--- @tparam function env name to value or nil
-- @tparam table args the words of the command line
-- @treturn ?table `url`, `http_port`, `https_port`, `alt_svc_port`
-- @treturn ?string what is wrong
function settings.read(env, args)
  local result, err = options.read(rows, env, args)
  if not result then
    return nil, err
  end
  if result.http_port == result.https_port then
    return nil, ("port %d cannot serve HTTP and HTTPS: set CORETRAFFIC_HTTP_PORT or "
      .. "CORETRAFFIC_HTTPS_PORT"):format(result.http_port)
  end
  return result
end

return settings
