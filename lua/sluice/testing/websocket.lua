--- A WebSocket without a network, for specs: what the script holds, and the peer that a spec plays.
--
--   testing.world.websockets["ws://hub.example/"] = function(peer)
--     assert.equal("hello", peer:receive())
--     peer:send("welcome")
--   end
--
-- Both ends have receive, receive_json, send, close and protocol, as the real one has. Messages
-- arrive at once.

local json = require "sluice.testing.json"
local world = require "sluice.testing.world"

local websocket = {}

local methods = {}
methods.__index = methods

local function finish(self)
  return nil, self._reason ~= "" and self._reason or "closed", self._code
end

local function wake(self, ...)
  local receiver = self._receiver
  if receiver then
    self._receiver = nil
    receiver.timer:cancel()
    world.scheduler:resume(receiver.task, ...)
    return true
  end
end

local function wait(self, timeout)
  local task = world.scheduler:current()
  if not task then
    error("ws:receive() outside of a task would wait for ever", 3)
  end
  self._receiver = { task = task, timer = world.scheduler:timer(timeout or math.huge, function()
    wake(self, nil, "timed out")
  end) }
  return world.scheduler:suspend()
end

function methods:receive(timeout)
  assert(not self._receiver, "ws:receive: another task is receiving")
  local first = table.remove(self._inbox, 1)
  if first then
    return first[1], first[2]
  end
  if self._code then
    return finish(self)
  end
  return wait(self, timeout)
end

function methods:receive_json(timeout)
  local message, kind, code = self:receive(timeout)
  if not message then
    return nil, kind, code
  end
  local value, err = json.decode(message)
  if value == nil then
    return nil, err, "invalid"
  end
  return value, kind
end

function methods:send(message, kind)
  kind = kind or "text"
  assert(type(message) == "string", "ws:send: a string expected")
  assert(kind == "text" or kind == "binary", 'ws:send: kind must be "text" or "binary"')
  if self._code then
    return nil, (select(2, finish(self)))
  end
  if not wake(self._other, message, kind) then
    table.insert(self._other._inbox, { message, kind })
  end
  return true
end

local function close(self, code, reason)
  if not self._code then
    self._code, self._reason = code, reason
    wake(self, finish(self))
  end
end

function methods:close(code, reason)
  close(self, code or 1000, reason or "")
  close(self._other, code or 1000, reason or "")
end

function methods:protocol()
  return self._protocol
end

--- Two ends that are connected: one for the script, one for the spec.
-- @tparam[opt] string protocol
function websocket.pair(protocol)
  local ends = {}
  for i = 1, 2 do
    ends[i] = setmetatable({ _inbox = {}, _protocol = protocol }, methods)
  end
  ends[1]._other, ends[2]._other = ends[2], ends[1]
  return ends[1], ends[2]
end

return websocket
