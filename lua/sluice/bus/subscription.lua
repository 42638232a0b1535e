--- A subscription to a bus whose messages come from a task of the same state. To whoever holds it,
-- it is like one of sluice.bus: receive and cancel, or a function that runs as a task for each
-- message.

local sluice = require "sluice"

local subscription = {}
subscription.__index = subscription

-- As of sluice.bus.
local MAX_WAITING, MAX_WAITING_BYTES = 16384, 16 * 1024 * 1024
local MAX_RUNNING = 256
-- A task that receives on and on lets others have their turn after this time, which is looked at
-- once so many messages; so many bytes are as good as one more.
local MAX_AT_ONCE, LOOK_EVERY, BYTES = 0.005, 64, 16384

--- @tparam string topic
-- @tparam[opt] function fn
-- @tparam function on_cancel called with the subscription, once
function subscription.new(topic, fn, on_cancel)
  return setmetatable({
    topic = topic,
    _fn = fn,
    _on_cancel = on_cancel,
    _arrived = sluice.event(),
    _queue = {}, -- of { message, topic }, or {} where messages are missing
    _first = 1,
    _last = 0,
    _bytes = 0,
    _running = 0,
    _at_once = 0, -- messages without a wait,
    _since = 0,   -- since then
  }, subscription)
end

local function is_empty(self)
  return self._first > self._last
end

local function append(self, entry)
  self._last = self._last + 1
  self._queue[self._last] = entry
end

local function take(self)
  local entry = self._queue[self._first]
  self._queue[self._first] = nil
  self._first = self._first + 1
  local len = #(entry[1] or "")
  self._bytes = self._bytes - len
  self._at_once = self._at_once + 1 + len / BYTES
  return entry[1], entry[2]
end

local run_waiting

local function run(self, message, topic)
  self._running = self._running + 1
  sluice.spawn(function()
    -- A task of its own, so that even one that overruns its budget is counted out.
    sluice.spawn(self._fn, message, topic):wait()
    self._running = self._running - 1
    run_waiting(self)
  end)
end

function run_waiting(self)
  while self._running < MAX_RUNNING and not is_empty(self) do
    local message, topic = take(self)
    if message then
      run(self, message, topic)
    end
  end
end

local function wake(self)
  if self._fn then
    run_waiting(self)
  else
    self._arrived:set()
  end
end

local function has_room(self, message)
  return self._last - self._first < MAX_WAITING - 1
    and self._bytes + #message <= MAX_WAITING_BYTES
end

--- Here messages are missing.
function subscription:lose()
  append(self, {})
  wake(self)
end

--- A message has arrived.
function subscription:push(message, topic)
  if has_room(self, message) then
    self._is_lagging = false
    self._bytes = self._bytes + #message
    append(self, { message, topic })
    wake(self)
  elseif not self._is_lagging then
    self._is_lagging = true
    sluice.log.warn("a subscriber of the bus lags, it loses messages", { topic = self.topic })
    self:lose()
  end
end

local function wait_until(self, deadline)
  while is_empty(self) do
    if self._is_cancelled then
      return nil, "cancelled"
    end
    local left = deadline and math.max(0, deadline - sluice.now())
    local ok, err = self._arrived:wait(left)
    if not ok and is_empty(self) then
      return nil, err
    end
    self._at_once, self._since = 0, sluice.now()
  end
  return true
end

local function let_others_run(self)
  if self._at_once >= LOOK_EVERY then
    self._at_once = 0
    if sluice.now() - self._since >= MAX_AT_ONCE then
      sluice.sleep(0)
      self._since = sluice.now()
    end
  end
end

--- The next message.
-- @tparam[opt] number timeout seconds; for ever without it
-- @treturn string|nil the message
-- @treturn string its topic; without a message "timed out", "cancelled" or "lost"
function subscription:receive(timeout)
  if self._fn then
    error("subscription:receive: the messages of this one go to its function", 2)
  end
  let_others_run(self)
  local ok, err = wait_until(self, timeout and sluice.now() + timeout)
  if not ok then
    return nil, err
  end
  local message, topic = take(self)
  if not message then
    return nil, "lost"
  end
  return message, topic
end

--- Ends it, and drops what waits.
function subscription:cancel()
  if not self._is_cancelled then
    self._is_cancelled = true
    self._queue, self._first, self._last, self._bytes = {}, 1, 0, 0
    self._arrived:set()
    self._on_cancel(self)
  end
end

return subscription
