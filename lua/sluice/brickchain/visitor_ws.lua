--- WebSockets of visitors. The visitor gets his 101 only after the client has said that it is fine,
-- and then there are two ways: what he sends is passed on by the task of his WebSocket; what the
-- client sends by a task that lives only while there is something, since most are idle.

local answers = require "sluice.brickchain.answers"
local exchange = require "sluice.brickchain.exchange"
local headers = require "sluice.brickchain.headers"
local messages = require "sluice.brickchain.messages"
local node = require "sluice.brickchain.node"
local sluice = require "sluice"
local visitor = require "sluice.brickchain.visitor"
local wsflow = require "sluice.brickchain.wsflow"

local visitor_ws = {}

-- Bytes for a visitor who does not read, from a client that knows no flow control.
local most_queued = 4 * 1024 * 1024

--- Does the request ask for a WebSocket? Firefox says "keep-alive, Upgrade"; over HTTP/2 and 3
-- (RFC 8441) there is neither field, and the request looks like a GET.
function visitor_ws.is_asked(req)
  local version = req:version()
  if req:method() ~= "GET" then
    return false
  elseif version == "2" or version == "3" then
    return req:header("sec-websocket-version") ~= nil
  end
  local upgrade = req:header("upgrade")
  return upgrade ~= nil and upgrade:lower() == "websocket"
    and (req:header("connection") or ""):lower():find("upgrade", 1, true) ~= nil
end

-- From the client.

-- Messages of an original wait in self.queue, those of a sluice in the flow.
local function next_message(self)
  if self.is_sluice then
    local flow = self.exchange:download()
    if flow:is_ready() then
      return wsflow.receive(flow, self.parts, self.max_message)
    end
    return nil
  end
  local entry = table.remove(self.queue, 1)
  if entry then
    self.queued = self.queued - #entry[1]
    return entry[1], entry[2]
  end
end

local function finish(self, code, reason)
  self.is_over = true
  self.ws:close(wsflow.close_of(code, reason))
end

local function drain(self)
  local message, kind = next_message(self)
  while message and not self.is_over do
    local ok, err = self.ws:send(message, kind)
    if not ok then
      return finish(self, err:find("UTF-8", 1, true) and 1007 or 1011)
    end
    message, kind = next_message(self)
  end
  self.is_draining = false
  if kind and not self.ending then
    self.ending = { kind == "too large" and 1009 or 1011, kind }
  end
  if self.ending and not self.is_over then
    finish(self, unpack(self.ending))
  end
end

local function wake(self)
  if self.ws and not self.is_draining and not self.is_over then
    self.is_draining = true
    sluice.spawn(drain, self)
  end
end

local kinds = { [1] = "text", [2] = "binary" }

local function on_document(self, kind, doc)
  if kind == "ws-message" and kinds[doc.messageType] then
    local body = doc.body or ""
    self.queued = self.queued + #body
    table.insert(self.queue, { body, kinds[doc.messageType] })
    if self.queued > most_queued then
      self.ending = { 1008, "too slow" }
      self.queue = {}
    end
  elseif kind == "ws-teardown" then
    local more = doc.sluice or {}
    self.exchange.is_complete = true
    self.ending = self.ending or { more.code or 1000, more.reason }
  end
  wake(self)
end

-- To the client.

local function send(self, message, kind)
  if self.is_sluice then
    return wsflow.send(self.sender, message, kind)
  end
  return self.exchange:send("d", messages.ws_message(self.exchange.id, kind, message))
end

local function say_goodbye(self, code, reason)
  local current = self.exchange
  if not current.is_complete then
    current.is_complete = true
    current:send("t", messages.ws_teardown(current.id,
      self.is_sluice and wsflow.goodbye(code, reason, 1001) or nil))
  end
end

local function serve(self, ws)
  self.server.exchanges[self.request] = nil -- from here on it ends when all was passed on
  self.ws = ws
  wake(self) -- what came before
  while true do
    local message, kind, code = ws:receive()
    if not message then
      say_goodbye(self, code, kind)
      break
    end
    local ok, err = send(self, message, kind)
    if not ok then
      self.ending = self.ending or { err == "too large" and 1009 or 1011, err }
      wake(self)
    end
  end
  self.is_over = true
  self.exchange:close()
end

-- The opening.

local function document_for(self, session, head)
  local is_sluice = node.is_sluice(session)
  return messages.ws_request(self.exchange.id, { url = head.url, query = head.query,
    headers = is_sluice and {} or headers.first_values(head.list) },
    is_sluice and { path = head.path, pairs = head.list } or nil)
end

local function offer(self, sessions, head)
  local tried, reason = {}, "gone"
  local balance = self.server.balance
  local session = balance:choose(sessions)
  while session do
    local ok, err = self.exchange:open(session, "u", document_for(self, session, head))
    if ok then
      return session
    end
    tried[session], reason = true, err
    session = balance:choose(sessions, tried)
  end
  return nil, reason
end

-- The subprotocol that the client chose. Originals do not say; browsers hang up when they asked for
-- one and got none, so it is the visitor's favourite then.
local function protocols_of(self, doc, req)
  if self.is_sluice then
    local chosen = doc.sluice and doc.sluice.protocol
    return type(chosen) == "string" and chosen ~= "" and { chosen } or nil
  end
  local offered = req:header("sec-websocket-protocol")
  return offered and { offered:match("^%s*([^,%s]+)") }
end

local function refusal(doc)
  local status = doc.sluice and doc.sluice.status
  if type(status) ~= "number" or status % 1 ~= 0 or status < 400 or status > 599 then
    status = 502
  end
  return sluice.reply(status, (doc.error or "the client refused the WebSocket") .. "\n",
    { ["content-type"] = "text/plain; charset=utf-8", ["x-content-type-options"] = "nosniff" })
end

local function open(self, req, sessions, path)
  local session, reason = offer(self, sessions, visitor.head(self.server, req, path, true))
  if not session then
    return answers.no_answer(reason)
  end
  local doc
  doc, reason = self.exchange:wait(self.server.settings.timeout)
  if not doc then
    return answers.no_answer(reason)
  elseif not doc.ok then
    self.exchange.is_complete = true
    return refusal(doc)
  end
  self.is_sluice = node.is_sluice(session)
  self.sender = self.is_sluice and self.exchange:upload() or nil
  return sluice.websocket(function(ws)
    return serve(self, ws)
  end, { protocols = protocols_of(self, doc, req), max_message = self.max_message })
end

--- Answers a visitor who asks for a WebSocket.
-- @treturn table a verb
function visitor_ws.answer(server, req, sessions, path)
  local current = exchange.new(server, "ws-response")
  local self = { server = server, exchange = current, queue = {}, queued = 0, parts = {},
    max_message = server.settings.max_message, request = req:id() }
  server.exchanges[self.request] = current
  current.on_document = function(kind, doc)
    on_document(self, kind, doc)
  end
  current.on_piece = function()
    wake(self)
  end
  current.on_end = function(reason)
    self.ending = self.ending or { reason == "gone" and 1001 or 1011, "the client is gone" }
    wake(self)
  end
  local verb = open(self, req, sessions, path)
  if verb.verb ~= "websocket" then
    current:close()
  end
  return verb
end

return visitor_ws
