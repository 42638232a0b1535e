--- A WebSocket without a network, for specs: what the script holds, and the peer that a spec plays.
--
--   testing.world.websockets["ws://hub.example/"] = function(peer)
--     assert.equal("hello", peer:receive())
--     peer:send("welcome")
--   end
--
-- Both ends have receive, receive_json, send, close and protocol, as the real one has. Messages
-- arrive at once.

local inbox = require "sluice.testing.inbox"
local json = require "sluice.testing.json"

local websocket = {}

local methods = {}
methods.__index = methods

local function finish(self)
  return nil, self._reason ~= "" and self._reason or "closed", self._code
end

function methods:receive(timeout)
  return self._inbox:take(timeout)
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
  self._other._inbox:put(message, kind)
  return true
end

local function close(self, code, reason)
  if not self._code then
    self._code, self._reason = code, reason
    self._inbox:close(finish(self))
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
    ends[i] = setmetatable({ _inbox = inbox.new "ws:receive", _protocol = protocol }, methods)
  end
  ends[1]._other, ends[2]._other = ends[2], ends[1]
  return ends[1], ends[2]
end

return websocket
