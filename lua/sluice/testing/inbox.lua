--- What has arrived for one task, and the task that waits for the next: what the fakes of
-- subscriptions, sockets and connections receive with.

local world = require "sluice.testing.world"

local inbox = {}
inbox.__index = inbox

--- @tparam string what the function that waits, for complaints: "udp:receive"
function inbox.new(what)
  return setmetatable({ _what = what, _queue = {} }, inbox)
end

local function wake(self, ...)
  local receiver = self._receiver
  if receiver then
    self._receiver = nil
    receiver.timer:cancel()
    world.scheduler:resume(receiver.task, ...)
    return true
  end
end

--- These values arrive.
function inbox:put(...)
  if not self._last and not wake(self, ...) then
    table.insert(self._queue, { n = select("#", ...), ... })
  end
end

--- Nothing more arrives: whoever has taken what is there gets these values.
function inbox:close(...)
  if not self._last then
    self._last = { n = select("#", ...), ... }
    wake(self, ...)
  end
end

--- What has arrived and was not taken is forgotten.
function inbox:clear()
  self._queue = {}
end

--- The next values; waits for them.
-- @tparam[opt] number timeout
-- @return nil, "timed out" when nothing came
function inbox:take(timeout)
  assert(not self._receiver, self._what .. ": another task is receiving")
  local first = table.remove(self._queue, 1) or self._last
  if first then
    return unpack(first, 1, first.n)
  end
  local task = world.scheduler:current()
  if not task then
    error(self._what .. "() outside of a task would wait for ever", 3)
  end
  self._receiver = { task = task, timer = world.scheduler:timer(timeout or math.huge, function()
    wake(self, nil, "timed out")
  end) }
  return world.scheduler:suspend()
end

return inbox
