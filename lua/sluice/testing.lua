--- Fakes for specs of policy scripts: `local testing = require "sluice.testing"`.
--
-- Under plain LuaJIT and busted `require "sluice"` works on a fake core: no network, no files, and
-- a clock that stands still until the spec moves it. This module makes the handles that hooks get,
-- loads a policy script the way the runtime does, and holds the strings of the fake core.
--
-- @usage
--   local policy = testing.load("policy.lua")
--   local req = testing.request { path = "/admin", ip = "203.0.113.9" }
--   assert.same(sluice.deny(403), policy.on_request(req))

local api = require "sluice.api"
local core = require "sluice.testing.core"
local handles = require "sluice.testing.handles"
local redis = require "sluice.testing.redis"
local suggest = require "sluice.suggest"
local tunnel = require "sluice.testing.tunnel"
local websocket = require "sluice.testing.websocket"
local world = require "sluice.testing.world"

local testing = {
  conn = handles.conn,
  hello = handles.hello,
  request = handles.request,
  response = handles.response,
  redis = redis.server,
  websocket = websocket.pair,
  edge = tunnel.edge,
  hub = tunnel.hub,
}

-- The keys that a policy script may have, with their types.
local script_keys = {}
for _, key in ipairs(api.keys) do
  script_keys[key.name] = key.type
end

local function check_script(path, script)
  if type(script) ~= "table" then
    error(("%s: a script must return a table, not a %s"):format(path, type(script)), 3)
  end
  for key, value in pairs(script) do
    local expected = script_keys[key]
    if not expected then
      error(("%s: unknown key %s%s"):format(path, tostring(key),
        suggest.hint(key, script_keys)), 3)
    end
    if type(value) ~= expected then
      error(("%s: %s must be a %s, not a %s"):format(path, key, expected, type(value)), 3)
    end
  end
  if script.on_error and script.on_error ~= "reject" and script.on_error ~= "continue" then
    error(path .. ': on_error must be "reject" or "continue"', 3)
  end
end

--- Loads a policy script and checks its keys as the runtime does.
-- @tparam string path
-- @treturn table what the script returned
function testing.load(path)
  local chunk, err = loadfile(path)
  if not chunk then
    error(err, 2)
  end
  local script = chunk()
  check_script(path, script)
  return script
end

--- The fake clock: `clock:now()`, and `clock:advance(seconds)`, which runs what falls due.
function testing.clock()
  return {
    now = function()
      return world.scheduler:now()
    end,
    advance = function(_, seconds)
      world.scheduler:advance(seconds)
    end,
  }
end

local function find(name)
  local at = core
  for part in name:gmatch("[^.]+") do
    at = type(at) == "table" and at[part] or nil
  end
  return at
end

--- Replaces a function of the fake core until the next reset.
-- @tparam string name as scripts call it, without "sluice."
-- @tparam function fn
-- @usage testing.fake("fetch", function(url) return { status = 200, headers = {}, body = "" } end)
function testing.fake(name, fn)
  if type(find(name)) ~= "function" then
    error(("testing.fake: sluice.%s is not a function"):format(name), 2)
  end
  world.fakes[name] = fn
end

--- What the script set up and did: env, files, logged, printed, published, servers, stats, …
-- Set fields of it before, look at them after; see lua/sluice/testing/world.lua.
testing.world = world

--- Forgets all that; call it in before_each.
testing.reset = world.reset

return testing
