--- The wire of TypedSocket 1 to 3: smartsocket on Socket.IO 5 on Engine.IO 4, over a WebSocket from
-- the start. The same interface as sluice.typedsocket.modern.
--
-- After the greetings of both layers the server asks who is there, this side says its alias, waits
-- until the server is "fully reactive" and then sends its tags; sent sooner, they are lost. Calls
-- are events named "function" and answered, exactly once, with "functionResponse".

local json = require("sluice").json
local typedrequest = require "sluice.typedrequest"

local legacy = { name = "legacy", reads = "receive" }
legacy.__index = legacy

-- Seconds; a server that says something absurd is not believed.
local least_silence, most_silence = 5, 600

--- Where to connect to: the path is fixed, whatever the base has.
function legacy.url(base)
  return base:match("^%a+://[^/?#]+") .. "/socket.io/?EIO=4&transport=websocket"
end

--- @tparam table peer see sluice.typedsocket.modern
-- @tparam table options `tag`, which is also the alias: old servers go by it
function legacy.new(peer, options)
  return setmetatable({ _peer = peer, _tag = options.tag }, legacy)
end

function legacy.open()
  -- the server speaks first
end

--- How long the server may be silent before it must be taken for dead; nil when it did not say.
function legacy:silence()
  return self._silence
end

local function emit(self, name, argument)
  self._peer.send("42" .. json.encode(json.array { name, argument }))
end

local events = {}

function events.requestAuth(self)
  emit(self, "dataAuth", { alias = self._tag })
end

function events.serverFullyReactive(self)
  emit(self, "updateTagStore", { [self._tag] = { id = self._tag, payload = {} } })
  self._peer.tagged()
end

-- Both are only told: what they confirm was sent by us.
function events.authenticated() end

function events.updateTagStore() end

events["function"] = function(self, argument)
  local call = type(argument) == "table" and argument.funcCallData
  local id = type(argument) == "table" and argument.shortId
  if type(call) ~= "table" or call.funcName ~= "processMessage" or type(id) ~= "string" then
    return self._peer.complain("a call is no typed request: not answered")
  end
  local phase, why = typedrequest.read(call.funcDataArg)
  if phase ~= "request" then
    return self._peer.complain("a message is no typed request: " .. (why or "an answer to nothing"))
  end
  self._peer.request(call.funcDataArg, function(answer)
    emit(self, "functionResponse", {
      funcCallData = { funcName = "processMessage", funcDataArg = answer }, shortId = id })
  end)
end

local function on_event(self, message)
  local event, err = json.decode(message, 3)
  if type(event) ~= "table" or type(event[1]) ~= "string" then
    self._peer.complain("an event cannot be read: " .. (err or "no name"))
  elseif events[event[1]] then
    events[event[1]](self, event[2])
  end -- others are ignored, as the original client does
  return true
end

-- By the first byte of the message. The rest is read where it lies: it may have many megabytes.
local packets = {}

-- Engine.IO: open, with the interval of its pings in ms.
packets["0"] = function(self, message)
  local hello, err = json.decode(message, 2)
  if type(hello) ~= "table" then
    return nil, "the greeting cannot be read: " .. (err or "not an object")
  end
  local ms = (tonumber(hello.pingInterval) or 25000) + (tonumber(hello.pingTimeout) or 20000)
  self._silence = math.max(least_silence, math.min(ms / 1000, most_silence))
  self._peer.send("40")
  return true
end

packets["1"] = function()
  return nil, "the server ended the session"
end

packets["2"] = function(self)
  self._peer.send("3")
  return true
end

packets["4"] = function(self, message)
  local kind = message:sub(2, 2)
  if kind == "2" then
    return on_event(self, message)
  elseif kind == "1" then
    return nil, "the server refused this client or let it go"
  elseif kind == "4" then
    return nil, "the server refused the namespace"
  end
  return true
end

--- A message has come; see sluice.typedsocket.modern.
function legacy:input(message, kind)
  local packet = kind ~= "binary" and packets[message:sub(1, 1)]
  if not packet then
    self._peer.complain("a packet of an unknown type: ignored")
    return true
  end
  return packet(self, message)
end

return legacy
