--- Where the admin API is bound, and whether that is safe: from the environment.

local ip = require "sluice.ip"
local options = require "sluice.options"

local settings = {}

-- Ten thousand routes with certificates are about 30 MiB.
local default_max_body = 64 * 1048576

-- Without the brackets of an IPv6 address; nil when it is no address. Names are not looked up: what
-- the API is bound to must not depend on what somebody else says.
local function address_of(text)
  local host = text:lower():match("^%[(.*)%]$") or text:lower()
  return (host == "localhost" or ip.parse(host)) and host or nil
end

--- Does this host mean this machine alone?
function settings.is_loopback(host)
  return host == "localhost" or ip.is_loopback(host)
end

local function why_exposed(prefix, host)
  return ("%s_HOST=%s is not a loopback address: set %s_TOKEN, or bind the admin API to 127.0.0.1")
    :format(prefix, host, prefix)
end

--- Reads the settings and decides whether they are safe.
-- @tparam function env name to value or nil
-- @tparam[opt="SMARTPROXY_ADMIN"] string prefix of the variables: PREFIX_HOST, PREFIX_PORT, …
-- @treturn ?table `host`, `port`, `token`, `max_body`, `prefix`
-- @treturn ?string why the API must not start like this
-- @usage local s, err = settings.read(sluice.env)
function settings.read(env, prefix)
  prefix = prefix or "SMARTPROXY_ADMIN"
  local function variable(name)
    return options.trimmed(env(prefix .. name))
  end
  local host_text, token = variable "_HOST" or "127.0.0.1", variable "_TOKEN"
  local host, port = address_of(host_text), options.any_port(variable "_PORT" or "3000")
  local max_body = variable "_MAX_BODY" or tostring(default_max_body)
  if not host then
    return nil, ('%s_HOST=%s is neither an IP address nor "localhost"'):format(prefix, host_text)
  end
  if not port then
    return nil, prefix .. "_PORT: not a port (1 to 65535)"
  end
  if not max_body:find("^%d+$") or tonumber(max_body) > 2 ^ 30 then
    return nil, prefix .. "_MAX_BODY: not a number of bytes (up to 1073741824)"
  end
  if not token and not settings.is_loopback(host) then
    return nil, why_exposed(prefix, host)
  end
  return { host = host, port = port, token = token, max_body = tonumber(max_body), prefix = prefix }
end

return settings
