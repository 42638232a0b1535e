--- What was learned lately, for a while and in bounded memory: when there is too much of it the
-- older half is forgotten.

local sluice = require "sluice"

local recent = {}
recent.__index = recent

--- @tparam number max how many keys are remembered at the most
function recent.new(max)
  return setmetatable({ _half = math.floor(max / 2), _young = {}, _old = {}, _count = 0 }, recent)
end

--- @tparam string key
-- @tparam number seconds
function recent:note(key, seconds)
  if self._count >= self._half then
    self._old, self._young, self._count = self._young, {}, 0
  end
  self._count = self._count + (self._young[key] and 0 or 1)
  self._young[key] = sluice.now() + seconds
end

--- How much longer it holds; nil: it is not known.
function recent:left(key)
  local ends = self._young[key] or self._old[key]
  local left = ends and ends - sluice.now()
  return left and left > 0 and left or nil
end

function recent:forget(key)
  self._young[key], self._old[key] = nil, nil
end

return recent
