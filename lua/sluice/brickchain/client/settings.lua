--- The settings of a client: environment and command line. docs/brickchain.md lists them.

local options = require "sluice.options"

local settings = {}

-- An http or https URL as `scheme`, `authority` and `path` (without a slash at the end).
local function url(text)
  local scheme, authority, path = text:match("^(https?)://([^/?#%s]+)([^?#%s]*)$")
  if not scheme then
    return nil, "not a URL with http or https"
  elseif authority:find("@", 1, true) then
    return nil, "a URL with a user name cannot be used"
  end
  return { text = text, scheme = scheme, authority = authority, path = (path:gsub("/+$", "")) }
end

local function endpoint(text)
  local value, err = url(text)
  if value and value.path ~= "" then
    return nil, "must be no more than https://host or https://host:port"
  end
  return value, err
end

local function count(most)
  return function(text)
    local n = text:find("^%d+$") and #text < 10 and tonumber(text)
    if not n or n == 0 or n > most then
      return nil, ("not a number (1 to %d)"):format(most)
    end
    return n
  end
end

local rows = {
  { name = "endpoint", variable = "PROXY_ENDPOINT", option = "--endpoint", read = endpoint,
    otherwise = "https://proxy.svc.integrity.app" },
  { name = "target", variable = "LOCAL", option = "--local", read = url,
    otherwise = "http://localhost:8080" },
  { name = "host", variable = "LOCAL_HOST", read = options.text },
  { name = "key", variable = "KEY", option = "--key", read = options.text,
    otherwise = "./proxy-client.pem" },
  { name = "state", variable = "STATE", option = "--state", read = options.text },
  { name = "session", variable = "SESSION", option = "--session", read = options.text },
  { name = "ca_file", variable = "CA_FILE", read = options.text },
  { name = "local_ca_file", variable = "LOCAL_CA_FILE", read = options.text },
  { name = "local_verify", variable = "LOCAL_VERIFY", read = options.boolean, otherwise = "true" },
  { name = "timeout", variable = "LOCAL_TIMEOUT", read = count(86400), otherwise = "300" },
  { name = "max_requests", variable = "MAX_REQUESTS", read = count(100000), otherwise = "1000" },
  { name = "max_message", variable = "MAX_MESSAGE", read = count(64 * 1024 * 1024),
    otherwise = "1048576" },
}

--- @tparam function env name to value or nil
-- @tparam table args the words of the command line
-- @treturn ?table
-- @treturn ?string what is wrong
function settings.read(env, args)
  return options.read(rows, env, args)
end

return settings
