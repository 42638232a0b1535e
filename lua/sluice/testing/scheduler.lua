--- Tasks and timers on a clock that stands still until a spec moves it.
--
-- The rules are the runtime's: a task runs until it waits, one task at a time; one that is started
-- or woken by another runs after that one; timers fire in the order of their time. Outside of any
-- task (in the body of a spec) sleeping moves the clock.

local scheduler = {}
scheduler.__index = scheduler

local task_methods = {}
task_methods.__index = task_methods

local timer_methods = {}
timer_methods.__index = timer_methods

function scheduler.new()
  return setmetatable({ _now = 0, _timers = {}, _count = 0, _queue = {} }, scheduler)
end

function scheduler:now()
  return self._now
end

local function finish(self, task, ok, ...)
  task._done = true
  task._results = { n = select("#", ...), ... }
  if not ok then
    task._results = { n = 2, nil, tostring((...)) }
    if #task._waiters == 0 then
      error(debug.traceback(task._coroutine, tostring((...))), 0)
    end
  end
  for _, waiter in ipairs(task._waiters) do
    self:resume(waiter, unpack(task._results, 1, task._results.n))
  end
end

local function settle(self, task, ...)
  self._current = nil
  if coroutine.status(task._coroutine) == "dead" and not task._done then
    finish(self, task, ...)
  end
end

local function run(self, task, ...)
  if not task._done then
    self._current = task
    settle(self, task, coroutine.resume(task._coroutine, ...))
  end
end

local function run_all(self)
  while not self._current and self._queue[1] do
    local entry = table.remove(self._queue, 1)
    run(self, entry[1], unpack(entry, 3, 2 + entry[2]))
  end
end

--- Goes on with a task that waits; the values are what its wait returns.
function scheduler:resume(task, ...)
  table.insert(self._queue, { task, select("#", ...), ... })
  if not self._is_busy then -- else whoever is runs it, too: the stack does not grow with the tasks
    self._is_busy = true
    local ok, err = pcall(run_all, self)
    self._is_busy = false
    if not ok then
      error(err, 0)
    end
  end
end

--- Waits in the current task until somebody resumes it.
function scheduler:suspend()
  if coroutine.running() ~= self._current._coroutine then
    error("a task cannot wait inside a coroutine of its own making", 3)
  end
  return coroutine.yield()
end

function scheduler:current()
  return self._current
end

function scheduler:spawn(fn, ...)
  local task = setmetatable({
    _scheduler = self,
    _coroutine = coroutine.create(fn),
    _waiters = {},
    _done = false,
  }, task_methods)
  self:resume(task, ...)
  return task
end

--- Ends the task where it waits; whoever waits for it gets nil, "cancelled".
function task_methods:cancel()
  if not self._done then
    finish(self._scheduler, self, true, nil, "cancelled")
  end
end

--- What the task's function returned; nil and the error when it threw.
function task_methods:wait()
  local current = self._scheduler:current()
  if not self._done then
    if not current then
      error("task:wait() outside of a task would wait for ever; advance the clock first", 2)
    end
    table.insert(self._waiters, current)
    return self._scheduler:suspend()
  end
  return unpack(self._results, 1, self._results.n)
end

local function add_timer(self, seconds, fn, interval)
  self._count = self._count + 1
  local timer = setmetatable({
    _at = self._now + seconds,
    _order = self._count,
    _fn = fn,
    _interval = interval,
    _scheduler = self,
  }, timer_methods)
  self._timers[timer] = true
  return timer
end

function scheduler:timer(seconds, fn)
  return add_timer(self, seconds, fn)
end

function scheduler:every(seconds, fn)
  return add_timer(self, seconds, fn, seconds)
end

function timer_methods:cancel()
  self._scheduler._timers[self] = nil
end

function scheduler:sleep(seconds)
  local task = self._current
  if not task then
    return self:advance(seconds)
  end
  add_timer(self, seconds, function()
    self:resume(task)
  end)
  self:suspend()
end

local function earliest(self, limit)
  local first
  for timer in pairs(self._timers) do
    local sooner = not first or timer._at < first._at
      or (timer._at == first._at and timer._order < first._order)
    if timer._at <= limit and sooner then
      first = timer
    end
  end
  return first
end

--- Moves the clock, running whatever falls due on the way.
function scheduler:advance(seconds)
  local limit = self._now + seconds
  local timer = earliest(self, limit)
  while timer do
    self._timers[timer] = nil
    self._now = timer._at
    if timer._interval then
      timer._at = timer._at + timer._interval
      self._timers[timer] = true
    end
    if not timer._task or timer._task._done then -- runs of one timer never overlap
      timer._task = self:spawn(timer._fn)
    end
    timer = earliest(self, limit)
  end
  self._now = limit
end

return scheduler
