--- A hub: takes the tunnels of its edges, tells them which ports to open, and serves what comes
-- through them with sluice's own routes.
--
-- The operator's routes come first, those for tunnels alone (`match.via = "tunnel"`) and all
-- others. What they leave goes to the same port of `targetHost`, as bytes, with a PROXY header in
-- front that says who the visitor is: version 1 over TCP, version 2 as the first datagram over UDP.
--
-- The list of edges is a file, read at the start and after SIGHUP, and replaced by the admin API;
-- or it is a table of the script. A file that is wrong changes nothing that runs.
--
-- @usage
--   local service = hub.new(assert(settings.compile { targetHost = "127.0.0.1" }))
--   assert(service:start())

local certificate = require "sluice.hub.certificate"
local edges = require "sluice.hub.edges"
local latest = require "sluice.latest"
local publisher = require "sluice.tunnel.publisher"
local sluice = require "sluice"
local status = require "sluice.tunnel.status"
local token = require "sluice.token"

local core = package.preload["sluice.core"] and require "sluice.core"
  or require "sluice.testing.core"

local hub = {}
hub.__index = hub

local max_file = 64 * 1048576

--- @tparam table settings from sluice.hub.settings.compile
function hub.new(settings)
  local self = setmetatable({
    _settings = settings,
    _publisher = publisher.new { own = settings.own },
    _memory = sluice.shared("sluice.hub"),
    _edges = {},
  }, hub)
  self._queue = latest.new(function(_, list)
    return self:_apply(list)
  end)
  return self
end

-- Routes for what nobody else has one for.

local function default_route(self, transport, port)
  return {
    name = ("tunnel-%s-%d"):format(transport, port),
    priority = publisher.last,
    match = { ports = port, via = "tunnel", transport = transport, protocol = transport },
    action = {
      type = "forward", sendProxyProtocol = true,
      targets = { { host = self._settings.target_host, port = "preserve" } },
    },
  }
end

local function default_routes(self, list)
  local wanted, tcp, udp = {}, edges.ports(list)
  for transport, numbers in pairs { tcp = tcp, udp = udp } do
    for _, port in ipairs(numbers) do
      table.insert(wanted, { key = ("%s port %d of tunnels"):format(transport, port),
        route = default_route(self, transport, port) })
    end
  end
  return wanted
end

-- The list.

--- Reads the list of edges as it is configured now.
-- @treturn ?table
-- @treturn ?string what is wrong
function hub:load()
  local path = self._settings.edges_file
  if not path then
    return self._settings.edges
  end
  local text, err = sluice.file.read(path, max_file)
  if not text then
    if err == "not found" then
      return {}
    end
    return nil, ("%s: %s"):format(path, err)
  end
  local list
  list, err = edges.parse(text)
  if not list then
    return nil, ("%s: %s"):format(path, err)
  end
  return list
end

-- What ran before a reload of the script whose file is wrong.
local function recall(self)
  local text = self._memory:get "edges"
  return text and edges.parse(text)
end

