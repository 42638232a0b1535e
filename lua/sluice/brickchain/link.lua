--- The WebSocket of a client at the server, and what is under way through it.
--
-- One link is one session; it may register several keys. Documents go out in the order in which
-- they come, by one task that writes while another one reads. Only what was asked through this link
-- may be answered through it, once.

local frames = require "sluice.brickchain.frames"
local messages = require "sluice.brickchain.messages"
local node_class = require "sluice.brickchain.node"
local registration = require "sluice.brickchain.registration"
local sluice = require "sluice"

local link = {}
link.__index = link

-- Bytes and messages that wait for a client which does not read; bytes for all of a worker.
local most_queued, most_queued_messages = 32 * 1024 * 1024, 20000
local most_queued_here, queued_here = 256 * 1024 * 1024, 0

-- Seconds of writing without a pause.
local most_at_once = 0.005

-- What a client may have open, and how many answers to nothing it may send.
local most_open, most_stray, most_keys = 10000, 100, 100

--- @tparam table server `node`, `registry`, `settings`
-- @tparam string ip of the client
function link.new(server, ip)
  return setmetatable({
    ip = ip,
    _server = server, _node = server.node, _settings = server.settings,
    _keys = {}, _n_keys = 0,
    _open = {}, _n_open = 0,  -- id to "q", "u" or "w": what was asked for, and is not over
    _late = {}, _n_late = 0,  -- ids whose visitor has gone: their answers are nobody's fault
    _queue = {}, _first = 1, _last = 0, _queued = 0,
    _event = sluice.event(),
    _sent_at = sluice.now(),
    _stray = 0,
  }, link)
end

-- Writing.

local function is_full(self)
  return self._queued >= most_queued or queued_here >= most_queued_here
    or self._last - self._first >= most_queued_messages
end

local function enqueue(self, message, is_binary)
  local last = self._last + 1
  self._last = last
  self._queue[last] = is_binary and { message } or message
  self._queued = self._queued + #message
  queued_here = queued_here + #message
  self._event:set()
  return true
end

local function dequeue(self)
  local first = self._first
  local message = self._queue[first]
  self._queue[first], self._first = nil, first + 1
  local kind = "text"
  if type(message) == "table" then
    message, kind = message[1], "binary"
  end
  self._queued = self._queued - #message
  queued_here = queued_here - #message
  return message, kind
end

-- Somebody who takes all that is sent must not keep the others waiting.
local function write_queue(self, ws)
  local since = sluice.now()
  while self._first <= self._last do
    local message, kind = dequeue(self)
    if not ws:send(message, kind) then
      return nil
    end
    self._sent_at = sluice.now()
    if self._sent_at - since >= most_at_once then
      sluice.sleep(0)
      since = sluice.now()
    end
  end
  return true
end

local function write_all(self, ws)
  while not self._is_closed and write_queue(self, ws) do
    self._event:wait()
  end
end

-- What is open.

local function open(self, id, what)
  if self._n_open >= most_open then
    return nil, "busy"
  end
  self._open[id] = what
  self._n_open = self._n_open + 1
  return true
end

local function shut(self, id)
  if self._open[id] then
    self._open[id] = nil
    self._n_open = self._n_open - 1
  end
end

-- Answers that come after all are ignored for a while.
local function expect_late(self, id)
  shut(self, id)
  if self._n_late >= most_open then
    self._late, self._n_late = {}, 0
  end
  self._late[id] = true
  self._n_late = self._n_late + 1
end

local function end_of_visitor(self, id)
  local what = self._open[id]
  if not what then
    return true
  end
  expect_late(self, id)
  if node_class.is_sluice(self.session) then
    return enqueue(self, frames.encode(frames.abort, id, 0, "the visitor is gone"), true)
  elseif what ~= "q" then
    return enqueue(self, messages.ws_teardown(id))
  end
  return true
end

