--- Commands for Redis over a connection that comes back by itself.

local sluice = require "sluice"

local redis = {}
redis.__index = redis

-- Seconds between two attempts to connect; commands fail meanwhile.
local pause = 0.5

--- @tparam table options of sluice.redis.connect
function redis.new(options)
  return setmetatable({ _options = options, _next = 0 }, redis)
end

local function connect(self)
  if self._is_connecting or sluice.now() < self._next then
    return nil, "not connected"
  end
  self._is_connecting = true
  local connection, err = sluice.redis.connect(self._options)
  self._is_connecting = false
  self._connection = connection
  self._next = connection and 0 or sluice.now() + pause
  return connection, err
end

--- Sends a command and waits for the answer, as redis:command() of sluice.redis.
function redis:command(...)
  local connection = self._connection
  if not connection then
    local why
    connection, why = connect(self)
    if not connection then
      return nil, why
    end
  end
  local reply, err = connection:command(...)
  if reply == nil and (err == "closed" or err == "timed out") and self._connection == connection
  then
    connection:close()
    self._connection = nil
  end
  return reply, err
end

return redis
