--- The way of one edge to its hub, for ever: connects over QUIC or TLS, is told which ports to
-- open, and connects again when the link is lost.
--
-- With several hubs it goes to the next one when one fails. After a lost link it begins with the
-- hub that it had, since streams go on there, then from the top.
--
-- QUIC that does not come up although TLS then does is left alone for five minutes: whoever
-- reconnects on a network that blocks UDP must not lose 5 s each time.

local ports = require "sluice.tunnel.ports"
local sluice = require "sluice"

local link = {}
link.__index = link

-- Seconds.
local first_wait, longest_wait, healthy_after = 1, 30, 30
local quic_timeout, tls_timeout = 5, 10
local quic_pause = 300

-- A hub that changes its mind all the time is heard ten times a second: of what comes meanwhile the
-- newest counts.
local config_pause = 0.1

-- Of what a hub gives as its reason this many bytes are of interest.
local longest_reason = 300

--- Seconds to wait after so many failures in a row: 1 to 30, doubling, 20 % more or less, so that a
-- hub that comes back does not see all its edges at once.
function link.backoff(failures, random)
  return math.min(longest_wait, first_wait * 2 ^ math.min(failures, 10)) * (0.8 + 0.4 * random())
end

--- @tparam table options `name`; `edge` (of sluice.tunnel.edge); `hubs`, `transports`, `give_up`
-- from sluice.edge.settings; `on_ports(link)`: other ports are assigned, may wait
function link.new(options)
  return setmetatable({
    name = options.name,
    assigned = ports.none,
    _edge = options.edge,
    _hubs = options.hubs,
    _transports = options.transports,
    _give_up = options.give_up,
    _on_ports = options.on_ports,
    _random = options.random or math.random,
    _memory = sluice.shared("sluice.edge"),
    _no_quic_until = 0,
    _failures = 0,
  }, link)
end

-- A reload of the script finds the link that is up, and the ports that were assigned.

local function remember(self)
  local ok, err = self._memory:set(self.name, sluice.json.encode {
    hub = self.hub.key, tcp = sluice.json.array(self.assigned.tcp),
    udp = sluice.json.array(self.assigned.udp), stun_interval = self.assigned.stun_interval,
  })
  if not ok then
    sluice.log.warn("a reload would not find the assigned ports", { error = err })
  end
end

local function recall(self)
  local text = self._memory:get(self.name)
  local known = text and sluice.json.decode(text)
  for _, hub in ipairs(known and self._hubs or {}) do
    if hub.key == known.hub then
      self.hub = hub
      self.assigned = { tcp = known.tcp, udp = known.udp, stun_interval = known.stun_interval }
    end
  end
end

--- Takes up what the script before has left; call it once, before run().
function link:adopt()
  recall(self)
  local status = self.hub and self._edge:status()
  if not status or not status.connected then
    return
  end
  self.is_up, self.transport, self._up_since = true, status.transport, sluice.now()
  for _, text in ipairs { status.answer or "", status.config } do
    self.assigned = ports.read(text, self.assigned) or self.assigned
  end
end

-- Ports.

local function complain_of_ports(self, odd)
  if #odd > 0 then
    sluice.log.warn("the hub assigns what is no port, or too many",
      { hub = self.hub.label, left_out = table.concat(odd, ", ") })
  end
end

local function take_ports(self, assigned, odd)
  local is_same = ports.is_same(assigned, self.assigned)
  complain_of_ports(self, odd)
  self.assigned = assigned
  remember(self)
  if not is_same then
    self._on_ports(self)
  end
end

local function take_config(self, text)
  local assigned, odd = ports.read(text, self.assigned)
  if not assigned then
    sluice.log.warn("a configuration of the hub means nothing, the one before stays",
      { hub = self.hub.label, error = odd })
    return
  end
  take_ports(self, assigned, odd)
end

-- Up and down, which the tunnel itself logs and tells on the bus.

local function go_up(self, hub, transport)
  self.hub, self.is_up, self.transport, self._up_since = hub, true, transport, sluice.now()
  self._told = nil
  if self._give_up_timer then
    self._give_up_timer:cancel()
    self._give_up_timer = nil
  end
