--- Servers of the original on the same Redis: their visitors may ask for our clients, and ours for
-- theirs. Their topics name the client or the request, and carry documents and nothing else:
--
--   /proxy/connections/<id of the key>   to the client
--   /proxy/responses/<@id>               http-response, to the visitor
--   /proxy/websocket/<@id>               ws-response, ws-message and ws-teardown, to the visitor

local messages = require "sluice.brickchain.messages"
local sluice = require "sluice"

local originals = {}
originals.__index = originals

local connections, responses, websocket =
  "/proxy/connections/", "/proxy/responses/", "/proxy/websocket/"

-- Seconds after which an original waits for no answer.
local patience = 60

--- @tparam sluice.brickchain.node node
-- @tparam table bus of sluice.bus.redis
-- @tparam table registry
function originals.new(node, bus, registry)
  local self = setmetatable({ _node = node, _bus = bus, _registry = registry,
    _asked = {},  -- requests of their visitors: id to { topic, since }
    _heard = {} }, originals)
  for _, topic in ipairs { responses, websocket } do
    bus:subscribe(topic .. node.id .. "*", function(message, from)
      local visitor = node:visitor(from:sub(#topic + 1))
      if visitor and message:byte() == 123 then -- {
        visitor:take(message)
      end
    end)
  end
  sluice.every(patience / 2, function()
    self:_sweep()
  end)
  return self
end

-- Sessions that stand for clients of originals.

function originals.session(key_id)
  return "-" .. key_id
end

function originals.is_one(session)
  return session:byte() == 45
end

--- To a client of an original.
function originals:send(session, what, payload)
  if what == "x" and payload == "" then
    return true -- they do not know that a visitor can go
  end
  local ok, reached = self._bus:publish(connections .. session:sub(2), payload)
  if ok and reached == 0 then
    return nil, "gone"
  end
  return ok, reached
end

-- Visitors of originals.

-- All nodes with a session of this client get the document: the same one of them answers.
local function session_for(self, key_id, id)
  local list = self._registry:find(key_id)
  if not list then
    return nil
  end
  local sorted, sum = { unpack(list) }, 0
  table.sort(sorted)
  for i = 1, #id do
    sum = sum + id:byte(i)
  end
  return self._node:session(sorted[sum % #sorted + 1])
end

local whats = { ["http-request"] = "q", ["ws-request"] = "u" }
local topics = { q = responses, u = websocket }

local function take(self, key_id, message)
  local kind, doc = messages.decode(message)
  local what, id = whats[kind], kind and doc.id
  if not id or #id ~= 36 or self._node:visitor(id) then
    return
  end
  if what then
    local session = session_for(self, key_id, id)
    if session and session:deliver(what, id, message) then
      self._asked[id] = { topic = topics[what], session = session, since = sluice.now() }
    end
  elseif self._asked[id] then
    self._asked[id].session:deliver(kind == "ws-teardown" and "t" or "d", id, message)
    if kind == "ws-teardown" then
      self._asked[id] = nil
    end
  end
end

--- A client is here: what originals send it is for us, too.
function originals:listen(key_id)
  local heard = self._heard[key_id]
  if heard then
    heard.n = heard.n + 1
    return
  end
  self._heard[key_id] = { n = 1, subscription = self._bus:subscribe(connections .. key_id,
    function(message)
      take(self, key_id, message)
    end) }
end

function originals:unlisten(key_id)
  local heard = self._heard[key_id]
  heard.n = heard.n - 1
  if heard.n == 0 then
    heard.subscription:cancel()
    self._heard[key_id] = nil
  end
end

-- What stands for "!" and a reason.
local function refusal(id, topic)
  if topic == websocket then
    return messages.ws_teardown(id)
  end
  return messages.http_response(id, { status = 502, content_type = "text/plain",
    headers = { ["Content-Type"] = "text/plain" }, body = "the client is gone\n" })
end

--- Brings an answer to a visitor of an original.
-- @treturn boolean false when he is none
function originals:answer(id, payload)
  local asked = self._asked[id]
  if not asked then
    return false
  end
  if payload:byte() == 33 then -- !
    payload = refusal(id, asked.topic)
    self._asked[id] = nil
  elseif payload:byte() ~= 123 then -- {
    return true -- a client that answers in frames what was no request of a sluice
  elseif asked.topic == responses then
    self._asked[id] = nil
  end
  self._bus:publish(asked.topic .. id, payload)
  return true
end

-- HTTP requests that were never answered.
function originals:_sweep()
  local before = sluice.now() - patience
  for id, asked in pairs(self._asked) do
    if asked.topic == responses and asked.since < before then
      self._asked[id] = nil
      asked.session:deliver("x", id, "")
    end
  end
end

return originals
