--- What workers and servers share: messages, who is registered, who asked how often; in this
-- process, or on Redis for several servers.

local limiter = require "sluice.brickchain.limiter"
local memory_bus = require "sluice.bus.memory"
local node = require "sluice.brickchain.node"
local originals = require "sluice.brickchain.originals"
local redis = require "sluice.brickchain.redis"
local redis_bus = require "sluice.bus.redis"
local registry = require "sluice.brickchain.registry"

local store = {}
store.__index = store

-- Seconds that the first request waits for Redis.
local first_wait = 5

local function on_memory(rate)
  local self = setmetatable({ registry = registry.memory(), limiter = limiter.memory(rate) },
    store)
  self.node = node.new(memory_bus.new())
  self.node:open()
  return self
end

local function on_redis(rate, options)
  local bus, connection = redis_bus.new(options), redis.new(options)
  local function command(...)
    return connection:command(...)
  end
  local self = setmetatable({ registry = registry.redis(command, originals.session),
    limiter = limiter.redis(rate, command) }, store)
  self.node = node.new(bus)
  self.node:open()
  self._bus = bus
  self._originals = originals.new(self.node, bus, self.registry)
  self.node:add_originals(self._originals)
  bus:wait(first_wait)
  return self
end

--- In a task, since it connects.
-- @tparam table settings of sluice.brickchain.settings
-- @treturn table node, registry, limiter
function store.new(settings)
  local rate = { most = settings.rate_limit, seconds = settings.rate_seconds }
  if settings.redis then
    return on_redis(rate, settings.redis)
  end
  return on_memory(rate)
end

--- A client is connected here. Waits until requests for it come here, if that takes no longer than
-- Redis may.
function store:listen(key_id)
  if self._originals then
    self._originals:listen(key_id)
    self._bus:wait(first_wait)
  end
end

--- It is no more.
function store:unlisten(key_id)
  if self._originals then
    self._originals:unlisten(key_id)
  end
end

return store
