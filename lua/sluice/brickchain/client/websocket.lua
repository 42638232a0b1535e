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

-- Bytes for a local server that does not read, from a server that knows no flow control.
local most_queued = 4 * 1024 * 1024

local kinds = { [1] = "text", [2] = "binary" }

-- From the server to the local server.

-- The next message, and its kind; nil: why there will be none.
local function next_message(self)
  if self._up then
    return wsflow.receive(self._up, self._parts, self._link.settings.max_message)
  end
  while not self._queue[1] do
    if self._is_over then
      return nil
    end
    self._event:wait()
  end
  local entry = table.remove(self._queue, 1)
  self._queued = self._queued - #entry[1]
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

local function pump_out(self)
  while true do
    local message, kind, code = self._ws:receive()
    if not message then
      return self:_goodbye(code, kind)
    end
    if not send(self, message, kind) then
      return self._ws:close(1001)
    end
  end
end

function websocket:_goodbye(code, reason)
  if not self._is_over then
    self._is_over = true
    self._link:send(messages.ws_teardown(self.id,
      self._is_sluice and { code = code, reason = reason } or nil))
  end
end

-- The opening.

local function is_for_us(name)
  local lower = name:lower()
  return lower:find("^sec%-websocket%-") ~= nil or lower == "content-length"
end

local function options_of(self, doc)
  local settings = self._link.settings
  local fields, protocols = {}, {}
  for _, pair in ipairs(target.headers(doc, settings.host)) do
    if pair[1]:lower() == "sec-websocket-protocol" then
      for name in pair[2]:gmatch("[^%s,]+") do
        protocols[#protocols + 1] = name
      end
    elseif not is_for_us(pair[1]) then
      local before = fields[pair[1]]
      fields[pair[1]] = before and before .. ", " .. pair[2] or pair[2]
    end
  end
  return {
    headers = fields, protocols = protocols[1] and protocols or nil, verify = settings.local_verify,
    ca_file = settings.local_ca_file, max_message = settings.max_message,
  }
end

-- What a server says must not throw.
local function connect(self, doc)
  local base = self._link.settings.target
  local url, err = target.url(base, base.scheme == "https" and "wss" or "ws", doc)
  if not url then
    return nil, err
  end
  local ok, ws
  ok, ws, err = pcall(sluice.websocket.connect, url, options_of(self, doc))
  if not ok then
    return nil, tostring(ws)
  end
  return ws, err
end

local function refuse(self, err)
  sluice.log.info("the local server gives no WebSocket", { error = err })
  local status = tonumber(err:match("answered (%d%d%d)$")) or 502
  self._link:send(messages.ws_response(self.id, false, err,
    self._is_sluice and { status = status } or nil))
end

local function run(self, doc)
  local ws, err = connect(self, doc)
  if not ws then
    return refuse(self, err)
  elseif self._is_over then -- the visitor has gone meanwhile
    return ws:close(1001)
  end
  self._ws = ws
  self._link:send(messages.ws_response(self.id, true, nil,
    self._is_sluice and { protocol = ws:protocol() } or nil))
  self._pump = sluice.spawn(pump_in, self)
  pump_out(self)
end

--- Begins.
-- @tparam table link `settings`, send(message, kind), leave(id)
-- @tparam table doc a ws-request
function websocket.start(link, doc)
  local self = setmetatable({
    id = doc.id, _link = link, _is_sluice = doc.sluice ~= nil, _parts = {}, _queue = {},
    _queued = 0, _event = sluice.event(),
  }, websocket)
  if self._is_sluice then
    self._up = flow.receiver(function(n)
      link:send(frames.encode(frames.window, self.id, n), "binary")
    end)
    self._down = flow.sender(function(kind, n, payload)
      return link:send(frames.encode(kind, self.id, n, payload), "binary")
    end)
  end
  sluice.spawn(function()
    sluice.spawn(run, self, doc):wait()
    self:cancel()
    link:leave(self.id)
  end)
  return self
end

--- Takes a ws-message of an original.
function websocket:message(doc)
  local body = doc.body or ""
  if not kinds[doc.messageType] or self._is_sluice or self._is_over then
    return
  end
  self._queued = self._queued + #body
  if self._queued > most_queued then
    self:_goodbye()
    return self:cancel(1008, "too slow")
  end
  table.insert(self._queue, { body, kinds[doc.messageType] })
  self._event:set()
end

--- Takes a frame.
function websocket:take(kind, n, payload)
  local ok, err = true, nil
  if kind == frames.abort then
    return self:cancel(1001)
  elseif kind == frames.window then
    ok, err = self._down and self._down:confirm(n), "more was confirmed than sent"
  elseif self._up then
    ok, err = self._up:push(kind, n, payload)
  end
  if not ok then
    sluice.spawn(self._goodbye, self, 1011, err)
    self:cancel(1011)
  end
end

--- Takes a ws-teardown: what came before it still goes to the local server.
function websocket:teardown(doc)
  local more = doc.sluice or {}
  self._is_over, self._code, self._reason = true, more.code, more.reason
  if self._up then
    self._up:complete()
  end
  self._event:set()
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
    self._ws:close(wsflow.close_of(code, reason))
  end
end

return websocket
