--- The settings of an edge: a table, as a script of its own writes it, or the environment.
--
-- Keys are those of remoteingress where it has them (`token`, `hubHost`, `hubPort`, `edgeId`,
-- `secret`, `bindAddress`, `listenPorts`, `stunIntervalSecs`); docs/tunnel.md describes all.

local check = require "sluice.check"
local ip = require "sluice.ip"
local options = require "sluice.options"
local publisher = require "sluice.tunnel.publisher"
local routes = require "sluice.routes"
local sluice = require "sluice"
local token = require "sluice.token"

local settings = {}

local default_port = 8443
local default_stun = "stun.cloudflare.com:3478"

local transports = {
  quic = { "quic" },
  tls = { "tls" },
  tcpTls = { "tls" }, -- as remoteingress seems to call it
  quicWithFallback = { "quic", "tls" },
}

local modes = { order = "order", all = "all" }

local hub_keys = {
  token = true, hubHost = true, hubPort = true, edgeId = true, secret = true, fingerprint = true,
  caFile = true, verify = true, serverName = true,
}

local keys = {
  hubs = true, mode = true, transport = true, bindAddress = true, listenPorts = true,
  listenPortsUdp = true, reservedPorts = true, stun = true, stunIntervalSecs = true, hold = true,
  giveUpAfter = true, deadAfter = true, maxStreams = true, maxSessions = true,
  routes = true, security = true,
}
for name in pairs(hub_keys) do
  keys[name] = true
end

-- A hub.

local function from_token(c, given, path)
  if given.token == nil then
    return {}
  end
  local hub, err = token.decode(given.token)
  if not hub then
    c:fail(err, path .. "token")
  end
  return hub
end

local function pin_of(c, given, from, path)
  local text = given.fingerprint or from.fingerprint
  if text == nil then
    return nil
  end
  local _, err, pin = token.fingerprint(c:string(text, path .. "fingerprint"))
  return pin or c:fail(err, path .. "fingerprint")
end

-- What makes it another hub, or another edge: without the secret itself.
local function key_of(hub)
  local text = table.concat({ hub.host, hub.port, hub.id, hub.secret, hub.pin or "" }, "\0")
  return sluice.crypto.hex(sluice.crypto.sha256(text))
end

local function word(c, value, path)
  if c:string(value, path):find(" ", 1, true) then
    c:fail("must not contain a space", path)
  end
  return value
end

local function compile_hub(c, given, path)
  local from = from_token(c, given, path)
  local hub = {
    host = word(c, given.hubHost or from.host, path .. "hubHost"),
    port = c:port(given.hubPort or from.port or default_port, path .. "hubPort"),
    id = word(c, given.edgeId or from.id, path .. "edgeId"),
    secret = c:string(given.secret or from.secret, path .. "secret"),
    pin = pin_of(c, given, from, path),
    ca_file = given.caFile and c:string(given.caFile, path .. "caFile"),
    server_name = given.serverName and c:string(given.serverName, path .. "serverName"),
  }
  hub.verify = c:boolean(given.verify, hub.ca_file ~= nil, path .. "verify")
  hub.label = ("%s:%d"):format(hub.host, hub.port)
  hub.key = key_of(hub)
  return hub
end

-- One hub at the top, or a list of them.
local function compile_hubs(c, given)
  if given.hubs == nil then
    return { compile_hub(c, given, "") }
  end
  for name in pairs(hub_keys) do
    if given[name] ~= nil then
      c:fail("stands beside hubs; put it into the hubs", name)
    end
  end
  local hubs = {}
  for i, entry in ipairs(c:array(given.hubs, "hubs", "hubs")) do
    local path = ("hubs[%d]"):format(i - 1)
    hubs[i] = compile_hub(c, c:object(entry, hub_keys, path), path .. ".")
  end
  if #hubs == 0 then
    c:fail("is empty: say where the hub is", "hubs")
  end
  return hubs
end

-- The rest.

local function port_list(c, value, path)
  if value == nil then
    return {}
  end
  local list = {}
  for i, port in ipairs(c:array(value, "ports", path)) do
    list[i] = c:port(port, path .. "[%d]", i - 1)
  end
  return list
end

local function stun_server(c, value)
  if value == false or value == "off" then
    return nil
  end
  local text = value == nil and default_stun or c:string(value, "stun")
  local host, port = text:match("^%[(.-)%]:(%d+)$")
  if not host then
    host, port = text:match("^([^%s:]+):?(%d*)$")
  end
  if not host then
    c:fail(check.show(text) .. ' is not a server like "stun.example.com:3478"', "stun")
  end
  return { host = host, port = c:port(tonumber(port) or 3478, "stun"), label = text }
end

local function seconds(c, value, otherwise, path)
  return value == nil and otherwise or c:integer(value, 1, 86400, "a number of seconds", path)
end

local function count(c, value, path)
  return value ~= nil and c:integer(value, 1, 1000000, "a number", path) or nil
end

local function bind_address(c, value)
  if value == nil or value == "0.0.0.0" or value == "::" then
    return nil -- everywhere
  end
  if not ip.parse(c:string(value, "bindAddress")) then
    c:fail(check.show(value) .. " is not an IP address", "bindAddress")
  end
  return value
end

