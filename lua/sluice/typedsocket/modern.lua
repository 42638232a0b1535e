--- The wire of TypedSocket 4 on SmartServe: every message of the WebSocket is one typed request or
-- the answer to one.
--
-- A wire waits for nothing and owns no connection: it gets messages, as `reads` tells (the name of
-- a method of the WebSocket), and calls `peer`: `send(text)`,
-- `tagged()` when the other side knows who this is, `request(envelope, reply)` for a call, where
-- reply(answer) sends the answer, and `complain(text)` for what is odd but no reason to hang up.

local json = require("sluice").json
local typedrequest = require "sluice.typedrequest"

local modern = { name = "modern", reads = "receive_json" }
modern.__index = modern

--- Where to connect to. The server does not look at the path.
function modern.url(base)
  return base
end

--- @tparam table peer see above
-- @tparam table options `tag`, `new_id`
function modern.new(peer, options)
  return setmetatable({ _peer = peer, _tag = options.tag, _new_id = options.new_id }, modern)
end

--- The connection is there.
function modern:open()
  local request = typedrequest.request("__typedsocket_setTag",
    { name = self._tag, payload = {} }, self._new_id)
  self._asked = request.correlation.id
  self._peer.send(json.encode(request))
end

-- A server that refuses the tag may still know this connection by other means, so it is kept.
local function on_tag_answer(self, envelope)
  local response, err = envelope.response, envelope.error
  self._asked = nil
  if type(err) == "table" and type(err.text) == "string" then
    self._peer.complain("the server refused the tag: " .. err.text:sub(1, 200))
  elseif type(response) ~= "table" or response.success ~= true then
    self._peer.complain("the server did not take the tag; it may not find this connection")
  end
  self._peer.tagged()
end

--- A message has come; or nil and what was wrong with it.
-- @treturn ?true nil when the connection is of no use any more
-- @treturn ?string why
function modern:input(envelope, kind)
  if envelope == nil then
    self._peer.complain("a message is not JSON: " .. kind)
    return true
  end
  local phase, why = typedrequest.read(envelope)
  if phase == "request" then
    self._peer.request(envelope, function(answer)
      self._peer.send(json.encode(answer))
    end)
  elseif phase == "response" and envelope.correlation.id == self._asked then
    on_tag_answer(self, envelope)
  else
    self._peer.complain("a message is no typed request: " .. (why or "an answer to nothing"))
  end
  return true
end

return modern