local function use(self, list)
  self._edges = list
  self._tunnels:edges(edges.specs(list))
  if not self._memory:set("edges", edges.text(list)) then
    self._memory:delete "edges" -- too long to be kept
  end
  sluice.log.info("edges may connect", { edges = #list })
end

-- Routes first: an edge that hears of a port uses it at once.
local function make_live(self, list)
  local ok, err = self._publisher:set(default_routes(self, list))
  if not ok then
    return nil, err
  end
  use(self, list)
  return true
end

local function write(self, list)
  local path = self._settings.edges_file
  local ok, err = sluice.file.write(path, edges.text(list))
  return ok, err and ("%s: %s"):format(path, err)
end

function hub:_apply(list)
  local ok, err = write(self, list)
  if not ok then
    return nil, err, "failed"
  end
  ok, err = make_live(self, list)
  if not ok then
    write(self, self._edges)
    return nil, err, "failed"
  end
  return true
end

--- Replaces the list: writes the file, then waits until it is live. An entry without a secret keeps
-- that of the edge with its id.
-- @tparam table given as somebody wrote it
-- @treturn ?true
-- @treturn ?string what is wrong
-- @treturn ?string "invalid" when it is the list, "failed" when it is the world
function hub:replace(given)
  if not self._settings.edges_file then
    return nil, "the edges are those of the script", "invalid"
  elseif not self._is_ready then
    return nil, "the hub is not up yet", "failed"
  end
  local list, err = edges.compile(given, self._edges)
  if not list then
    return nil, err, "invalid"
  end
  return self._queue:run("edges", list)
end

--- @treturn table the list that runs, with its secrets
function hub:edges()
  return self._edges
end

-- Life.

local function open(self, pair)
  local s = self._settings
  return core.tunnel.hub {
    name = "hub", host = s.bind_address, port = s.port, cert = pair.cert, key = pair.key,
    quic = s.quic, resume_timeout = s.resume_timeout, ping_interval = s.ping_interval,
    dead_after = s.dead_after, greeting_timeout = s.greeting_timeout,
    max_streams = s.max_streams, max_sessions = s.max_sessions,
  }
end

--- Reads everything as start() does, and changes nothing.
-- @treturn ?table the list of edges
-- @treturn ?string what is wrong
function hub:check()
  local pair, err = certificate.load(self._settings)
  if not pair then
    return nil, err
  end
  return self:load()
end

--- Listens, and lets the edges in.
-- @treturn ?true
-- @treturn ?string what is wrong
function hub:start()
  local pair, err = certificate.load(self._settings)
  if not pair then
    return nil, err
  end
  local list, wrong = self:load()
  if wrong then
    list = recall(self)
    if not list then
      return nil, wrong
    end
    sluice.log.error("the list of edges is wrong, the one before stays", { error = wrong })
  end
  self._tunnels, err = open(self, pair)
  if not self._tunnels then
    return nil, err
  end
  self._pin = pair.pin
  sluice.log.info("the hub is up", { port = self._tunnels:port(),
    fingerprint = self:fingerprint() })
  local ok
  ok, err = make_live(self, list)
  self._is_ready = ok
  return ok, err
end

--- Are edges let in?
function hub:is_ready()
  return self._is_ready == true
end

--- The SHA-256 of the hub's public key, by which edges know it.
-- @treturn string hexadecimal digits
function hub:fingerprint()
  return sluice.crypto.hex(self._pin)
end

local function find(self, id)
  for _, entry in ipairs(self._edges) do
    if entry.id == id then
      return entry
    end
  end
end

--- Everything that an edge needs to come here.
-- @tparam string id
-- @tparam[opt] string host under which the edge reaches the hub; else that of the settings
-- @tparam[opt] number port
-- @treturn ?string a token, see sluice.token
-- @treturn ?string what is wrong
-- @treturn ?string "not found", "invalid"
function hub:token(id, host, port)
  local entry = self._is_ready and find(self, id)
  if not entry then
    return nil, "there is no such edge", "not found"
  end
  host = host or self._settings.public_host
  if not host then
    return nil, "say under which name edges reach this hub: hubHost, or HUB_PUBLIC_HOST", "invalid"
  end
  local text, err = token.try_encode {
    host = host, port = port or self._settings.public_port or self._tunnels:port(), id = id,
    secret = entry.secret, fingerprint = sluice.crypto.base64url(self._pin),
  }
  return text, err, not text and "invalid" or nil
end

local function connected(of_tunnels)
  local list = sluice.json.array {}
  for _, entry in ipairs(of_tunnels) do
    if entry.connected then
      local shown = status.shown(entry)
      shown.edgeId, shown.id = shown.id, nil
      table.insert(list, shown)
    end
  end
  return list
end

--- The fields of remoteingress, and ours beside them.
-- @treturn table
function hub:status()
  local of_tunnels = self._tunnels and self._tunnels:status() or { edges = {} }
  return {
    running = self._tunnels ~= nil and not self._is_closed,
    tunnelPort = self._tunnels and self._tunnels:port() or self._settings.port,
    targetHost = self._settings.target_host,
    fingerprint = self._pin and self:fingerprint(),
    connectedEdges = connected(of_tunnels.edges),
    edges = #self._edges, edgesUp = of_tunnels.edges_up,
    accepted = of_tunnels.accepted, refused = of_tunnels.refused, dropped = of_tunnels.dropped,
  }
end

--- Ends all tunnels.
function hub:close()
  self._is_closed = true
  if self._tunnels then
    self._tunnels:close()
  end
end

return hub
