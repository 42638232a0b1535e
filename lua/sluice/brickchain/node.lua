--- One worker of a server among all workers of all servers: it has visitors, who wait for answers,
-- and sessions, through which clients get requests; either may be anywhere.
--
-- What two sluices say to each other goes over the topic of the node, with a head of ours:
--
--   s session(16) what(1) id(36) payload    to a session: "q" a request, "u" a ws-request, "d"
--                                           another document, "t" a ws-teardown, "f" a frame, "x"
--                                           the visitor is gone
--   v id(36) payload                        to a visitor: a document, a frame, or "!" and why there
--                                           will be no answer
--
-- The first 8 digits of every id, and of every session, are those of the node that made it. Nothing
-- here waits.

local messages = require "sluice.brickchain.messages"
local sluice = require "sluice"

local node = {}
node.__index = node

local topic, stop_topic = "/proxy/nodes/", "brickchain/stop"

--- Bytes of a payload that fit into one message of the bus.
node.max_payload = 1024 * 1024 - 64

--- @tparam table bus of sluice.bus.memory or sluice.bus.redis
function node.new(bus)
  return setmetatable({
    id = sluice.crypto.hex(sluice.crypto.random(4)),
    _bus = bus,
    _sessions = {},
    _visitors = {},
    _originals = nil, -- originals.lua, where there may be such servers
  }, node)
end

--- Lets servers of the original take part.
function node:add_originals(originals)
  self._originals = originals
end

-- Ids.

--- A new @id, a UUID, that leads back here.
function node:new_id()
  return self.id .. messages.new_id():sub(9)
end

--- A new name of a session that leads back here. The last character says what the client can do.
function node:new_session(is_sluice)
  return self.id .. sluice.crypto.hex(sluice.crypto.random(4)):sub(2) .. (is_sluice and "s" or "o")
end

--- Does the client of this session understand what two sluices can do?
function node.is_sluice(session)
  return session:sub(16) == "s"
end

-- Members: visitors have take(payload, kind, doc), sessions deliver(what, id, payload) and
-- retire(), and both lost().

function node:add_session(session, object)
  self._sessions[session] = object
end

function node:remove_session(session)
  self._sessions[session] = nil
end

function node:session(session)
  return self._sessions[session]
end

function node:add_visitor(id, object)
  self._visitors[id] = object
end

function node:visitor(id)
  return self._visitors[id]
end

function node:remove_visitor(id)
  self._visitors[id] = nil
end

-- Sending.

--- To a session. May wait for the bus, as what is below.
-- @treturn ?true nil: not sent
-- @treturn ?string "gone", or why not
function node:to_session(session, what, id, payload)
  if self._originals and self._originals.is_one(session) then
    return self._originals:send(session, what, payload)
  end
  local owner = session:sub(1, 8)
  if owner == self.id then
    local object = self._sessions[session]
    if not object then
      return nil, "gone"
    end
    return object:deliver(what, id, payload)
  end
  if #payload > node.max_payload then
    return nil, "too large"
  end
  local ok, reached = self._bus:publish(topic .. owner, "s" .. session .. what .. id .. payload)
  if ok and reached == 0 then -- a worker of this process is there, but its queue may be full
    return nil, self._bus.is_local and "busy" or "gone"
  end
  return ok, reached
end

--- To a visitor, wherever he waits. `kind` and `doc`: the document in the payload, when it was read
-- already.
function node:to_visitor(id, payload, kind, doc)
  local visitor = self._visitors[id]
  if visitor then
    visitor:take(payload, kind, doc)
    return true
  elseif self._originals and self._originals:answer(id, payload) then
    return true
  end
  if #payload > node.max_payload then
    return nil, "too large"
  end
  return self._bus:publish(topic .. id:sub(1, 8), "v" .. id .. payload)
end

-- Receiving.

-- Tells a visitor that a request did not reach the client; "away": another session may get it.
local function refuse(self, id, what, err)
  if what == "q" or what == "u" then
    sluice.spawn(self.to_visitor, self, id, "!" .. err)
  end
end

local function receive(self, message)
  if message:byte() == 118 then -- v
    local visitor = self._visitors[message:sub(2, 37)]
    if visitor then
      visitor:take(message:sub(38))
    end
    return
  end
  local session, what, id = message:sub(2, 17), message:sub(18, 18), message:sub(19, 54)
  local object = self._sessions[session]
  if object then
    local ok, err = object:deliver(what, id, message:sub(55))
    if not ok then
      refuse(self, id, what, err == "gone" and "away" or err)
    end
  else
    refuse(self, id, what, "away")
  end
end

-- Messages are missing, nobody knows whose: whoever waits for any gets an answer now.
local function lose_all(self)
  sluice.log.warn("messages between nodes were lost", { node = self.id })
  for _, members in ipairs { self._visitors, self._sessions } do
    local all = {}
    for _, object in pairs(members) do
      all[#all + 1] = object
    end
    for _, object in ipairs(all) do
      object:lost()
    end
  end
end

-- The script was replaced, or the program ends: clients go to whoever comes next.
local function retire_all(self)
  local all = {}
  for _, object in pairs(self._sessions) do
    all[#all + 1] = object
  end
  for _, object in ipairs(all) do
    object:retire()
  end
end

local function run(self, subscription)
  while true do
    local message, why = subscription:receive()
    if message then
      receive(self, message)
    elseif why == "lost" then
      lose_all(self)
    else
      retire_all(self)
      return true
    end
  end
end

-- A message that was too much for a task is one that is lost, and no more than that.
local function listen(self, subscription)
  while not sluice.spawn(run, self, subscription):wait() do
    sluice.spawn(lose_all, self):wait()
  end
end

--- Listens to what the others say. On a worker, once, where a task may be started.
function node:open()
  sluice.bus.subscribe(stop_topic, function()
    retire_all(self)
  end)
  sluice.spawn(listen, self, self._bus:subscribe(topic .. self.id))
end

--- Tells the nodes of this process that it ends.
function node.stop()
  sluice.bus.publish(stop_topic, "")
end

return node
