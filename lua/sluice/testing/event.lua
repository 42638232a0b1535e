--- sluice.event of the fake core.

local world = require "sluice.testing.world"

local event = {}
event.__index = event

function event.new()
  return setmetatable({}, event)
end

local function wake(self, ...)
  local waiter = self._waiter
  self._waiter = nil
  if self._timer then
    self._timer:cancel()
    self._timer = nil
  end
  world.scheduler:resume(waiter, ...)
end

function event:set()
  if self._waiter then
    return wake(self, true)
  end
  self._is_set = true
end

function event:wait(timeout)
  if self._is_set then
    self._is_set = nil
    return true
  end
  local task = world.scheduler:current()
  if not task then
    error("event:wait() outside of a task would wait for ever", 2)
  elseif self._waiter and not self._waiter._done then
    error("event:wait: another task waits for it", 2)
  end
  self._waiter = task
  self._timer = timeout and world.scheduler:timer(timeout, function()
    self._timer = nil
    wake(self, nil, "timed out")
  end)
  return world.scheduler:suspend()
end

return event
