--- Buffered work in the manner of the taskbuffer package, with one difference: the newest argument
-- wins.
--
-- At most `buffer_max` runs are owed at any time, the one in progress included, and never do two
-- overlap. A trigger beyond that joins the newest run that still waits: its argument takes the
-- place of the older one, and everybody who waits for that run gets its result. So a thousand
-- triggers during one run cost one more run, which has what the last of them brought, and every
-- trigger is answered from a run that had its argument or a newer one.
--
-- With `interval` a run begins no sooner than that many seconds after the one before has ended, so
-- that triggers which come one by one, but quickly, are gathered, too. The first is never delayed.
--
-- @usage
--   local buffer = taskbuffer.new(apply, { spawn = sluice.spawn, sleep = sluice.sleep,
--     now = sluice.now, interval = 0.5 })
--   local result, err = buffer:run(list) -- waits

local taskbuffer = {}
taskbuffer.__index = taskbuffer

--- @tparam function work work(argument); may wait; what it returns goes to those who wait for it
-- @tparam table with `spawn`, `sleep`, `now` as in sluice; `interval` in seconds (0); `buffer_max`,
-- at least 2 (the default): a run in progress has its argument already and cannot take a newer one
function taskbuffer.new(work, with)
  local buffer_max = with.buffer_max or 2
  if buffer_max < 2 then
    error("taskbuffer: buffer_max must be at least 2", 2)
  end
  return setmetatable({
    _work = work,
    _spawn = with.spawn,
    _sleep = with.sleep,
    _now = with.now,
    _interval = with.interval or 0,
    _buffer_max = buffer_max,
    _owed = {},
  }, taskbuffer)
end

-- Waits until the run may begin; more arguments can arrive meanwhile.
local function keep_distance(self)
  local left = self._ended and self._ended + self._interval - self._now() or 0
  if left > 0 then
    self._sleep(left)
  end
end

local function settle(self, ok, ...)
  table.remove(self._owed, 1)
  self._ended = self._now()
  if ok then
    return ...
  end
  return nil, tostring((...))
end

local function owe(self, argument)
  local run = { argument = argument, waits = true }
  local before = self._owed[#self._owed]
  table.insert(self._owed, run)
  run.task = self._spawn(function()
    if before then
      before.task:wait()
    end
    keep_distance(self)
    local newest = run.argument
    run.waits, run.argument = false, nil
    return settle(self, pcall(self._work, newest))
  end)
  return run
end

--- Triggers a run and waits for the one that covers this argument.
-- @return what the work returned; nil and the error when it threw
function taskbuffer:run(argument)
  local run = self._owed[#self._owed]
  local is_full = #self._owed >= self._buffer_max
  if run and run.waits and (is_full or self._owed[1].waits) then
    run.argument = argument
  else
    run = owe(self, argument)
  end
  return run.task:wait()
end

return taskbuffer
