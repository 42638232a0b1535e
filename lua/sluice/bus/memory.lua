--- The bus of this process as an object, so that a module can take a bus as a parameter and work on
-- this one or on Redis (lua/sluice/bus/redis.lua) alike.
--
-- @usage
--   local bus = require("sluice.bus.memory").new()
--   local subscription = bus:subscribe "orders/*"
--   bus:publish("orders/7", "shipped")
--   local message, topic = subscription:receive(5)

local sluice = require "sluice"

local memory = {}
memory.__index = memory

--- Nobody can hear of it but this process.
memory.is_local = true

function memory.new()
  return setmetatable({}, memory)
end

--- Sends a message to all who subscribed.
-- @tparam string topic
-- @tparam string message any bytes
-- @treturn true|nil
-- @treturn integer how many subscriptions will get it
function memory:publish(topic, message) -- luacheck: no self
  return true, sluice.bus.publish(topic, message)
end

--- @tparam string topic one that ends in "*" is a prefix
-- @tparam[opt] function fn called as fn(message, topic); without it, ask subscription:receive()
-- @treturn Subscription with receive and cancel, as of sluice.bus.subscribe
function memory:subscribe(topic, fn) -- luacheck: no self
  return sluice.bus.subscribe(topic, fn)
end

--- Whether what is published goes out.
function memory:is_up() -- luacheck: no self
  return true
end

--- Waits until it is up, and the subscriptions made so far are in force: they are.
function memory:wait() -- luacheck: no self
  return true
end

--- For the sake of the interface: there is nothing to close.
function memory:close() -- luacheck: no self
end

return memory
