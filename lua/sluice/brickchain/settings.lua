--- The settings of a server: environment and command line. docs/brickchain.md lists them.

local ip = require "sluice.ip"
local options = require "sluice.options"

local settings = {}

-- ":6519" or "192.0.2.1:6519" as { port, host }.
local function address(text)
  local host, port = text:match("^(.*):(%d+)$")
  port = port and options.port(port)
  host = host and host:gsub("^%[(.*)%]$", "%1")
  if not port or (host ~= "" and not ip.parse(host)) then
    return nil, 'not an address like ":6519" or "192.0.2.1:6519"'
  end
  return { port = port, host = host ~= "" and host or nil }
end

local function count(most)
  return function(text)
    local n = text:find("^%d+$") and #text < 12 and tonumber(text)
    if not n or n > most then
      return nil, ("not a number (0 to %d)"):format(most)
    end
    return n
  end
end

local function one_of(...)
  local known = { ... }
  return function(text)
    for _, word in ipairs(known) do
      if word == text then
        return text
      end
    end
    return nil, "must be " .. table.concat(known, " or ")
  end
end

local function base(text)
  if not text:find("^https?://[^/]+") then
    return nil, "not a URL with http or https"
  end
  return text
end

local function domain(text)
  local name = text:lower():match("^%.?([%w%-.]+:?%d*)$")
  if not name then
    return nil, "not a domain"
  end
  return name
end

local function addresses(text)
  local set = {}
  for word in text:gmatch("[^%s,]+") do
    if not ip.parse(word) then
      return nil, word .. " is not an IP address"
    end
    set[word] = true
  end
  return set
end

-- "host:port", or the path of a socket.
local function redis(text)
  if text:sub(1, 1) == "/" then
    return { unix = text }
  end
  local host, port = text:match("^(.+):(%d+)$")
  port = port and options.port(port)
  if not port then
    return nil, 'not an address like "localhost:6379"'
  end
  return { host = host, port = port }
end

local store = one_of("inmem", "redis")

local rows = {
  { name = "address", variable = "ADDR", option = "--addr", read = address, otherwise = ":6519" },
  { name = "base", variable = "BASE", option = "--base", read = base,
    otherwise = "http://localhost:6519" },
  { name = "domain", variable = "DOMAIN", option = "--domain", read = domain },
  { name = "cache", variable = "CACHE", read = store, otherwise = "inmem" },
  { name = "pubsub", variable = "PUBSUB", read = store, otherwise = "inmem" },
  { name = "redis", variable = "REDIS", read = redis, otherwise = "localhost:6379" },
  { name = "tls_address", variable = "TLS_ADDR", option = "--tls-addr", read = address },
  { name = "tls_cert", variable = "TLS_CERT", read = options.text },
  { name = "tls_key", variable = "TLS_KEY", read = options.text },
  { name = "rate_limit", variable = "RATE_LIMIT", read = count(1e9), otherwise = "500" },
  { name = "rate_seconds", variable = "RATE_SECONDS", read = count(86400), otherwise = "300" },
  { name = "timeout", variable = "TIMEOUT", read = count(3600), otherwise = "30" },
  { name = "max_body", variable = "MAX_BODY", read = count(512000), otherwise = "512000" },
  { name = "max_document", variable = "MAX_DOCUMENT", read = count(1000000),
    otherwise = "512000" },
  { name = "max_message", variable = "MAX_MESSAGE", read = count(64 * 1024 * 1024),
    otherwise = "1048576" },
  { name = "max_age", variable = "TOKEN_MAX_AGE", read = count(86400), otherwise = "0" },
  { name = "ping_interval", variable = "PING_SECONDS", read = count(15), otherwise = "10" },
  { name = "trusted", variable = "TRUSTED_PROXIES", read = addresses, otherwise = "" },
}

local function check_tls(given)
  if given.tls_address and not (given.tls_cert and given.tls_key) then
    return nil, "TLS_ADDR: needs TLS_CERT and TLS_KEY"
  elseif given.tls_cert and not given.tls_address then
    return nil, "TLS_CERT: without TLS_ADDR nobody gets to see it"
  end
  return true
end

--- @tparam function env name to value or nil
-- @tparam table args the words of the command line
-- @treturn ?table
-- @treturn ?string what is wrong
function settings.read(env, args)
  local given, err = options.read(rows, env, args)
  if not given then
    return nil, err
  end
  local ok
  ok, err = check_tls(given)
  if not ok then
    return nil, err
  end
  -- Originals end themselves when they get no host name.
  given.domain = given.domain or given.base:match("^https?://([^/]+)"):lower()
  given.host_suffix = "." .. given.domain:gsub(":%d+$", "")
  if given.cache ~= "redis" and given.pubsub ~= "redis" then
    given.redis = nil
  end
  if given.ping_interval == 0 then
    return nil, "PING_SECONDS: clients hang up without pings"
  end
  return given
end

return settings
