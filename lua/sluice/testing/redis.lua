--- Redis of the fake core: strings, expiry, and messages, in memory, for as many connections as
-- there are. Other commands are errors, as of a Redis that does not know them.
--
--   testing.world.redis["127.0.0.1:6379"] = testing.redis()
--   …
--   server:stop()    -- connections are closed, new ones refused, the data is kept
--   server:start()

local inbox = require "sluice.testing.inbox"
local world = require "sluice.testing.world"

local redis = {}

local server_methods = {}
server_methods.__index = server_methods

--- A server that runs; a spec puts it into world.redis.
function redis.server()
  return setmetatable({ data = {}, connections = {}, is_running = true }, server_methods)
end

function server_methods:stop()
  self.is_running = false
  for connection in pairs(self.connections) do
    connection:close()
  end
end

function server_methods:start()
  self.is_running = true
end

--- How many connections are subscribed to this channel or pattern.
function server_methods:subscribers(name)
  local n = 0
  for connection in pairs(self.connections) do
    n = n + ((connection._channels[name] or connection._patterns[name]) and 1 or 0)
  end
  return n
end

-- The commands.

local function entry_of(server, key)
  local entry = server.data[key]
  if entry and entry.ends and entry.ends <= world.scheduler:now() then
    server.data[key] = nil
    return nil
  end
  return entry
end

-- A glob of Redis as a Lua pattern; sets in brackets are not known here.
local function as_pattern(glob)
  local pattern = glob:gsub("(\\?)(.)", function(escape, char)
    if escape == "" and char == "*" then
      return ".*"
    elseif escape == "" and char == "?" then
      return "."
    end
    return (escape .. char):gsub("^\\", ""):gsub("%W", "%%%0")
  end)
  return "^" .. pattern .. "$"
end

local commands = {}

function commands.PING(_, text)
  return text or "PONG"
end

function commands.SET(server, key, value, ...)
  local options = { ... }
  local entry = { value = value }
  for i, option in ipairs(options) do
    option = tostring(option):upper()
    if option == "NX" and entry_of(server, key) then
      return nil
    elseif option == "EX" or option == "PX" then
      entry.ends = world.scheduler:now() + options[i + 1] / (option == "PX" and 1000 or 1)
    end
  end
  server.data[key] = entry
  return "OK"
end

function commands.GET(server, key)
  local entry = entry_of(server, key)
  return entry and entry.value
end

function commands.DEL(server, ...)
  local n = 0
  for _, key in ipairs { ... } do
    n = n + (entry_of(server, key) and 1 or 0)
    server.data[key] = nil
  end
  return n
end

function commands.EXPIRE(server, key, seconds)
  local entry = entry_of(server, key)
  if not entry then
    return 0
  end
  entry.ends = world.scheduler:now() + tonumber(seconds)
  return 1
end

function commands.PUBLISH(server, channel, message)
  local n = 0
  for connection in pairs(server.connections) do
    if connection._channels[channel] then
      n = n + 1
      connection._inbox:put(message, channel)
    end
    for glob in pairs(connection._patterns) do
      if channel:match(as_pattern(glob)) then
        n = n + 1
        connection._inbox:put(message, channel, glob)
      end
    end
  end
  return n
end

-- A connection.

local methods = {}
methods.__index = methods

function methods:command(name, ...)
  if self._is_closed then
    return nil, "closed"
  end
  name = name:upper()
  if name ~= "PING" and (next(self._channels) or next(self._patterns)) then
    return nil, "ERR Can't execute '" .. name:lower() .. "' while subscribed"
  elseif not commands[name] then
    return nil, ("ERR unknown command '%s'"):format(name)
  end
  local words = { ... }
  for i, word in ipairs(words) do
    assert(type(word) == "string" or type(word) == "number", "redis:command: a string expected")
    words[i] = tostring(word)
  end
  return commands[name](self._server, unpack(words))
end

local function change(set, value)
  return function(self, ...)
    if self._is_closed then
      return nil, "closed"
    end
    for _, name in ipairs { ... } do
      self[set][name] = value
    end
    return true
  end
end

methods.subscribe = change("_channels", true)
methods.unsubscribe = change("_channels", nil)
methods.psubscribe = change("_patterns", true)
methods.punsubscribe = change("_patterns", nil)

function methods:receive(timeout)
  return self._inbox:take(timeout)
end

function methods:close()
  if not self._is_closed then
    self._is_closed = true
    self._server.connections[self] = nil
    self._inbox:close(nil, "closed")
  end
end

function redis.connect(options)
  options = options or {}
  local at = options.unix or ("%s:%d"):format(options.host or "127.0.0.1", options.port or 6379)
  local server = world.redis[at]
  if not server or not server.is_running then
    return nil, "connection refused"
  end
  local connection = setmetatable({
    _server = server, _channels = {}, _patterns = {}, _inbox = inbox.new "redis:receive",
  }, methods)
  server.connections[connection] = true
  return connection
end

return redis
