--- Edges, a hub and an origin behind it, for end-to-end specs.
--
--   local lab = tunnel.start { transport = "tls" }
--   local visitor = peer.connect { port = lab.ports.raw }
--   lab:stop()
--
-- The ports of the edge: raw (TCP and UDP, to the origin with a PROXY header), web (HTTP, ended in
-- routes of the hub for app.example), http (the same without TLS), denied (on_stream refuses),
-- nobody (no one is at the target), deaf (whoever is there reads nothing).

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"
local socket = require "socket"

local tunnel = { transports = { "tls", "quic" } }
tunnel.__index = tunnel

tunnel.edge_id, tunnel.secret = "nyc-01", "a secret with spaces"

--- Tries again until it returns something; for what has no event to wait for.
function tunnel.eventually(try, what)
  local deadline = process.now() + sluice.patience
  while true do
    local found, why = try()
    if found then
      return found
    end
    if process.now() > deadline then
      error((what or "it does not come about") .. ": " .. tostring(why), 2)
    end
    socket.sleep(0.02)
  end
end

--- Starts an origin; it, and its port. `prefix`: words in front; `address` and `port`: where.
function tunnel.origin(options)
  local argv = { unpack(options.prefix or {}) }
  for _, word in ipairs { "python3", "spec/support/tunnel_origin.py", "origin",
    options.address or "127.0.0.1", tostring(options.port or 0) } do
    table.insert(argv, word)
  end
  local child = process.start(argv)
  return child, tonumber((child:wait_for("stdout", "^(%d+)$", sluice.patience)))
end

--- What the origin has counted.
function tunnel.counts(origin_port)
  return dkjson.decode(http.request({ port = origin_port, path = "/counts" }).body)
end

local function admin_port(program)
  return tonumber(program:text("stderr"):match('"msg":"admin API is up"[^\n]-"port":(%d+)'))
end

-- An edge as PUT /edges takes it.
local function entry(id, ports)
  local tcp, udp = {}, {}
  for name, port in pairs(ports) do
    table.insert(tcp, port)
    if name == "raw" or name == "web" then
      table.insert(udp, port)
    end
  end
  return { id = id, secret = tunnel.secret, listenPorts = tcp, listenPortsUdp = udp }
end

local function entries(ports)
  return { entry(tunnel.edge_id, ports), { id = "banned", secret = tunnel.secret } }
end

local function tunnelled(name, match, port, changes)
  match.via = "tunnel"
  local made = sluice.route(name, nil, port, { match = match })
  for key, value in pairs(changes or {}) do
    made.action[key] = value
  end
  return made
end

-- HTTP/3 that comes to these ports, through a port of the hub's own, which takes the visitor's
-- address from the hub.
local function http3_through(ports, own_port, origin_port)
  return tunnelled("quic", { ports = ports, transport = "udp", protocol = "udp" }, own_port,
    { sendProxyProtocol = true }), mux.route("h3", own_port, origin_port, "app.example")
end

local function http3_routes(self)
  local ports = {}
  for _, port in pairs(self.web) do
    table.insert(ports, port)
  end
  return { http3_through(ports, http.free_port(), self.ports.tls) }
end

-- What comes to web and http ends in these.
local function routes_of(self)
  local tls = { mode = "terminate", certificate = sluice.certificate("app.example") }
  return {
    tunnelled("web", { ports = self.ports.web, domains = "app.example" }, self.origin_port,
      { tls = tls }),
    tunnelled("http", { ports = self.ports.http }, self.origin_port),
    http3_through(self.ports.web, self.h3_port, self.origin_port),
  }
end

-- The hub itself believes its own PROXY headers.
local own_limits = { accept_proxy = true, proxy_ips = { "127.0.0.1" } }

local function start_hub(self, options)
  local hub = { tunnelPort = self.hub_port, bindAddress = "127.0.0.1",
    edgesFile = self.folder .. "/edges.json", stateDir = self.folder, routes = routes_of(self) }
  for key, value in pairs(options.hub or {}) do
    hub[key] = value
  end
  sluice.write(hub.edgesFile, dkjson.encode(entries(self.ports)))
  self.deaf = peer.listen()
  local targets = { denied = 0, nobody = http.free_port(), deaf = self.deaf.port, web = -1,
    http = -1 }
  local given = { hub = hub, origin = self.origin_port, targets = {}, tells = options.tells,
    limits = own_limits }
  for name, port in pairs(targets) do
    given.targets[tostring(self.ports[name])] = port
  end
  self.hub = sluice.start { script = "spec/fixtures/tunnel_hub.lua", workers = options.workers,
    args = { dkjson.encode(given) },
    env = { ADMIN_PORT = "0", ADMIN_HOST = false, ADMIN_TOKEN = false } }
end

--- Starts an edge; `id`, `secret`, `transport`, `env`.
function tunnel:start_edge(options)
  local env = {
    EDGE_HUB_HOST = "127.0.0.1", EDGE_HUB_PORT = tostring(self.hub_port),
    EDGE_ID = options.id or tunnel.edge_id, EDGE_SECRET = options.secret or tunnel.secret,
    EDGE_TRANSPORT = options.transport or "tls", EDGE_BIND_ADDRESS = "127.0.0.1",
    EDGE_STUN = "off", ADMIN_PORT = "0", ADMIN_HOST = false, ADMIN_TOKEN = false,
  }
  for name, value in pairs(options.env or {}) do
    env[name] = value
  end
  return sluice.start { script = "scripts/edge.lua", env = env, workers = options.workers }
