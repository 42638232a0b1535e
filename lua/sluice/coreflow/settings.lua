--- Where Coreflow is and which ports are served: options of the script, else the environment, else
-- what the original had.

local typedsocket = require "sluice.typedsocket"

local settings = {}

local rows = {
  { name = "url", option = "--coreflow-url", variable = "COREFLOW_URL",
    otherwise = "http://coreflow:3000" },
  { name = "http_port", option = "--http-port", variable = "CORETRAFFIC_HTTP_PORT",
    otherwise = "7999" },
  { name = "https_port", option = "--https-port", variable = "CORETRAFFIC_HTTPS_PORT",
    otherwise = "8000" },
  { name = "alt_svc_port", option = "--alt-svc-port", variable = "CORETRAFFIC_ALT_SVC_PORT",
    otherwise = "443" },
}

-- `--name value` or `--name=value`; the last one counts.
local function option_of(args, option)
  local found
  for i, word in ipairs(args) do
    if word == option then
      found = args[i + 1] or ""
    elseif word:sub(1, #option + 1) == option .. "=" then
      found = word:sub(#option + 2)
    end
  end
  return found
end

local function trimmed(text)
  local body = text and text:match("^%s*(.-)%s*$")
  return body ~= "" and body or nil
end

local function port_of(text)
  local port = text:find("^%d%d?%d?%d?%d?$") and tonumber(text)
  return port and port >= 1 and port <= 65535 and port or nil
end

-- The text of a setting and what to call it in a complaint.
local function text_of(row, env, args)
  local option = option_of(args, row.option)
  if option then
    return option, row.option
  end
  return trimmed(env(row.variable)) or row.otherwise, row.variable
end

local function read_row(row, env, args)
  local text, name = text_of(row, env, args)
  if row.name ~= "url" then
    local port = port_of(text)
    return port, not port and name .. ": not a port (1 to 65535)" or nil
  end
  local ok, err = typedsocket.websocket_url(text)
  return ok and text, err and name .. ": " .. err
end

--- @tparam function env name to value or nil
-- @tparam table args the words of the command line
-- @treturn ?table `url`, `http_port`, `https_port`, `alt_svc_port`
-- @treturn ?string what is wrong
function settings.read(env, args)
  local result = {}
  for _, row in ipairs(rows) do
    local value, err = read_row(row, env, args)
    if not value then
      return nil, err
    end
    result[row.name] = value
  end
  if result.http_port == result.https_port then
    return nil, ("port %d cannot serve HTTP and HTTPS: set CORETRAFFIC_HTTP_PORT or "
      .. "CORETRAFFIC_HTTPS_PORT"):format(result.http_port)
  end
  return result
end

return settings
