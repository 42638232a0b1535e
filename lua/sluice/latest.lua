--- Work where only the newest counts: one piece runs, the others wait their turn, and a piece that
-- still waits at the end of the line is replaced by a newer one of its kind. Whoever brought the
-- replaced one gets the result of the newer. After a piece that others waited for there is a short
-- pause, in which more can arrive and replace each other.
--
-- So a thousand updates in a second cost a few runs, a single one is not delayed, every caller
-- hears how the run went that covered him, and different kinds of work never run at the same time.
--
-- @usage
--   local queue = latest.new(function(kind, value) return apply(value) end)
--   local result, err = queue:run("routes", list) -- waits

local sluice = require "sluice"

local latest = {}
latest.__index = latest

-- Between two pieces that come faster than they can be done.
local function pause()
  sluice.sleep(0.05)
end

--- @tparam function work work(kind, value); may wait; its results go to the callers
-- @tparam[opt] table with `spawn` starts a task and returns it, as sluice.spawn does; `pause`
-- waits. For specs: a clock of their own
function latest.new(work, with)
  with = with or { spawn = sluice.spawn, pause = pause }
  return setmetatable({ _work = work, _spawn = with.spawn, _pause = with.pause }, latest)
end

-- At the end of the line: whoever comes next has nobody to wait for.
local function leave(self, ticket, ...)
  if self._last == ticket then
    self._last = nil
  end
  return ...
end

local function append(self, kind, value)
  local ticket = { kind = kind, value = value, waits = true }
  local before = self._last
  self._last = ticket
  ticket.task = self._spawn(function()
    if before then
      before.task:wait()
      self._pause()
    end
    ticket.waits = false
    return leave(self, ticket, self._work(kind, ticket.value))
  end)
  return ticket
end

--- Hands in a piece of work and waits until it, or a newer one of its kind, was done.
-- @tparam string kind
-- @param value
-- @return what the work returned; nil and an error when it threw
function latest:run(kind, value)
  local ticket = self._last
  if ticket and ticket.waits and ticket.kind == kind then
    ticket.value = value
  else
    ticket = append(self, kind, value)
  end
  return ticket.task:wait()
end

return latest