end

--- Starts all of it and waits until the edge is up, with its ports.
-- @tparam table options transport, workers; hub: settings of the hub; tells: whether it logs each
-- stream, which nobody reads unless a spec waits for it; edge: false for none, or a
-- table for start_edge(); hub_port: of another hub, with which there is neither hub nor origin here
function tunnel.start(options)
  local self = setmetatable({ ports = {}, hub_port = options.hub_port or http.free_port(),
    folder = os.tmpname() }, tunnel)
  os.remove(self.folder)
  assert(os.execute("mkdir " .. self.folder))
  for _, name in ipairs { "raw", "web", "http", "denied", "nobody", "deaf" } do
    self.ports[name] = http.free_port()
  end
  if not options.hub_port then
    self.h3_port = http.free_port()
    self.behind, self.origin_port = tunnel.origin {}
    start_hub(self, options)
  end
  if options.edge ~= false then
    local given = options.edge or {}
    given.transport, given.workers = options.transport, options.workers
    self.edge = self:start_edge(given)
    if not options.hub_port then
      self.edge:wait_for("stderr", '"msg":"ports"', sluice.patience)
    end
  end
  return self
end

--- Starts a hub with its origins in one network and an edge for each transport in another, as two
-- machines have them: what comes goes to the same port of the hub's machine.
-- @tparam table options hub, edge: words in front of commands, for each side; hub_host: where edges
-- find the hub; dead_after: seconds without a byte
-- @treturn table `ports`, `web` (HTTP/3) and edges, by transport; start_transport(name) starts
-- another edge
function tunnel.start_apart(options)
  local self = setmetatable({ ports = {}, web = {}, folder = os.tmpname(), programs = {} }, tunnel)
  os.remove(self.folder)
  assert(os.execute("mkdir " .. self.folder))
  local list = { { id = "quicWithFallback", secret = tunnel.secret } }
  for _, name in ipairs(tunnel.transports) do
    local port, web = http.free_port(), http.free_port()
    self.ports[name], self.web[name] = port, web
    table.insert(list, { id = name, secret = tunnel.secret, listenPorts = { port },
      listenPortsUdp = { port, web } })
    table.insert(self.programs, (tunnel.origin { prefix = options.hub, port = port }))
  end
  local given = { origin = -1, targets = {}, limits = own_limits, hub = { edges = list,
    stateDir = self.folder, routes = http3_routes(self), deadAfter = options.dead_after,
    pingInterval = math.floor(options.dead_after / 3) } }
  table.insert(self.programs, sluice.start { script = "spec/fixtures/tunnel_hub.lua",
    prefix = options.hub, args = { dkjson.encode(given) }, env = { ADMIN_PORT = "0" } })
  self.start_transport = function(name)
    local edge = sluice.start { script = "scripts/edge.lua", prefix = options.edge, env = {
      EDGE_HUB_HOST = options.hub_host, EDGE_ID = name, EDGE_SECRET = tunnel.secret,
      EDGE_TRANSPORT = name, EDGE_STUN = "off", EDGE_DEAD_SECS = tostring(options.dead_after) } }
    table.insert(self.programs, edge)
    return edge
  end
  for _, name in ipairs(tunnel.transports) do
    self[name] = self.start_transport(name)
    self[name]:wait_for("stderr", '"msg":"ports"', sluice.patience)
  end
  return self
end

--- Ends what start_apart() has started.
function tunnel:stop_apart()
  for i = #self.programs, 1, -1 do
    self.programs[i]:stop()
  end
  os.execute("rm -r " .. self.folder)
end

--- A request to the admin API of the hub, or of another program.
function tunnel:ask(method, path, body, program)
  return assert(http.request { method = method, path = path, body = body,
    port = admin_port(program or self.hub), headers = { ["Content-Type"] = "application/json" } })
end

function tunnel:hub_status()
  return dkjson.decode(self:ask("GET", "/status").body)
end

--- Of its edge, as the hub sees it; nil while it is not connected.
function tunnel:connected()
  return self:hub_status().connectedEdges[1]
end

--- Of the one tunnel that the edge has.
function tunnel:edge_status()
  return dkjson.decode(self:ask("GET", "/status", nil, self.edge).body).tunnels[1]
end

--- The edge gets other ports.
function tunnel:set_ports(ports)
  local response = self:ask("PUT", "/edges", dkjson.encode(entries(ports)))
  assert(response.status == 200, response.body)
end

--- A visitor of a port whose connection may end at once: what he hears, and how it ends.
function tunnel.visit(port)
  local visitor, err = peer.connect { port = port }
  if not visitor then
    return "", err
  end
  local heard, ended = visitor:read_all()
  visitor:close()
  return heard, ended
end

local function end_program(self, program)
  local code, log = program:stop(), program:text("stderr")
  assert(code == 0 and (self.may_have_crashed
    or not log:find("starting it again", 1, true)), log)
end

--- Ends all of it; nothing may have crashed that was not meant to.
function tunnel:stop()
  local results = {}
  for _, name in ipairs { "edge", "hub" } do
    if self[name] then
      table.insert(results, { pcall(end_program, self, self[name]) })
    end
  end
  if self.behind then
    self.behind:stop()
    self.deaf:close()
  end
  os.execute("rm -r " .. self.folder)
  for _, result in ipairs(results) do
    assert(unpack(result))
  end
end

return tunnel
