--- Under which address the world sees an edge: asked of a STUN server again and again. Nothing
-- depends on it: what goes wrong is logged, and that once.

local events = require "sluice.tunnel.events"
local sluice = require "sluice"

local stun = {}
stun.__index = stun

-- Seconds: as remoteingress has it; after a failure; for one question; until it is looked whether
-- the hub has said another interval.
local default_interval, retry_after, timeout, look = 300, 60, 5, 10

--- @tparam table server `host`, `port`
-- @tparam function interval() seconds, or nil for the default
function stun.new(server, interval)
  return setmetatable({ _server = server, _interval = interval }, stun)
end

local function ask(self)
  local ip, err = sluice.stun(self._server.host, self._server.port, timeout)
  if not ip then
    if self._told ~= err then
      sluice.log.warn("the public address is not known", { server = self._server.label,
        error = err })
    end
    self._told = err
    return false
  end
  self._told = nil
  if ip ~= self.public_ip then
    self.public_ip = ip
    sluice.log.info("the public address is known", { ip = ip })
    events.publish("publicIpDiscovered", { ip = ip })
  end
  return true
end

--- Asks until the task is cancelled.
function stun:run()
  while true do
    local ok, asked = ask(self), sluice.now()
    local left
    repeat
      local interval = self._interval() or default_interval
      left = asked + (ok and interval or math.min(retry_after, interval)) - sluice.now()
      sluice.sleep(math.max(0, math.min(left, look)))
    until left <= look
  end
end

return stun
