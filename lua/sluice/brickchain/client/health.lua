--- What the log says about the local server: that it does not answer, how often since, and that it
-- does again; not a line for each request.

local sluice = require "sluice"

local health = {}
health.__index = health

-- Seconds between two lines about the same trouble.
local interval = 60

--- @tparam string target its URL
function health.new(target)
  return setmetatable({ _target = target, _failed = 0 }, health)
end

--- A request failed.
function health:bad(err)
  self._failed = self._failed + 1
  local now = sluice.now()
  if self._failed == 1 or now - self._said >= interval then
    self._said = now
    sluice.log.warn("the local server does not answer",
      { server = self._target, error = err, failed = self._failed })
  end
end

--- A request was answered.
function health:good()
  if self._failed > 0 then
    sluice.log.info("the local server answers again",
      { server = self._target, failed = self._failed })
    self._failed = 0
  end
end

return health
