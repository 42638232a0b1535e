--- How long to leave somebody alone who has failed again and again.

local sluice = require "sluice"

local backoff = {}

--- Twice as long each time, give or take a quarter, so that not all come back at once.
-- @tparam number failures one after the other, 1 or more
-- @tparam number first seconds after the first
-- @tparam number longest
-- @treturn number seconds
function backoff.wait(failures, first, longest)
  local wait = math.min(first * 2 ^ math.min(failures - 1, 30), longest)
  return wait * (0.75 + sluice.crypto.random(1):byte() / 510)
end

return backoff
