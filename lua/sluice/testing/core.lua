--- The fake core: what the runtime's C bindings offer, in plain Lua and without the world outside.
-- Time stands still until a spec moves it, files are in memory, nothing is listened on.
-- Every function can be replaced with testing.fake(name, fn).

local bus = require "sluice.testing.bus"
local crypto = require "sluice.testing.crypto"
local event = require "sluice.testing.event"
local exec = require "sluice.testing.exec"
local json = require "sluice.testing.json"
local redis = require "sluice.testing.redis"
local fetch = require "sluice.testing.fetch"
local takeover = require "sluice.testing.takeover"
local tunnel = require "sluice.testing.tunnel"
local udp = require "sluice.testing.udp"
local websocket = require "sluice.testing.websocket"
local world = require "sluice.testing.world"

local core = {
  version = "testing", check = false, args = world.args, json = json, crypto = crypto,
  takeover = takeover,
}

-- Time and tasks.

function core.sleep(seconds)
  return world.scheduler:sleep(seconds)
end

function core.spawn(fn, ...)
  return world.scheduler:spawn(fn, ...)
end

function core.timer(seconds, fn)
  return world.scheduler:timer(seconds, fn)
end

function core.event()
  return event.new()
end

function core.every(seconds, fn)
  return world.scheduler:every(seconds, fn)
end

function core.now()
  return world.scheduler:now()
end

function core.time()
  return 1700000000 + world.scheduler:now()
end

-- Servers, and a client that reaches them.

local server_methods = {}
server_methods.__index = server_methods

function server_methods:port()
  return self._options.port
end

function server_methods:close()
  world.servers[self._key] = nil
end

local function listen(options)
  local own = {}
  for name, value in pairs(options) do
    own[name] = value
  end
  own.port = own.port ~= 0 and own.port or not own.unix and world.free_port() or nil
  local key = own.unix or ("%s:%d"):format(own.host or "127.0.0.1", own.port)
  if world.servers[key] then
    return nil, "address in use"
  end
  world.servers[key] = setmetatable({ _key = key, _options = own }, server_methods)
  return world.servers[key]
end

function core.serve(options)
  return listen(options)
end

core.fetch = fetch

function core.stun()
  return nil, "timed out"
end

core.tcp = {}

function core.tcp.connect()
  return nil, "connection refused"
end

function core.tcp.listen(options)
  return listen(options)
end

core.udp = { bind = udp.bind }

core.exec = exec

core.websocket = {}

function core.websocket.connect(url, options)
  local script = world.websockets[url]
  if not script then
    return nil, "connection refused"
  end
  local ws, peer = websocket.pair()
  world.scheduler:spawn(script, peer, options or {})
  return ws
end

-- Tunnels.

core.tunnel = { edge = tunnel.new_edge, hub = tunnel.new_hub }

-- Files.

core.file = {}

function core.file.read(path, max)
  local content = world.files[path]
  if not content then
    return nil, "not found"
  end
  if max and #content > max then
    return nil, "too large"
  end
  return content
end

function core.file.write(path, content)
  world.files[path] = content
  return true
end

function core.file.exists(path)
  return world.files[path] ~= nil
end

function core.file.remove(path)
  if not world.files[path] then
    return nil, "not found"
  end
  world.files[path] = nil
  return true
end

function core.file.mkdir()
  return true
end

-- State shared between workers; here there is one.

local dict_methods = {}
dict_methods.__index = dict_methods

function core.shared(name)
  world.shared[name] = world.shared[name] or setmetatable({ _entries = {} }, dict_methods)
  return world.shared[name]
end

function dict_methods:get(key)
  local entry = self._entries[key]
  if entry and (not entry.ends or entry.ends > core.now()) then
    return entry.value
  end
end

function dict_methods:set(key, value, ttl)
  self._entries[key] = { value = value, ends = ttl and core.now() + ttl }
  return true
end

function dict_methods:add(key, value, ttl)
  if self:get(key) ~= nil then
    return nil, "exists"
  end
  return self:set(key, value, ttl)
end

function dict_methods:incr(key, by, initial, ttl)
  local value = self:get(key)
  if value == nil then
    if initial == nil then
      return nil, "not found"
    end
    self:set(key, initial + by, ttl)
    return initial + by
  end
  self._entries[key].value = value + by
  return value + by
end

function dict_methods:delete(key)
  local was_there = self:get(key) ~= nil
  self._entries[key] = nil
  return was_there
end

core.bus = { publish = bus.publish, subscribe = bus.subscribe }

core.redis = { connect = redis.connect }

-- The process.

core.log = {}
for _, level in ipairs { "debug", "info", "warn", "error" } do
  core.log[level] = function(message, fields)
    table.insert(world.logged, { level = level, message = message, fields = fields })
  end
end

function core.print(line)
  table.insert(world.printed, line)
end

function core.env(name)
  return world.env[name]
end

function core.stats()
  return world.stats
end

function core.worker()
  return world.worker
end

function core.exit(code)
  world.exit_code = code or 0
end

function core.drain()
  world.exit_code = 0
end

-- The data plane.

function core.publish(specs, policy)
  table.insert(world.published, { specs = specs, policy = policy })
  return { routes = #specs, compiled = #specs }
end

function core.settings(settings)
  world.settings = settings
  return true
end

-- Puts the look-up of a replacement before every function, those in sub-tables included.
local function replaceable(functions, prefix)
  for name, value in pairs(functions) do
    local path = prefix .. name
    if type(value) == "table" and value ~= world.args then
      replaceable(value, path .. ".")
    elseif type(value) == "function" then
      functions[name] = function(...)
        return (world.fakes[path] or value)(...)
      end
    end
  end
end

replaceable(core, "")

return core