--- What a visitor sends; see node.lua.
-- @treturn ?true
-- @treturn ?string why it was not taken
function link:deliver(what, id, payload)
  if self._is_closed then
    return nil, "gone"
  elseif what == "x" then
    return end_of_visitor(self, id)
  elseif is_full(self) then
    return nil, "busy"
  elseif what == "q" or what == "u" then
    local ok, err = open(self, id, what)
    if not ok then
      return nil, err
    end
    return enqueue(self, payload)
  elseif not self._open[id] then
    return true -- late
  elseif what == "t" then
    expect_late(self, id)
  end
  return enqueue(self, payload, what == "f")
end

-- Answers.

local function flag(self, why)
  self._stray = self._stray + 1
  if self._stray == 1 then
    sluice.log.warn("a client sends what nobody asked for",
      { session = self.session, error = why })
  end
  if self._stray >= most_stray then
    self:close(1008, "too many answers to nothing")
  end
end

-- Is there somebody who waits for this? `whats`: as of self._open.
local function is_asked(self, id, whats)
  local what = id and self._open[id]
  if what and whats:find(what, 1, true) then
    return true
  end
  if not (id and self._late[id]) then
    flag(self, "an answer with an unknown id")
  end
  return false
end

local handlers = {}

handlers["http-response"] = function(self, doc, text)
  if not is_asked(self, doc.id, "q") then
    return
  end
  local streams = doc.sluice and doc.sluice.stream == true and node_class.is_sluice(self.session)
  if not streams then
    shut(self, doc.id)
  end
  if #text > self._settings.max_document then
    expect_late(self, doc.id)
    self._node:to_visitor(doc.id, "!too large")
  else
    self._node:to_visitor(doc.id, text, "http-response", doc)
  end
end

handlers["ws-response"] = function(self, doc, text)
  if not is_asked(self, doc.id, "u") then
    return
  end
  if doc.ok then
    self._open[doc.id] = "w"
  else
    shut(self, doc.id)
  end
  self._node:to_visitor(doc.id, text, "ws-response", doc)
end

handlers["ws-message"] = function(self, doc, text)
  if is_asked(self, doc.id, "w") and not self._node:to_visitor(doc.id, text, "ws-message", doc) then
    expect_late(self, doc.id)
    self._node:to_visitor(doc.id, "!too large")
    enqueue(self, messages.ws_teardown(doc.id))
  end
end

-- The original answers a teardown with a teardown.
handlers["ws-teardown"] = function(self, doc, text)
  if is_asked(self, doc.id, "wu") then
    shut(self, doc.id)
    self._node:to_visitor(doc.id, text, "ws-teardown", doc)
    if not node_class.is_sluice(self.session) then
      enqueue(self, messages.ws_teardown(doc.id))
    end
  end
end

function handlers.disconnect(self)
  self:close(1000)
end

local function take_frame(self, message)
  local kind, id = frames.decode(message)
  if not kind or not node_class.is_sluice(self.session) then
    flag(self, "not a document")
  elseif is_asked(self, id, "qw") then
    if kind == frames.abort or (kind == frames.finish and self._open[id] == "q") then
      shut(self, id)
    end
    self._node:to_visitor(id, message)
  end
end

-- Registration.

local function greet(self, doc)
  if self.session then
    return
  end
  local is_sluice = doc.sluice and doc.sluice.version == messages.extension_version
  self.session = self._node:new_session(is_sluice)
  self._node:add_session(self.session, self)
end

-- Before anybody can learn of the client.
local function expect_requests(self, key_id)
  if not self._keys[key_id] then
    self._keys[key_id] = true
    self._n_keys = self._n_keys + 1
    self._server.store:listen(key_id)
  end
end

