--- A bus over Redis: whoever connects to the same one hears what is published, this process too.
-- The interface is that of lua/sluice/bus/memory.lua.
--
-- Two connections, which come back by themselves: Redis that is away makes publish() fail at once,
-- and when it is back, subscriptions go on and are told "lost" once, as nobody knows what was
-- published meanwhile. It ends with the script that made it.
--
-- @usage
--   local bus = require("sluice.bus.redis").new { host = "redis.internal", password = secret }
--   local subscription = bus:subscribe "orders/*"
--   bus:wait(5)
--   bus:publish("orders/7", "shipped")
--   local message, topic = subscription:receive(5)

local backoff = require "sluice.certificates.backoff"
local sluice = require "sluice"
local subscriptions = require "sluice.bus.subscription"

local redis = {}
redis.__index = redis

local FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5
local HEARTBEAT = 10      -- seconds between two looks at whether Redis is there
local MAX_BATCH = 500     -- names in one SUBSCRIBE
local MAX_TOPIC = 256     -- bytes, as of sluice.bus
local MAX_MESSAGE = 1024 * 1024

-- The kinds of subscriptions: what Redis calls them, and who has them, by their name there.
local function new_kind(subscribe, unsubscribe)
  return { subscribe = subscribe, unsubscribe = unsubscribe, takers = {} }
end

--- The pattern of Redis for all that begins so.
local function pattern_of(prefix)
  return prefix:gsub("[%*%?%[%]\\]", "\\%0") .. "*"
end

local function for_each(self, fn)
  for _, kind in ipairs { self._channels, self._patterns } do
    for _, takers in pairs(kind.takers) do
      for subscription in pairs(takers) do
        fn(subscription)
      end
    end
  end
end

local function wake_waiters(self)
  if self._is_up and self._n_confirming == 0 then
    for event in pairs(self._waiters) do
      event:set()
    end
  end
end

-- Down and up.

local function drop(self)
  if self._is_up then
    for_each(self, function(subscription)
      subscription._has_missed = true
    end)
  end
  self._is_up = false
  for _, name in ipairs { "_publisher", "_subscriber" } do
    if self[name] then
      self[name]:close()
      self[name] = nil
    end
  end
end

