--- Work for names, a few pieces at a time, each name once, renewals before new names.

local sluice = require "sluice"

local queue = {}
queue.__index = queue

--- @tparam number width how many pieces at a time
-- @tparam function work work(key); may wait
function queue.new(width, work)
  return setmetatable({
    _width = width,
    _work = work,
    _running = 0,
    _keys = {},                          -- those that wait or are worked on
    _lines = { urgent = { first = 1, last = 0 }, normal = { first = 1, last = 0 } },
  }, queue)
end

local function next_of(line)
  if line.first > line.last then
    return nil
  end
  local key = line[line.first]
  line[line.first] = nil
  line.first = line.first + 1
  return key
end

local function run(self)
  local key = next_of(self._lines.urgent) or next_of(self._lines.normal)
  while key do
    sluice.spawn(self._work, key):wait() -- whatever happens to it
    self._keys[key] = nil
    key = next_of(self._lines.urgent) or next_of(self._lines.normal)
  end
  self._running = self._running - 1
end

--- Hands in a piece, unless the same is there already.
-- @tparam string key
-- @tparam boolean is_urgent before all that are not
function queue:add(key, is_urgent)
  if self._keys[key] then
    return
  end
  self._keys[key] = true
  local line = is_urgent and self._lines.urgent or self._lines.normal
  line.last = line.last + 1
  line[line.last] = key
  if self._running < self._width then
    self._running = self._running + 1
    sluice.spawn(run, self)
  end
end

--- Is a piece waiting or in work?
function queue:has(key)
  return self._keys[key] == true
end

return queue
