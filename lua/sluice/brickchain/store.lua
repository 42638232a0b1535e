--- What workers and servers share: a bus, who is registered, who asked how often; in this process,
-- or on Redis for several servers.

local limiter = require "sluice.brickchain.limiter"
local memory_bus = require "sluice.bus.memory"
local registry = require "sluice.brickchain.registry"

local store = {}

--- @tparam table settings of sluice.brickchain.settings
-- @treturn table bus, registry, limiter
function store.new(settings)
  local rate = { most = settings.rate_limit, seconds = settings.rate_seconds }
  return {
    bus = memory_bus.new(),
    registry = registry.memory(),
    limiter = limiter.memory(rate),
  }
end

return store
