--- Waiting for what another instance is doing with the same name.

local sluice = require "sluice"

local lock = {}

local patience = 150 -- seconds; orders take less
local first_pause, longest_pause = 0.1, 1

--- Takes the lock of a name; waits while somebody else has it.
-- @tparam table storage of certificates
-- @tparam string name
-- @treturn ?function unlocks
-- @treturn ?string why not: "busy" after some minutes, …
function lock.take(storage, name)
  local ends, pause = sluice.now() + patience, first_pause
  local unlock, err = storage:lock(name)
  while not unlock and err == "busy" and sluice.now() < ends do
    sluice.sleep(pause)
    pause = math.min(2 * pause, longest_pause)
    unlock, err = storage:lock(name)
  end
  return unlock, err
end

return lock
