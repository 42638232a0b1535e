--- Where the admin API is bound, and whether that is safe: from the environment.

local ip = require "sluice.ip"

local settings = {}

-- Ten thousand routes with certificates are about 30 MiB.
local default_max_body = 64 * 1048576

local function port_of(text)
  local port = text:find("^%d+$") and tonumber(text)
  return port and port <= 65535 and port or nil
end

-- Without the brackets of an IPv6 address; nil when it is no address. Names are not looked up: what
-- the API is bound to must not depend on what somebody else says.
local function address_of(text)
  local host = text:lower():match("^%[(.*)%]$") or text:lower()
  return (host == "localhost" or ip.parse(host)) and host or nil
end

local function trimmed(text)
  local body = text and text:match("^%s*(.-)%s*$")
  return body ~= "" and body or nil
end

--- Does this host mean this machine alone?
function settings.is_loopback(host)
  return host == "localhost" or ip.is_loopback(host)
end

--- Reads the settings and decides whether they are safe.
-- @tparam function env name to value or nil
-- @treturn ?table `host`, `port`, `token`, `max_body`
-- @treturn ?string why the API must not start like this
-- @usage local s, err = settings.read(sluice.env)
function settings.read(env)
  local host_text = trimmed(env("SMARTPROXY_ADMIN_HOST")) or "127.0.0.1"
  local host = address_of(host_text)
  local port = port_of(trimmed(env("SMARTPROXY_ADMIN_PORT")) or "3000")
  local max_body = trimmed(env("SMARTPROXY_ADMIN_MAX_BODY")) or tostring(default_max_body)
  local token = trimmed(env("SMARTPROXY_ADMIN_TOKEN"))
  if not host then
    return nil, ('SMARTPROXY_ADMIN_HOST=%s is neither an IP address nor "localhost"')
      :format(host_text)
  end
  if not port then
    return nil, "SMARTPROXY_ADMIN_PORT: not a port (1 to 65535)"
  end
  if not max_body:find("^%d+$") or tonumber(max_body) > 2 ^ 30 then
    return nil, "SMARTPROXY_ADMIN_MAX_BODY: not a number of bytes (up to 1073741824)"
  end
  if not token and not settings.is_loopback(host) then
    return nil, ("SMARTPROXY_ADMIN_HOST=%s is not a loopback address: set SMARTPROXY_ADMIN_TOKEN, "
      .. "or bind the admin API to 127.0.0.1"):format(host)
  end
  return { host = host, port = port, token = token, max_body = tonumber(max_body) }
end

return settings
