--- The bus of the fake core: one process with one state. What is published arrives at once.

local world = require "sluice.testing.world"

local bus = {}

local methods = {}
methods.__index = methods

local function wake(self, ...)
  local receiver = self._receiver
  if receiver then
    self._receiver = nil
    receiver.timer:cancel()
    world.scheduler:resume(receiver.task, ...)
    return true
  end
end

function methods:receive(timeout)
  assert(not self._fn, "subscription:receive: the messages of this one go to its function")
  assert(not self._receiver, "subscription:receive: another task is receiving")
  local first = table.remove(self._inbox, 1)
  if first then
    return unpack(first, 1, 2)
  elseif self._is_cancelled then
    return nil, "cancelled"
  end
  local task = world.scheduler:current()
  if not task then
    error("subscription:receive() outside of a task would wait for ever", 2)
  end
  self._receiver = { task = task, timer = world.scheduler:timer(timeout or math.huge, function()
    wake(self, nil, "timed out")
  end) }
  return world.scheduler:suspend()
end

function methods:cancel()
  world.topics[self] = nil
  self._is_cancelled = true
  self._inbox = {}
  wake(self, nil, "cancelled")
end

--- For specs: what happens when messages are lost.
function methods:lose()
  if not wake(self, nil, "lost") then
    table.insert(self._inbox, { nil, "lost" })
  end
end

function bus.subscribe(topic, fn)
  assert(type(topic) == "string" and topic ~= "", "bus.subscribe: a topic expected")
  world.count = (world.count or 0) + 1
  local subscription = setmetatable({
    _topic = topic, _prefix = topic:match("^(.*)%*$"), _fn = fn, _inbox = {}, _order = world.count,
  }, methods)
  world.topics[subscription] = true
  return subscription
end

local function takes(subscription, topic)
  local prefix = subscription._prefix
  if prefix then
    return topic:sub(1, #prefix) == prefix
  end
  return topic == subscription._topic
end

function bus.publish(topic, message)
  local takers = {}
  for subscription in pairs(world.topics) do
    if takes(subscription, topic) then
      table.insert(takers, subscription)
    end
  end
  table.sort(takers, function(a, b) return a._order < b._order end)
  for _, subscription in ipairs(takers) do
    if subscription._fn then
      world.scheduler:spawn(subscription._fn, message, topic)
    elseif not wake(subscription, message, topic) then
      table.insert(subscription._inbox, { message, topic })
    end
  end
  return #takers
end

return bus