handlers["registration-request"] = function(self, doc)
  if self._n_keys >= most_keys then
    return self:close(1008, "too many keys")
  end
  local key_id, err, jwk = registration.accept(doc, self._settings)
  local ok
  if key_id then
    greet(self, doc)
    expect_requests(self, key_id)
    ok, err = self._server.registry:add(key_id, self.session, jwk)
  end
  if not ok then
    sluice.log.info("a registration was refused", { error = err, ip = self.ip })
    enqueue(self, err) -- a bare text, which is what originals send
    return self:close(1008, "not registered", true)
  end
  enqueue(self, messages.registration_response(doc.id or "", key_id,
    key_id .. "." .. self._settings.domain, node_class.is_sluice(self.session)
    and { version = messages.extension_version } or nil))
  sluice.log.info("a client is registered",
    { client = key_id, session = self.session, ip = self.ip })
end

local function take(self, message, kind)
  if kind == "binary" and message:byte() ~= 123 then -- {
    return take_frame(self, message)
  end
  local document, doc = messages.decode(message)
  local handler = handlers[document]
  if handler then
    handler(self, doc, message)
  else
    sluice.log.debug("a message of a client is ignored",
      { session = self.session, error = document or doc })
  end
end

-- Life.

-- The registry may have forgotten what it knew.
local function renew(self)
  if self._is_retired or self._is_closed then
    return
  end
  for key_id in pairs(self._keys) do
    self._server.registry:renew(key_id, self.session)
  end
end

local function keep_alive(self)
  while true do
    local left = self._sent_at + self._settings.ping_interval - sluice.now()
    if left > 0 then
      sluice.sleep(left)
    elseif next(self._keys) then
      enqueue(self, messages.ping)
      self._sent_at = sluice.now()
      sluice.spawn(renew, self)
    else
      return self:close(1008, "not registered in time")
    end
  end
end

local function forget(self)
  self._is_closed = true
  queued_here = queued_here - self._queued
  self._queue, self._first, self._last, self._queued = {}, 1, 0, 0
  if self.session then
    self._node:remove_session(self.session)
    for key_id in pairs(self._keys) do
      self._server.store:unlisten(key_id)
      self._server.registry:remove(key_id, self.session)
    end
  end
  for id in pairs(self._open) do
    self._node:to_visitor(id, "!gone")
  end
  self._open = {}
  self._event:set()
end

--- Ends the link; `after_rest`: once what waits was sent.
function link:close(code, reason, after_rest)
  if self._is_closed or self._closing then
    return
  end
  self._closing = true
  local ws = self._ws
  if after_rest then
    while self._first <= self._last do
      ws:send(dequeue(self))
    end
  end
  ws:close(code, reason)
end

--- Messages were lost, and maybe more.
function link:lost()
  sluice.spawn(renew, self)
end

local function has_requests(self)
  for _, what in pairs(self._open) do
    if what == "q" then
      return true
    end
  end
  return false
end

-- Seconds for the answers that are under way when the server ends.
local last_answers = 10

--- The client shall connect again, to whoever takes over; what it was asked it may answer before.
function link:retire()
  self._is_retired = true
  sluice.spawn(function()
    for key_id in pairs(self._keys) do
      self._server.registry:remove(key_id, self.session)
    end
    local ends = sluice.now() + last_answers
    while has_requests(self) and sluice.now() < ends do
      sluice.sleep(0.05)
    end
    self:close(1012, "the server is starting again")
  end)
end

local function read_all(self, ws)
  repeat
    local message, kind = ws:receive()
    if message and not self._closing then
      take(self, message, kind)
    end
  until not message
end

-- However it ends, by a mistake too, nothing goes through this WebSocket any more.
local function attend(work, self, ws)
  sluice.spawn(work, self, ws):wait()
  ws:close(1011)
end

--- Serves a client until it goes.
function link:run(ws)
  self._ws = ws
  local writer = sluice.spawn(attend, write_all, self, ws)
  local pulse = sluice.spawn(keep_alive, self)
  attend(read_all, self, ws)
  pulse:cancel()
  forget(self)
  writer:wait()
end

return link
