--- Edges and hubs without a network, for specs: what scripts get from sluice.tunnel, and the hand
-- of the spec that says what the other side does.
--
--   local main = testing.edge("main")
--   main.on_connect = function(options) return '{"listenPorts":[443]}' end
--   edge.start { ... }                       -- the code of the spec's interest
--   main:event("config", '{"listenPorts":[443,80]}')
--   main:event("down", "reset by peer")
--   assert.equal("tls", main.connects[1].transport)
--
-- The functions on_connect, on_accept and on_open run in the task of whoever calls connect(),
-- accept() and sluice.tunnel.hub(), so they may sleep.

local suggest = require "sluice.suggest"
local world = require "sluice.testing.world"

local tunnel = {}

local function check_options(what, options, known)
  if type(options) ~= "table" then
    error(("%s: a table of options expected, got a %s"):format(what, type(options)), 3)
  end
  for name, value in pairs(options) do
    if not known[name] then
      error(("unknown option %q%s"):format(tostring(name), suggest.hint(name, known)), 3)
    end
    if type(value) ~= known[name] then
      error(("option %s: a %s expected, got a %s"):format(name, known[name], type(value)), 3)
    end
  end
end

local function require_options(options, names)
  for name in names:gmatch("%S+") do
    if options[name] == nil then
      error(("option %s is missing"):format(name), 3)
    end
  end
end

local function copy(t)
  local same = {}
  for name, value in pairs(t) do
    same[name] = value
  end
  return same
end

-- Edges.

local edge_options = {
  name = "string", max_streams = "number", max_sessions = "number", hold = "number",
  dead_after = "number",
}

local connect_options = {
  host = "string", port = "number", id = "string", secret = "string", transport = "string",
  timeout = "number", pin = "string", verify = "boolean", ca_file = "string",
  server_name = "string",
}

local accept_options = { ticket = "string" }

local hand = {} -- of the spec, on one edge
hand.__index = hand

local edge_methods = {}
edge_methods.__index = edge_methods

--- The edge with this name, as a spec plays it:
--   on_connect(options)   what connect() returns; at first nobody is there
--   on_accept(options)    what accept() returns; at first true, false
--   connects, accepts     the options of each call
--   calls                 the names of the calls in order, but for event() and status()
--   options               of sluice.tunnel.edge; nil until it was called
--   status                fields to put into the table that edge:status() returns
--   is_up, is_closed
--   :event(kind, detail)  "config" and a text, or "down" and why: what event() returns next
function tunnel.edge(name)
  world.edges[name] = world.edges[name] or setmetatable({
    connects = {}, accepts = {}, calls = {}, status = {}, is_up = false, is_closed = false,
    on_connect = function()
      return nil, "connection refused", "failed"
    end,
    on_accept = function()
      return true, false
    end,
  }, hand)
  return world.edges[name]
end

local function take_event(self)
  if self._config then
    local config = self._config
    self._config = nil
    return "config", config
  end
  if self._down then
    local why = self._down
    self._down = nil
    return "down", why
  end
end

local function wake(self, ...)
  local waiter = self._waiter
  if waiter then
    self._waiter = nil
    waiter.timer:cancel()
    world.scheduler:resume(waiter.task, ...)
  end
end

--- Only the newest config is kept, and one end of the tunnel.
function hand:event(kind, detail)
  if kind == "config" then
    self._config = detail
    self._last_config = detail
  elseif kind == "down" then
    self._down = detail
    self.is_up = false
  else
    error(("event: %q is neither config nor down"):format(tostring(kind)), 2)
  end
  if self._waiter then
    wake(self, take_event(self))
  end
end

function tunnel.new_edge(options)
  check_options("tunnel.edge", options, edge_options)
  require_options(options, "name")
  local self = tunnel.edge(options.name)
  self.options = copy(options)
  self.is_closed = false
  return setmetatable({ _hand = self }, edge_methods)
end

local function note(edge, what)
  table.insert(edge._hand.calls, what)
  return edge._hand
end

function edge_methods:connect(options)
  check_options("edge:connect", options, connect_options)
  require_options(options, "host port id secret")
  local played = note(self, "connect")
  if played.is_closed then
    return nil, "closed", "closed"
  end
  table.insert(played.connects, copy(options))
  local line, err, kind = played.on_connect(options)
  played._answer = line
  return line, err, not line and (kind or "failed") or nil
end

