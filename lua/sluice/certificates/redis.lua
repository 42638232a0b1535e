--- Certificates in Redis, for several instances that answer for the same names: one orders, all
-- have it. The names of keys are those of the files of sluice.certificates.disk, behind a prefix.
--
-- Private keys lie there as they are: whoever may read this Redis may be these hosts.
--
-- @usage
--   local storage = redis.new { host = "10.0.0.5", password = secret }

local sluice = require "sluice"

local redis = {}
redis.__index = redis

local default_prefix = "sluice:certificates:"
-- Longer than any order takes. When an instance dies in the middle of one, others wait for so long.
local lock_ms = 300000

-- Removes a lock only if it is still ours.
local unlock_script = 'if redis.call("get", KEYS[1]) == ARGV[1] then '
  .. 'return redis.call("del", KEYS[1]) end return 0'

--- @tparam table options those of sluice.redis.connect, and `prefix`
function redis.new(options)
  local self = setmetatable({ _prefix = options.prefix or default_prefix, _options = {} }, redis)
  for name, value in pairs(options) do
    self._options[name] = name ~= "prefix" and value or nil
  end
  return self
end

--- May several instances use it?
function redis.is_shared()
  return true
end

local function connected(self)
  if not self._connection then
    local connection, err = sluice.redis.connect(self._options)
    if not connection then
      return nil, err
    end
    self._connection = connection
  end
  return self._connection
end

-- A reply, which may be nil. One that Redis has given counts, an error of its own, too; a
-- connection that was lost is made again, once.
local function command(self, ...)
  local err
  for _ = 1, 2 do
    local connection
    connection, err = connected(self)
    if not connection then
      break
    end
    local reply
    reply, err = connection:command(...)
    if reply ~= nil or err == nil then
      return reply
    elseif err ~= "closed" and err ~= "timed out" then
      break
    end
    if self._connection == connection then
      self._connection = nil
      connection:close()
    end
  end
  return nil, "Redis: " .. err
end

--- @treturn ?string the bytes
-- @treturn ?string "not found", or what is wrong
function redis:read(name)
  local reply, err = command(self, "GET", self._prefix .. name)
  return reply, err or (reply == nil and "not found" or nil)
end

--- @tparam string name
-- @tparam string bytes
-- @tparam[opt] number ttl seconds; for ever
-- @treturn ?boolean
-- @treturn ?string what is wrong
function redis:write(name, bytes, ttl)
  local reply, err
  if ttl then
    reply, err = command(self, "SET", self._prefix .. name, bytes, "EX", tostring(ttl))
  else
    reply, err = command(self, "SET", self._prefix .. name, bytes)
  end
  return reply and true, err
end

function redis:remove(name)
  return command(self, "DEL", self._prefix .. name)
end

--- One instance at a time may order a name.
-- @treturn ?function unlocks
-- @treturn ?string "busy": another one has it; or what is wrong
function redis:lock(name)
  local key = self._prefix .. "lock/" .. name
  local token = sluice.crypto.hex(sluice.crypto.random(16))
  local reply, err = command(self, "SET", key, token, "NX", "PX", tostring(lock_ms))
  if not reply then
    return nil, err or "busy"
  end
  return function()
    command(self, "EVAL", unlock_script, "1", key, token)
  end
end

return redis