end

-- Streams wait for the next link, but not for ever.
local function plan_to_give_up(self)
  self._give_up_timer = sluice.timer(self._give_up, function()
    self._give_up_timer = nil
    sluice.log.warn("the tunnel has been down for too long, its streams end",
      { hub = self.hub.label, seconds = self._give_up })
    self._edge:give_up()
  end)
end

local function go_down(self)
  self.is_up, self.transport = false, nil
  if sluice.now() - self._up_since >= healthy_after then
    self._failures = 0
  end
  plan_to_give_up(self)
end

-- One try. True; or nil, why not, and "refused" when the hub has said so.
local function try(self, hub, transport)
  local line, err, kind = self._edge:connect {
    host = hub.host, port = hub.port, id = hub.id, secret = hub.secret, transport = transport,
    timeout = transport == "quic" and quic_timeout or tls_timeout, pin = hub.pin,
    verify = hub.verify, ca_file = hub.ca_file, server_name = hub.server_name,
  }
  if not line then
    return nil, err:sub(1, longest_reason), kind
  end
  local assigned, odd = ports.greeting(line)
  if not assigned then
    self._edge:hang_up()
    return nil, odd
  end
  local ok, why = self._edge:accept { ticket = assigned.ticket }
  if not ok then
    return nil, why
  end
  go_up(self, hub, transport)
  take_ports(self, assigned, odd)
  return true
end

local function transports_now(self)
  if #self._transports > 1 and sluice.now() < self._no_quic_until then
    return { "tls", "quic" }
  end
  return self._transports
end

-- All transports of one hub. What the hub has refused over one it would refuse over the other.
local function try_hub(self, hub)
  local why = {}
  for i, transport in ipairs(transports_now(self)) do
    local ok, err, kind = try(self, hub, transport)
    if ok then
      if transport == "tls" and why.quic then
        self._no_quic_until = sluice.now() + quic_pause
        sluice.log.info("the hub cannot be reached over QUIC, TLS is used for five minutes",
          { hub = hub.label, error = why.quic })
      end
      return true
    end
    why[i], why[transport] = ("%s: %s"):format(transport, err), err
    if kind == "refused" then
      return nil, "refused by the hub: " .. err
    elseif self._is_closed then
      return nil, "closed"
    end
  end
  return nil, table.concat(why, "; ")
end

local function hubs_now(self)
  local list = { self.hub }
  for _, hub in ipairs(self._hubs) do
    if hub ~= self.hub then
      table.insert(list, hub)
    end
  end
  return list
end

-- The same reason again and again is told once.
local function complain(self, hub, err)
  local text = hub.label .. " " .. err
  local log = (self._told or {})[hub.label] == text and sluice.log.debug or sluice.log.warn
  self._told = self._told or {}
  self._told[hub.label] = text
  log("cannot connect to the hub", { hub = hub.label, edge = hub.id, error = err })
end

local function connect(self)
  for _, hub in ipairs(hubs_now(self)) do
    local ok, err = try_hub(self, hub)
    if ok or self._is_closed then
      return ok
    end
    complain(self, hub, err)
  end
end

-- Until the link is lost.
local function serve(self)
  local kind, detail = self._edge:event()
  while kind == "config" do
    take_config(self, detail)
    sluice.sleep(config_pause)
    kind, detail = self._edge:event()
  end
end

--- Connects and serves until close() is called.
function link:run()
  while not self._is_closed do
    if self.is_up or connect(self) then
      serve(self)
      go_down(self)
    end
    if not self._is_closed then
      sluice.sleep(link.backoff(self._failures, self._random))
      self._failures = self._failures + 1
    end
  end
end

--- The status of the tunnel below, with the hub.
-- @treturn table
function link:status()
  local status = self._edge:status() or {}
  status.name = self.name
  status.hub = self.hub and self.hub.label
  status.connected = self.is_up == true
  return status
end

--- Ends the tunnel and run().
function link:close()
  self._is_closed = true
  self._edge:close()
end

return link
