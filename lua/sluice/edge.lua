--- An edge: opens the ports that its hub assigns, and carries what comes there through a tunnel to
-- the hub, over TCP and UDP.
--
-- The assigned ports are routes like any others, with the tunnel as their target: access lists,
-- hooks, limits and statistics are those of routes, and a port that stays keeps its connections
-- when others come and go. They stay open while the tunnel is down; a visitor waits a little then.
--
-- The operator's own routes come first on their ports.
--
-- @usage
--   local service = edge.new(assert(settings.compile { token = "…" }))
--   assert(service:start())
--   service:run() -- waits for ever

local events = require "sluice.tunnel.events"
local link = require "sluice.edge.link"
local ports = require "sluice.tunnel.ports"
local publisher = require "sluice.tunnel.publisher"
local sluice = require "sluice"
local status = require "sluice.tunnel.status"
local stun = require "sluice.edge.stun"

local core = package.preload["sluice.core"] and require "sluice.core"
  or require "sluice.testing.core"

local edge = {}
edge.__index = edge

-- One link that knows all hubs, or one for each of them.
local function new_links(self, with)
  local groups = { self._settings.hubs }
  if self._settings.mode == "all" then
    for i, hub in ipairs(self._settings.hubs) do
      groups[i] = { hub }
    end
  end
  local links = {}
  for i, hubs in ipairs(groups) do
    local name = i == 1 and "main" or "hub-" .. i
    links[i] = link.new {
      name = name,
      edge = core.tunnel.edge {
        name = name, hold = self._settings.hold, max_streams = self._settings.max_streams,
        max_sessions = self._settings.max_sessions, dead_after = self._settings.dead_after,
      },
      hubs = hubs, transports = self._settings.transports, give_up = self._settings.give_up,
      random = with.random,
      on_ports = function()
        self:_update()
      end,
    }
  end
  return links
end

--- @tparam table settings from sluice.edge.settings.compile
-- @tparam[opt] table with for specs: `random`
function edge.new(settings, with)
  local self = setmetatable({
    _settings = settings,
    _publisher = publisher.new { own = settings.own },
    _with = with or {},
    _links = {},
    _told = {},
    _assigned = ports.none,
  }, edge)
  if settings.stun then
    self._stun = stun.new(settings.stun, function()
      return self:_stun_interval()
    end)
  end
  return self
end

function edge:_stun_interval()
  local shortest = self._settings.stun_interval
  for _, one in ipairs(self._links) do
    local said = one.assigned.stun_interval
    shortest = not self._settings.stun_interval and said and math.min(said, shortest or said)
      or shortest
  end
  return shortest
end

-- Ports: which tunnels each has, as targets.

