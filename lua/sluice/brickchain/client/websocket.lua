--- WebSockets of visitors at a client: each is a WebSocket to the local server, and what comes on
-- one side goes out on the other.

local flow = require "sluice.brickchain.flow"
local frames = require "sluice.brickchain.frames"
local messages = require "sluice.brickchain.messages"
local sluice = require "sluice"
local target = require "sluice.brickchain.client.target"
local wsflow = require "sluice.brickchain.wsflow"

local websocket = {}
websocket.__index = websocket

-- Bytes for a local server that does not read, from a server that knows no flow control; each
-- message counts for some more.
local most_queued, cost = 4 * 1024 * 1024, 64

local kinds = { [1] = "text", [2] = "binary" }

-- From the server to the local server.

-- The next message, and its kind; nil: why there will be none.
local function next_message(self)
  if self._up then
    return wsflow.receive(self._up, self._parts, self._link.settings.max_message)
  end
  while self._first > self._last do
    if self._is_over then
      return nil
    end
    self._event:wait()
  end
  local entry = self._queue[self._first]
  self._queue[self._first] = nil
  self._first = self._first + 1
  self._queued = self._queued - #entry[1] - cost
  return entry[1], entry[2]
end

local function pump_in(self)
  while true do
    local message, kind = next_message(self)
    if not message then
      return self._ws:close(wsflow.close_of(kind == "too large" and 1009 or self._code,
        self._reason))
    end
    local ok, err = self._ws:send(message, kind)
    if not ok then
      return self._ws:close(err:find("UTF-8", 1, true) and 1007 or 1011)
    end
  end
end

-- From the local server to the server.

local function send(self, message, kind)
  if self._down then
    return wsflow.send(self._down, message, kind)
  end
  return self._link:send(messages.ws_message(self.id, kind, message))
end

local function say_goodbye(self, code, reason)
  if not self._is_over then
    self._is_over = true
    self._link:send(messages.ws_teardown(self.id,
      self._is_sluice and wsflow.goodbye(code, reason, 1011) or nil))
  end
end

local function pump_out(self)
  while true do
    local message, kind, code = self._ws:receive()
    if not message then
      return say_goodbye(self, code, kind)
    elseif not send(self, message, kind) then
      return self._ws:close(1001)
    end
  end
end

-- The opening.

local function is_for_us(name)
  local lower = name:lower()
  return lower:find("^sec%-websocket%-") ~= nil or lower == "host"
end

-- One field for each name, as sluice.websocket.connect takes them.
local function options_of(self, doc)
  local settings = self._link.settings
  local fields, protocols = { Host = settings.host }, {}
  for _, pair in ipairs((target.headers(doc))) do
    local name, value = pair[1], pair[2]
    if name == "Sec-Websocket-Protocol" then
      for protocol in value:gmatch("[^%s,]+") do
        protocols[#protocols + 1] = protocol
      end
    elseif not is_for_us(name) then
      local before = fields[name]
      fields[name] = before and before .. (name == "Cookie" and "; " or ", ") .. value or value
    end
  end
  return {
    headers = fields, protocols = protocols[1] and protocols or nil, verify = settings.local_verify,
    ca_file = settings.local_ca_file, max_message = settings.max_message,
  }
end

local function refuse(link, doc, status, err)
  link:send(messages.ws_response(doc.id, false, err, doc.sluice and { status = status } or nil))
end

local function run(self, doc)
  local link = self._link
  local base = link.settings.target
  local url, err = target.url(base, base.scheme == "https" and "wss" or "ws", doc)
  if not url then
    return refuse(link, doc, 400, err)
  end
  local ws
  ws, err = sluice.websocket.connect(url, options_of(self, doc))
  if not ws then
    local status = tonumber(err:match("answered (%d%d%d)$"))
    if not status then
      link.health:bad(err)
    end
    return refuse(link, doc, status or 502, err)
  elseif self._is_over then -- the visitor has gone meanwhile
    return ws:close(1001)
  end
  self._ws = ws
  link.health:good()
  link:send(messages.ws_response(self.id, true, nil,
    self._is_sluice and { protocol = ws:protocol() } or nil))
  sluice.spawn(pump_in, self)
  pump_out(self)
end

-- A document may hold what we did not think of: its visitor gets an answer, nobody else notices.
local function run_to_end(self, doc)
  local ok, err = pcall(run, self, doc)
  if not ok then
    sluice.log.error("a WebSocket failed", { error = tostring(err) })
    if not self._ws then
      refuse(self._link, doc, 502, "the request cannot be passed on")
    end
    say_goodbye(self, 1011)
  end
  self:cancel()
  self._link:leave(self)
end

--- Begins.
-- @tparam table link `settings`, `health`, send(message, kind), aside(fn, …), leave(exchange)
-- @tparam table doc a ws-request
function websocket.start(link, doc)
  local self = setmetatable({
    id = doc.id, _link = link, _is_sluice = doc.sluice ~= nil, _parts = {},
    _queue = {}, _first = 1, _last = 0, _queued = 0, _event = sluice.event(),
  }, websocket)
  if self._is_sluice then
    self._up = flow.receiver(function(n)
      link:send(frames.encode(frames.window, self.id, n), "binary")
    end)
    self._down = flow.sender(function(kind, n, payload)
      return link:send(frames.encode(kind, self.id, n, payload), "binary")
    end)
  end
  sluice.spawn(run_to_end, self, doc)
  return self
end

--- Answers one that is too many; waits.
function websocket.refuse(link, doc)
  refuse(link, doc, 503, "too many requests at a time")
end

-- The server broke the rules.
local function break_off(self, code, reason)
  self._link:aside(say_goodbye, { id = self.id, _link = self._link, _is_sluice = self._is_sluice },
    code, reason)
  self:cancel(code, reason)
end

local function take_message(self, doc)
  local body, kind = doc.body or "", kinds[doc.messageType]
  if not kind or self._is_sluice or self._is_over then
    return
  end
  self._queued = self._queued + #body + cost
  if #body > self._link.settings.max_message then
    return break_off(self, 1009, "too large")
  elseif self._queued > most_queued then
    return break_off(self, 1008, "too slow")
  end
  self._last = self._last + 1
  self._queue[self._last] = { body, kind }
  self._event:set()
end

-- What came before it still goes to the local server.
local function take_teardown(self, doc)
  local more = doc.sluice or {}
  self._is_over, self._code, self._reason = true, more.code, more.reason
  if self._up then
    self._up:complete()
  end
  self._event:set()
end

--- Takes a ws-message of an original, or a ws-teardown.
function websocket:take_document(kind, doc)
  if kind == "ws-teardown" then
    take_teardown(self, doc)
  else
    take_message(self, doc)
  end
end

--- Takes a frame.
function websocket:take(kind, n, payload)
  local ok, err = true, nil
  if kind == frames.abort then
    return self:cancel(1001)
  elseif kind == frames.window then
    ok, err = not self._down or self._down:confirm(n), "more was confirmed than sent"
  elseif self._up then
    ok, err = self._up:push(kind, n, payload)
  end
  if not ok then
    break_off(self, 1011, err)
  end
end

--- The visitor, or the server, has gone.
function websocket:cancel(code, reason)
  self._is_over = true
  if self._up then
    self._up:fail "gone"
    self._down:fail "gone"
  end
  self._event:set()
  if self._ws then
    self._ws:close(wsflow.close_of(code or 1001, reason))
  end
end

return websocket
