--- A request of a visitor that waits for its client: what node.lua calls a visitor.
--
-- It has one session at a time. The answering document, or "!" with a reason, wakes whoever waits
-- for it; pieces go to the flows, when there are any. `on_document(kind, doc)` gets other
-- documents, on_piece() is called when download() has one, and on_end(reason) when the client ends
-- it.

local flow = require "sluice.brickchain.flow"
local frames = require "sluice.brickchain.frames"
local messages = require "sluice.brickchain.messages"
local sluice = require "sluice"

local exchange = {}
exchange.__index = exchange

--- @tparam table server `node`, `balance`
-- @tparam string answer the kind of document that answers: "http-response" or "ws-response"
function exchange.new(server, answer)
  local node = server.node
  local self = setmetatable({
    id = node:new_id(), _node = node, _balance = server.balance, _answer = answer,
    _event = sluice.event(), _farewell = "",
  }, exchange)
  if answer == "ws-response" then
    self._farewell = messages.ws_teardown(self.id)
  end
  node:add_visitor(self.id, self)
  return self
end

local function let_go(self)
  if self.session then
    self._balance:leave(self.session)
    self.session = nil
  end
end

--- Sends the document that opens it.
-- @treturn ?true
-- @treturn ?string why not
function exchange:open(session, what, document)
  let_go(self)
  self.reason, self.is_complete = nil, false
  local ok, err = self._node:to_session(session, what, self.id, document)
  if ok then
    self.session = session
    self._balance:enter(session)
  end
  return ok, err
end

--- Sends more through the session that has it.
function exchange:send(what, payload)
  if not self.session then
    return nil, "gone"
  end
  return self._node:to_session(self.session, what, self.id, payload)
end

-- Flows.

--- What the visitor sends from now on.
function exchange:upload()
  self._up = flow.sender(function(kind, n, payload)
    return self:send("f", frames.encode(kind, self.id, n, payload))
  end)
  return self._up
end

local function download(self)
  if not self._down then
    self._down = flow.receiver(function(n)
      self:send("f", frames.encode(frames.window, self.id, n))
    end)
  end
  return self._down
end

exchange.download = download

-- What arrives.

local function fail_flows(self, reason)
  if self._up then
    self._up:fail(reason)
  end
  if self._down then
    self._down:fail(reason)
  end
end

local function fail(self, reason)
  self.reason = self.reason or reason
  self.is_complete = true
  fail_flows(self, reason)
  if self.on_end then
    self.on_end(reason)
  end
  self._event:set()
end

-- The client broke the rules: nothing more is wanted from it. What waits for the bus must not keep
-- the messages of others waiting.
local function break_off(self, reason)
  sluice.spawn(self.send, self, "x", self._farewell)
  fail(self, reason)
end

local function take_frame(self, message)
  local kind, _, n, payload = frames.decode(message)
  if not kind then
    return
  elseif kind == frames.window then
    if self._up and not self._up:confirm(n) then
      break_off(self, "more was confirmed than sent")
    end
  elseif kind == frames.abort then
    fail(self, "gone")
  else
    local ok, err = download(self):push(kind, n, payload)
    if not ok then
      break_off(self, err)
    elseif self.on_piece then
      self.on_piece()
    end
  end
end

local function take_document(self, kind, doc)
  if kind == self._answer then
    self.doc = self.doc or doc
    self.is_complete = self._answer == "http-response"
      and not (doc.sluice and doc.sluice.stream == true)
    self._event:set()
  elseif self.on_document then
    self.on_document(kind, doc)
  end
end

--- @tparam string payload a document, a frame, or "!" and why there will be no answer
-- @tparam[opt] string kind of the document, when it was read already
-- @tparam[opt] table doc the document then
function exchange:take(payload, kind, doc)
  local first = payload:byte()
  if first == 33 then -- !
    fail(self, payload:sub(2))
  elseif first == 123 then -- {
    if not kind then
      kind, doc = messages.decode(payload)
    end
    if kind then
      take_document(self, kind, doc)
    end
  else
    take_frame(self, payload)
  end
end

--- Messages for this worker were lost, maybe one for this visitor; what comes from a session of the
-- same worker does not go over the bus.
function exchange:lost()
  if not (self.session and self._node:session(self.session)) then
    break_off(self, "lost")
  end
end

--- Waits for the answer.
-- @tparam number timeout seconds; more when `progress` returns another value than before
-- @tparam[opt] function progress
-- @treturn ?table the document
-- @treturn ?string "timed out", or as node.lua says
function exchange:wait(timeout, progress)
  local before = progress and progress()
  while not self.doc and not self.reason do
    local ok, err = self._event:wait(timeout)
    if not ok then
      local now = progress and progress()
      if now == before then
        return nil, err
      end
      before = now
    end
  end
  return self.doc, self.reason
end

--- Is it over for the visitor?
function exchange:is_closed()
  return self._is_closed == true
end

--- It is over for the visitor; the client hears of it unless it has said its last word.
function exchange:close()
  if self._is_closed then
    return
  end
  self._is_closed = true
  self._node:remove_visitor(self.id)
  if not self.is_complete then
    self:send("x", self._farewell)
  end
  fail_flows(self, "over")
  let_go(self)
end

return exchange