-- Ports of this machine that a hub must not have: who waits on them, by number.
local function reserved_ports(c, given, hubs)
  local reserved = {}
  for _, port in ipairs(port_list(c, given.reservedPorts, "reservedPorts")) do
    reserved[port] = "it is reserved"
  end
  for _, hub in ipairs(hubs) do
    if hub.host == "localhost" or ip.is_loopback(hub.host) then
      reserved[hub.port] = "the hub is on this machine and has it"
    end
  end
  return reserved
end

local function compile(given)
  local c = check.new()
  c:object(given, keys)
  local hubs = compile_hubs(c, given)
  return {
    hubs = hubs,
    mode = given.mode ~= nil and c:one_of(given.mode, modes, "mode") or "order",
    transports = c:one_of(given.transport or "quicWithFallback", transports, "transport"),
    bind_address = bind_address(c, given.bindAddress),
    listen = {
      tcp = port_list(c, given.listenPorts, "listenPorts"),
      udp = port_list(c, given.listenPortsUdp, "listenPortsUdp"),
    },
    reserved = reserved_ports(c, given, hubs),
    stun = stun_server(c, given.stun),
    stun_interval = given.stunIntervalSecs ~= nil
      and seconds(c, given.stunIntervalSecs, nil, "stunIntervalSecs") or nil,
    hold = seconds(c, given.hold, 10, "hold"),
    give_up = seconds(c, given.giveUpAfter, 60, "giveUpAfter"),
    dead_after = given.deadAfter ~= nil and seconds(c, given.deadAfter, nil, "deadAfter") or nil,
    max_streams = count(c, given.maxStreams, "maxStreams"),
    max_sessions = count(c, given.maxSessions, "maxSessions"),
    security = given.security,
  }
end

--- Checks settings.
-- @tparam table given
-- @treturn ?table for sluice.edge
-- @treturn ?string what is wrong, with its path
function settings.compile(given)
  local result, err = publisher.settings(compile, given)
  if not result then
    return nil, err
  end
  if given.security ~= nil then -- is part of each assigned port's route, which must compile then
    local ok
    ok, err = routes.compile_one {
      match = { ports = 1, protocol = "tcp" }, security = given.security,
      action = { type = "forward", targets = { { tunnel = "main" } } },
    }
    if not ok then
      return nil, err
    end
  end
  return result
end

-- The environment.

local function list_of_tokens(text)
  local hubs = {}
  for part in text:gmatch("[^%s,]+") do
    hubs[#hubs + 1] = { token = part }
  end
  return hubs
end

local rows = {
  { name = "tokens", variable = "EDGE_TOKEN", option = "--token", read = list_of_tokens },
  { name = "hubHost", variable = "EDGE_HUB_HOST", option = "--hub-host", read = options.text },
  { name = "hubPort", variable = "EDGE_HUB_PORT", option = "--hub-port", read = options.port },
  { name = "edgeId", variable = "EDGE_ID", option = "--edge-id", read = options.text },
  { name = "secret", variable = "EDGE_SECRET", option = "--secret", read = options.text },
  { name = "fingerprint", variable = "EDGE_FINGERPRINT", read = options.text },
  { name = "caFile", variable = "EDGE_CA_FILE", read = options.text },
  { name = "verify", variable = "EDGE_VERIFY", read = options.boolean },
  { name = "serverName", variable = "EDGE_SERVER_NAME", read = options.text },
  { name = "mode", variable = "EDGE_MODE", read = options.text },
  { name = "transport", variable = "EDGE_TRANSPORT", read = options.text },
  { name = "bindAddress", variable = "EDGE_BIND_ADDRESS", read = options.text },
  { name = "listenPorts", variable = "EDGE_LISTEN_PORTS", read = options.ports },
  { name = "listenPortsUdp", variable = "EDGE_LISTEN_PORTS_UDP", read = options.ports },
  { name = "reservedPorts", variable = "EDGE_RESERVED_PORTS", read = options.ports },
  { name = "stun", variable = "EDGE_STUN", read = options.text },
  { name = "stunIntervalSecs", variable = "EDGE_STUN_INTERVAL_SECS", read = options.seconds },
  { name = "hold", variable = "EDGE_HOLD_SECS", read = options.seconds },
  { name = "giveUpAfter", variable = "EDGE_GIVE_UP_SECS", read = options.seconds },
  { name = "deadAfter", variable = "EDGE_DEAD_SECS", read = options.seconds },
}

--- Reads the settings of the environment; docs/tunnel.md lists the variables. Several tokens, with
-- commas or blanks between, are several hubs.
-- @tparam function env name to value or nil
-- @tparam table args the words of the command line
-- @treturn ?table for compile()
-- @treturn ?string what is wrong
function settings.read(env, args)
  local given, err = options.read(rows, env, args)
  if not given then
    return nil, err
  end
  local tokens = given.tokens
  given.tokens = nil
  if not tokens and not given.hubHost then
    return nil, "say where the hub is: EDGE_TOKEN, or EDGE_HUB_HOST, EDGE_ID and EDGE_SECRET"
  end
  if tokens and #tokens == 1 then
    given.token = tokens[1].token
  elseif tokens then
    given.hubs = tokens
  end
  return given
end

return settings
