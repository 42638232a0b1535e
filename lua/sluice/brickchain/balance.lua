--- Which session of a client gets the next request: the one with the fewest that this worker has
-- given it and that are not over; among equals they take turns.

local balance = {}
balance.__index = balance

function balance.new()
  return setmetatable({ _active = {}, _turn = 0 }, balance)
end

--- @tparam table sessions at least one
-- @tparam[opt] table tried sessions that are out of the question, as keys
-- @treturn ?string nil: none is left
function balance:choose(sessions, tried)
  local n = #sessions
  if n == 1 then
    return not (tried and tried[sessions[1]]) and sessions[1] or nil
  end
  self._turn = self._turn + 1
  local best, least
  for i = 1, n do
    local session = sessions[(self._turn + i) % n + 1]
    local active = self._active[session] or 0
    if not (tried and tried[session]) and (not least or active < least) then
      best, least = session, active
    end
  end
  return best
end

--- A request begins.
function balance:enter(session)
  self._active[session] = (self._active[session] or 0) + 1
end

--- It is over.
function balance:leave(session)
  local active = self._active[session] or 0
  self._active[session] = active > 1 and active - 1 or nil
end

return balance