-- Those that are still wanted of these names.
local function wanted(kind, names, first)
  local batch = {}
  for i = first, math.min(first + MAX_BATCH - 1, #names) do
    if kind.takers[names[i]] then
      table.insert(batch, names[i])
    end
  end
  return batch
end

local function subscribe_all(connection, kind)
  local names = {}
  for name in pairs(kind.takers) do
    table.insert(names, name)
  end
  for first = 1, #names, MAX_BATCH do
    local batch = wanted(kind, names, first)
    if #batch > 0 then
      local ok, err = connection[kind.subscribe](connection, unpack(batch))
      if not ok then
        return nil, err
      end
    end
  end
  return true
end

local function open(self)
  local err, ok
  self._publisher, err = sluice.redis.connect(self._options)
  if self._publisher then
    self._subscriber, err = sluice.redis.connect(self._options)
  end
  local connection = self._subscriber
  if not connection then
    return nil, err
  end
  for _, kind in ipairs { self._channels, self._patterns } do
    ok, err = subscribe_all(connection, kind)
    if not ok then
      return nil, err
    end
  end
  return not self._is_closed, "closed"
end

local function go_up(self)
  self._is_up = true
  for_each(self, function(subscription)
    if subscription._has_missed then
      subscription._has_missed = nil
      subscription:lose()
    end
  end)
  wake_waiters(self)
end

-- Until the connection ends; why it did.
local function pump(self)
  local connection = self._subscriber
  while true do
    local message, channel, pattern = connection:receive()
    if not message then
      return channel
    end
    local takers = pattern and self._patterns.takers[pattern]
      or not pattern and self._channels.takers[channel] or {}
    for subscription in pairs(takers) do
      subscription:push(message, channel)
    end
  end
end

local function run(self)
  local failures = 0
  while not self._is_closed do
    local ok, err = open(self)
    if ok then
      local since = sluice.now()
      sluice.log.info("the bus is connected to Redis")
      go_up(self)
      local why, thrown = sluice.spawn(pump, self):wait()
      err = why or thrown
      failures = sluice.now() - since > LONGEST_PAUSE and 0 or failures
    end
    drop(self)
    failures = failures + 1
    if failures == 1 and not self._is_closed then
      sluice.log.warn("the bus is without Redis", { error = err })
    end
    self._closing:wait(backoff.wait(failures, FIRST_PAUSE, LONGEST_PAUSE))
  end
end

-- A connection that says nothing may be one that nobody ends. The rest follows in pump().
local function look_after(self)
  local publisher, subscriber = self._publisher, self._subscriber
  if self._is_up and not (publisher:command "PING" and subscriber:command "PING") then
    subscriber:close()
  end
end

-- The interface.

--- Connects in the background, at once and whenever the connection is lost.
-- @tparam table options of sluice.redis.connect
function redis.new(options)
  local self = setmetatable({
    _options = options or {},
    _channels = new_kind("subscribe", "unsubscribe"),
    _patterns = new_kind("psubscribe", "punsubscribe"),
    _n_confirming = 0,
    _waiters = {},
    _is_up = false,
    _closing = sluice.event(),
    _script = sluice.bus.subscribe "sluice.bus.redis", -- ends with the script
  }, redis)
  self._heartbeat = sluice.every(HEARTBEAT, function()
    look_after(self)
  end)
  sluice.spawn(run, self)
  sluice.spawn(function()
    self._script:receive()
    self:close()
  end)
  return self
end

--- Sends a message to all who subscribed; waits until Redis has it.
-- @tparam string topic
-- @tparam string message any bytes, at most 1 MiB
-- @treturn true|nil
-- @treturn integer|string how many connections to Redis got it, or why not
function redis:publish(topic, message)
  if type(topic) ~= "string" or type(message) ~= "string" or #topic > MAX_TOPIC
    or #message > MAX_MESSAGE then
    error("bus:publish: a topic of at most 256 bytes and a message of at most 1 MiB expected", 2)
  end
  local connection = self._publisher
  if not connection or not self._is_up then
    return nil, "not connected"
  end
  local n, err = connection:command("PUBLISH", topic, message)
  if n then
    return true, n
  elseif (err == "closed" or err == "timed out") and self._publisher == connection then
    self._subscriber:close() -- the two come back together
  end
  return nil, err
end

local function confirm(self, kind, name)
  local connection = self._subscriber
  if not connection then
    return -- open() will subscribe to it
  end
  self._n_confirming = self._n_confirming + 1
  sluice.spawn(function()
    local ok, err = connection[kind.subscribe](connection, name)
    if not ok and err ~= "closed" then
      sluice.log.warn("Redis refuses a subscription of the bus", { name = name, error = err })
    end
    self._n_confirming = self._n_confirming - 1
    wake_waiters(self)
  end)
end

local function forget(self, kind, name, subscription)
  local takers = kind.takers[name]
  takers[subscription] = nil
  if next(takers) == nil then
    kind.takers[name] = nil
    if self._subscriber then
      sluice.spawn(self._subscriber[kind.unsubscribe], self._subscriber, name)
    end
  end
end

--- Subscribes, without waiting for Redis: see wait().
-- @tparam string topic one that ends in "*" is a prefix
-- @tparam[opt] function fn called as fn(message, topic); without it, ask subscription:receive()
-- @treturn Subscription with receive and cancel, as of sluice.bus.subscribe
function redis:subscribe(topic, fn)
  if type(topic) ~= "string" or topic == "" or #topic > MAX_TOPIC then
    error("bus:subscribe: a topic of 1 to 256 bytes expected", 2)
  end
  local prefix = topic:match("^(.*)%*$")
  local kind = prefix and self._patterns or self._channels
  local name = prefix and pattern_of(prefix) or topic
  local subscription = subscriptions.new(topic, fn, function(subscription)
    forget(self, kind, name, subscription)
  end)
  if not kind.takers[name] then
    kind.takers[name] = {}
    confirm(self, kind, name)
  end
  kind.takers[name][subscription] = true
  return subscription
end

--- Whether what is published goes out.
function redis:is_up()
  return self._is_up
end

--- Waits until it is up, and Redis has confirmed every subscription made so far.
-- @tparam[opt] number timeout seconds; for ever without it
-- @treturn true|nil
-- @treturn string "timed out"
function redis:wait(timeout)
  if self._is_up and self._n_confirming == 0 then
    return true
  end
  local event = sluice.event()
  self._waiters[event] = true
  local ok, err = event:wait(timeout)
  self._waiters[event] = nil
  return ok, err
end

--- Closes the connections and cancels the subscriptions.
function redis:close()
  if self._is_closed then
    return
  end
  self._is_closed = true
  drop(self)
  for_each(self, function(subscription)
    subscription:cancel()
  end)
  self._heartbeat:cancel()
  self._script:cancel()
  self._closing:set()
end

return redis
