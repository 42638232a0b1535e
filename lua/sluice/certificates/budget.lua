--- So many in so long: orders that a CA may be asked for, questions that may be put to it.

local sluice = require "sluice"

local budget = {}
budget.__index = budget

--- @tparam number limit how many
-- @tparam number seconds in how long
function budget.new(limit, seconds)
  return setmetatable({ _limit = limit, _seconds = seconds, _taken = {}, _from = 1, _to = 0 },
    budget)
end

--- How long until one more may be taken.
-- @tparam[opt=1] number share the part of the limit that may be used up by such a one
-- @treturn number seconds; 0: it may now
function budget:wait(share)
  local now = sluice.now()
  while self._from <= self._to and self._taken[self._from] <= now - self._seconds do
    self._taken[self._from] = nil
    self._from = self._from + 1
  end
  local allowed = math.max(1, math.floor(self._limit * (share or 1)))
  local blocking = self._taken[self._to - allowed + 1]
  return blocking and blocking + self._seconds - now or 0
end

--- Takes one; wait() has said that it may be.
function budget:take()
  self._to = self._to + 1
  self._taken[self._to] = sluice.now()
end

return budget
