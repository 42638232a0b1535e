--- Requests of each client in fixed windows of time, as the original counts them: a window begins
-- with the first request and lasts a fixed time, whatever comes meanwhile.
--
-- @usage
--   local limiter = limiter.memory { most = 500, seconds = 300 }
--   local ok, retry_after = limiter:take(key_id)

local sluice = require "sluice"

local limiter = {}

-- The last part of a window is a second, too.
local function rest(seconds)
  return math.max(1, math.ceil(seconds))
end

local memory = {}
memory.__index = memory

--- For the workers of one process.
-- @tparam table options most (0: no limit), seconds
function limiter.memory(options)
  return setmetatable({ _most = options.most, _seconds = options.seconds,
    _counts = sluice.shared("brickchain.limiter") }, memory)
end

--- Counts a request.
-- @treturn boolean may it go on?
-- @treturn ?number seconds until the window ends, when it may not
function memory:take(key_id)
  if self._most == 0 then
    return true
  end
  local count = self._counts:incr(key_id, 1, 0, self._seconds)
  if count == 1 then
    self._counts:set("end/" .. key_id, sluice.now() + self._seconds, self._seconds)
  end
  if not count or count <= self._most then -- a full dictionary refuses nobody
    return true
  end
  local ends = self._counts:get("end/" .. key_id)
  return false, rest(ends and ends - sluice.now() or 1)
end

local redis = {}
redis.__index = redis

--- For all servers on one Redis, originals among them: the same keys and values.
-- @tparam table options as of memory()
-- @tparam function command command(name, ...) as of sluice.Redis
function limiter.redis(options, command)
  return setmetatable({ _most = options.most, _seconds = options.seconds, _command = command },
    redis)
end

--- As of memory(); also nil and an error when Redis does not answer.
function redis:take(key_id)
  if self._most == 0 then
    return true
  end
  local key = "push:" .. key_id
  local ok, err = self._command("SET", key, "1", "EX", self._seconds, "NX")
  if ok then
    return true
  elseif err then
    return nil, err
  end
  local count
  count, err = self._command("INCR", key)
  if not count then
    return nil, err
  end
  if count <= self._most then
    return true
  end
  local left = self._command("PTTL", key)
  if left == -1 then -- the window ended between the two, and INCR made a key that stays
    self._command("EXPIRE", key, self._seconds)
    return true
  end
  return false, rest((left or 1000) / 1000)
end

return limiter