function edge_methods:accept(options)
  check_options("edge:accept", options or {}, accept_options)
  local played = note(self, "accept")
  if not played._answer then
    return nil, "there is no answer to accept"
  end
  table.insert(played.accepts, copy(options or {}))
  played._accepted, played._answer = played._answer, nil
  played._config, played._down, played._last_config = nil, nil, nil
  local ok, detail = played.on_accept(options or {})
  played.is_up = ok == true
  return ok, detail
end

function edge_methods:event(timeout)
  local played = self._hand
  if played._waiter then
    error("edge:event: another task waits for the events of this edge", 2)
  end
  local kind, detail = take_event(played)
  if kind then
    return kind, detail
  end
  if played.is_closed then
    return nil, "closed"
  end
  local task = world.scheduler:current()
  if not task then
    error("edge:event() outside of a task would wait for ever", 2)
  end
  played._waiter = { task = task, timer = world.scheduler:timer(timeout or math.huge, function()
    wake(played, nil, "timed out")
  end) }
  return world.scheduler:suspend()
end

--- Drops the attempt, or the link, whose end is an event then.
function edge_methods:hang_up()
  local played = note(self, "hang_up")
  if played._answer then
    played._answer = nil
  elseif played.is_up then
    played:event("down", "hung up")
  end
end

function edge_methods:give_up()
  note(self, "give_up")
end

function edge_methods:close()
  local played = note(self, "close")
  played.is_up, played.is_closed = false, true
  wake(played, nil, "closed")
end

local idle = {
  links = 0, active_streams = 0, streams_opened = 0, streams_reset = 0, bytes_in = 0,
  bytes_out = 0, sessions = 0, datagrams_in = 0, datagrams_out = 0, datagrams_dropped = 0,
  bytes_held = 0, frames_unknown = 0,
}

function edge_methods:status()
  local played = self._hand
  local status = copy(idle)
  status.queue = { control = 0, data = 0, sustained = 0 }
  status.connected = played.is_up
  status.answer, status.config = played._accepted, played._last_config
  for name, value in pairs(played.status) do
    status[name] = value
  end
  return status
end

-- Hubs.

local hub_options = {
  name = "string", host = "string", port = "number", cert = "string", key = "string",
  quic = "boolean", greeting_timeout = "number", ping_interval = "number", dead_after = "number",
  resume_timeout = "number", max_streams = "number", max_sessions = "number",
}

local hub_methods = {}
hub_methods.__index = hub_methods

--- The hub with this name, as a spec plays it:
--   on_open(options)   what sluice.tunnel.hub returns: true (at first), or nil and why
--   options            of the last sluice.tunnel.hub
--   lists              the list of each hub:edges(); `edges` is the last one
--   status             what hub:status() returns, but for `edges`, which are those of the list
--   states             fields of the status of an edge, by its id
--   is_closed
function tunnel.hub(name)
  world.hubs[name] = world.hubs[name] or {
    lists = {}, edges = {}, states = {}, is_closed = false,
    status = { accepted = 0, refused = 0, dropped = 0, edges_up = 0 },
    on_open = function()
      return true
    end,
  }
  return world.hubs[name]
end

function tunnel.new_hub(options)
  check_options("tunnel.hub", options, hub_options)
  require_options(options, "name cert key")
  local self = tunnel.hub(options.name)
  self.options = copy(options)
  local ok, err = self.on_open(options)
  if not ok then
    return nil, err
  end
  self.is_closed = false
  self.port = options.port ~= 0 and (options.port or 8443) or world.free_port()
  return setmetatable({ _hub = self }, hub_methods)
end

function hub_methods:port()
  return self._hub.port
end

function hub_methods:edges(list)
  local kept = {}
  for i, entry in ipairs(list) do
    for _, name in ipairs { "id", "secret", "config" } do
      if type(entry[name]) ~= "string" then
        error(("edges[%d].%s: a string expected, got a %s"):format(i, name, type(entry[name])), 2)
      end
    end
    kept[i] = copy(entry)
  end
  table.insert(self._hub.lists, kept)
  self._hub.edges = kept
end

function hub_methods:status()
  local hub = self._hub
  local status = copy(hub.status)
  status.edges = {}
  for i, entry in ipairs(hub.edges) do
    local state = copy(idle)
    state.queue = { control = 0, data = 0, sustained = 0 }
    state.id, state.connected = entry.id, false
    for name, value in pairs(hub.states[entry.id] or {}) do
      state[name] = value
    end
    status.edges[i] = state
  end
  return status
end

function hub_methods:close()
  self._hub.is_closed = true
end

return tunnel
