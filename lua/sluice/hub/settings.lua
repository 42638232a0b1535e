--- The settings of a hub: a table, as a script of its own writes it, or the environment.

local check = require "sluice.check"
local edges = require "sluice.hub.edges"
local options = require "sluice.options"
local publisher = require "sluice.tunnel.publisher"

local settings = {}

local keys = {
  tunnelPort = true, bindAddress = true, targetHost = true, quic = true, stateDir = true,
  edgesFile = true, edges = true, cert = true, key = true, certFile = true, keyFile = true,
  publicHost = true, publicPort = true, resumeTimeout = true, pingInterval = true,
  deadAfter = true, greetingTimeout = true, maxStreams = true, maxSessions = true, routes = true,
}

local function text(c, given, name, otherwise)
  if given[name] == nil then
    return otherwise
  end
  return c:string(given[name], name)
end

local function seconds(c, given, name)
  return given[name] ~= nil and c:integer(given[name], 1, 86400, "a number of seconds", name)
    or nil
end

local function count(c, given, name)
  return given[name] ~= nil and c:integer(given[name], 1, 1000000, "a number", name) or nil
end

-- PEM text, or the files that hold it; both of a kind or none.
local function pair(c, given, cert, key)
  if (given[cert] == nil) ~= (given[key] == nil) then
    c:fail("is missing beside " .. (given[cert] and cert or key), given[cert] and key or cert)
  end
  return given[cert] ~= nil
end

local function check_certificate(c, given)
  local has_text = pair(c, given, "cert", "key")
  if pair(c, given, "certFile", "keyFile") and has_text then
    c:fail("stands beside cert; use one of the two", "certFile")
  end
end

local function compile(given)
  local c = check.new()
  c:object(given, keys)
  check_certificate(c, given)
  local port = c:integer(given.tunnelPort or 8443, 0, 65535, "a port", "tunnelPort")
  return {
    port = port,
    bind_address = text(c, given, "bindAddress"),
    target_host = text(c, given, "targetHost", "127.0.0.1"),
    quic = c:boolean(given.quic, true, "quic"),
    state_dir = text(c, given, "stateDir", "/var/lib/sluice"),
    edges_file = text(c, given, "edgesFile"),
    cert = given.cert, key = given.key, -- PEM is read where it is used
    cert_file = text(c, given, "certFile"), key_file = text(c, given, "keyFile"),
    public_host = text(c, given, "publicHost"),
    public_port = given.publicPort ~= nil and c:port(given.publicPort, "publicPort") or nil,
    resume_timeout = seconds(c, given, "resumeTimeout"),
    ping_interval = seconds(c, given, "pingInterval"),
    dead_after = seconds(c, given, "deadAfter"),
    greeting_timeout = seconds(c, given, "greetingTimeout"),
    max_streams = count(c, given, "maxStreams"),
    max_sessions = count(c, given, "maxSessions"),
  }
end

--- Checks settings.
-- @tparam table given
-- @treturn ?table for sluice.hub
-- @treturn ?string what is wrong, with its path
function settings.compile(given)
  local result, err = publisher.settings(compile, given)
  if not result then
    return nil, err
  end
  if given.edges ~= nil then
    if result.edges_file then
      return nil, "edges: stands beside edgesFile; use one of the two"
    end
    result.edges, err = edges.compile(given.edges)
    if not result.edges then
      return nil, err
    end
  else
    result.edges_file = result.edges_file or result.state_dir .. "/edges.json"
  end
  return result
end

local rows = {
  { name = "tunnelPort", variable = "HUB_TUNNEL_PORT", option = "--tunnel-port",
    read = options.any_port },
  { name = "bindAddress", variable = "HUB_BIND_ADDRESS", read = options.text },
  { name = "targetHost", variable = "HUB_TARGET_HOST", option = "--target-host",
    read = options.text },
  { name = "quic", variable = "HUB_QUIC", read = options.boolean },
  { name = "stateDir", variable = "HUB_STATE_DIR", option = "--state-dir", read = options.text },
  { name = "edgesFile", variable = "HUB_EDGES_FILE", option = "--edges-file",
    read = options.text },
  { name = "certFile", variable = "HUB_CERT_FILE", read = options.text },
  { name = "keyFile", variable = "HUB_KEY_FILE", read = options.text },
  { name = "publicHost", variable = "HUB_PUBLIC_HOST", read = options.text },
  { name = "publicPort", variable = "HUB_PUBLIC_PORT", read = options.port },
  { name = "resumeTimeout", variable = "HUB_RESUME_SECS", read = options.seconds },
  { name = "pingInterval", variable = "HUB_PING_SECS", read = options.seconds },
  { name = "deadAfter", variable = "HUB_DEAD_SECS", read = options.seconds },
}

--- Reads the settings of the environment; docs/tunnel.md lists the variables.
-- @tparam function env name to value or nil
-- @tparam table args the words of the command line
-- @treturn ?table for compile()
-- @treturn ?string what is wrong
function settings.read(env, args)
  return options.read(rows, env, args)
end

return settings
