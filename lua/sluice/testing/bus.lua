--- The bus of the fake core: one process with one state. What is published arrives at once.

local inbox = require "sluice.testing.inbox"
local world = require "sluice.testing.world"

local bus = {}

local methods = {}
methods.__index = methods

function methods:receive(timeout)
  assert(not self._fn, "subscription:receive: the messages of this one go to its function")
  return self._inbox:take(timeout)
end

function methods:cancel()
  world.topics[self] = nil
  self._inbox:clear()
  self._inbox:close(nil, "cancelled")
end

--- For specs: what happens when messages are lost.
function methods:lose()
  self._inbox:put(nil, "lost")
end

function bus.subscribe(topic, fn)
  assert(type(topic) == "string" and topic ~= "", "bus.subscribe: a topic expected")
  world.count = (world.count or 0) + 1
  local subscription = setmetatable({
    _topic = topic, _prefix = topic:match("^(.*)%*$"), _fn = fn, _order = world.count,
    _inbox = inbox.new "subscription:receive",
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
    else
      subscription._inbox:put(message, topic)
    end
  end
  return #takers
end

return bus