local function add_targets(by_port, list, name)
  for _, port in ipairs(list) do
    by_port[port] = by_port[port] or {}
    local targets = by_port[port]
    if not targets[1] or targets[#targets].tunnel ~= name then
      targets[#targets + 1] = { tunnel = name }
    end
  end
end

local function targets_by_port(self, transport)
  local by_port = {}
  for _, one in ipairs(self._links) do
    add_targets(by_port, one.assigned[transport], one.name)
    add_targets(by_port, self._settings.listen[transport], one.name)
  end
  return by_port
end

-- Each refusal once, until the port is not asked for any more.
local function refuse(self, told, transport, port)
  local key = transport .. " " .. port
  told[key] = true
  if not self._told[key] then
    sluice.log.warn("a port is refused", { port = port, transport = transport,
      reason = self._settings.reserved[port] })
  end
end

local function route_of(self, transport, port, targets)
  return {
    name = ("tunnel-%s-%d"):format(transport, port),
    priority = publisher.last,
    match = { ports = port, transport = transport, protocol = transport },
    action = { type = "forward", targets = targets },
    security = self._settings.security,
  }
end

local function key_of(transport, port, targets)
  local names = {}
  for i, target in ipairs(targets) do
    names[i] = target.tunnel
  end
  return ("%s port %d (%s)"):format(transport, port, table.concat(names, ", "))
end

-- The ports of a transport that may be had, and a route for each at the end of `wanted`.
local function collect(self, transport, wanted, told)
  local by_port, list = targets_by_port(self, transport), {}
  for port in pairs(by_port) do
    if self._settings.reserved[port] then
      refuse(self, told, transport, port)
    else
      list[#list + 1] = port
    end
  end
  table.sort(list)
  for _, port in ipairs(list) do
    table.insert(wanted, { key = key_of(transport, port, by_port[port]),
      route = route_of(self, transport, port, by_port[port]) })
  end
  return list
end

local function announce(self, assigned)
  if ports.is_same(assigned, self._assigned) then
    return
  end
  local name = self._was_assigned and "portsUpdated" or "portsAssigned"
  self._assigned, self._was_assigned = assigned, true
  sluice.log.info("ports", { tcp = table.concat(assigned.tcp, ", "),
    udp = table.concat(assigned.udp, ", ") })
  events.publish(name, { listenPorts = sluice.json.array(assigned.tcp),
    listenPortsUdp = sluice.json.array(assigned.udp) })
end

-- Other ports: waits until their routes are live.
function edge:_update()
  local wanted, told = {}, {}
  local assigned = {
    tcp = collect(self, "tcp", wanted, told),
    udp = collect(self, "udp", wanted, told),
  }
  self._told, self._wanted = told, assigned
  local ok, err = self._publisher:set(wanted)
  if ok then
    announce(self, self._wanted) -- a newer one, if that has gone live instead
  end
  return ok, err
end

local function warn_of_strangers(hubs)
  for _, hub in ipairs(hubs) do
    if not hub.pin and not hub.verify then
      sluice.log.warn("nothing proves that the hub is the right one: set a fingerprint or caFile",
        { hub = hub.label })
    end
  end
end

--- Opens what is known already; waits until it is live.
-- @treturn ?true
-- @treturn ?string what is wrong
function edge:start()
  if self._settings.bind_address then
    local ok, err = core.settings { bind_address = self._settings.bind_address }
    if not ok then
      return nil, err
    end
  end
  warn_of_strangers(self._settings.hubs)
  self._links = new_links(self, self._with)
  for _, one in ipairs(self._links) do
    one:adopt()
  end
  return self:_update()
end

--- Keeps the tunnels up until close() is called.
function edge:run()
  local tasks = {}
  if self._stun then
    self._stun_task = sluice.spawn(function()
      self._stun:run()
    end)
  end
  for i, one in ipairs(self._links) do
    tasks[i] = sluice.spawn(function()
      one:run()
    end)
  end
  for _, task in ipairs(tasks) do
    task:wait()
  end
end

--- Is there a tunnel?
function edge:is_connected()
  for _, one in ipairs(self._links) do
    if one.is_up then
      return true
    end
  end
  return false
end

local function failures(self)
  local list = sluice.json.array {}
  for what, err in pairs(self._publisher.failed) do
    table.insert(list, { what = what, error = err })
  end
  table.sort(list, function(a, b)
    return a.what < b.what
  end)
  return list
end

--- The fields of remoteingress, and ours beside them.
-- @treturn table
function edge:status()
  local shown = {
    running = not self._is_closed,
    connected = self:is_connected(),
    publicIp = self._stun and self._stun.public_ip or sluice.json.null,
    activeStreams = 0,
    listenPorts = sluice.json.array(self._assigned.tcp),
    listenPortsUdp = sluice.json.array(self._assigned.udp),
    failed = failures(self),
    tunnels = sluice.json.array {},
  }
  for i, one in ipairs(self._links) do
    shown.tunnels[i] = status.shown(one:status())
    shown.activeStreams = shown.activeStreams + (shown.tunnels[i].activeStreams or 0)
  end
  return shown
end

--- Ends the tunnels and run().
function edge:close()
  self._is_closed = true
  if self._stun_task then
    self._stun_task:cancel()
  end
  for _, one in ipairs(self._links) do
    one:close()
  end
end

return edge
