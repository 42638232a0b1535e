--- A client of the tunneling proxy: registers with a server, and serves a local URL through it.
--
-- There is one connection at a time, which is given up after 20 s of silence, and made again, with
-- pauses that grow. What was under way through it is over then: the server says so to its visitors.
--
-- @usage
--   local client = require "sluice.brickchain.client"
--   local service = assert(client.new(settings))
--   service:run() -- waits until service:close()

local frames = require "sluice.brickchain.frames"
local identity = require "sluice.brickchain.client.identity"
local messages = require "sluice.brickchain.messages"
local request = require "sluice.brickchain.client.request"
local sluice = require "sluice"
local websocket = require "sluice.brickchain.client.websocket"

local client = {}
client.__index = client

-- A server sends at least a ping every 10 s.
local silence = 20
local first_pause, longest_pause = 1, 30
local stable = 60 -- after so many seconds a lost connection is a new trouble
local max_message = 16 * 1024 * 1024

--- @tparam table settings from sluice.brickchain.client.settings
-- @treturn ?table
-- @treturn ?string what is wrong with the key
function client.new(settings)
  local key, err = identity.load(settings.key)
  if not key then
    return nil, err
  end
  return setmetatable({ settings = settings, _key = key, _open = {}, _n_open = 0 }, client)
end

-- What requests and WebSockets use.

--- Sends to the server; waits while it does not read.
function client:send(message, kind)
  local ws = self._ws
  if not ws then
    return nil, "gone"
  end
  return ws:send(message, kind)
end

--- An exchange is over.
function client:leave(id)
  if self._open[id] then
    self._open[id] = nil
    self._n_open = self._n_open - 1
  end
end

-- Registration.

local function keep_state(self, hostname)
  local path = self.settings.state
  if not path or self._kept == hostname then
    return
  end
  local ok, err = sluice.file.write(path, sluice.json.encode { hostname = hostname },
    { mode = 384 }) -- 0600
  if ok then
    self._kept = hostname
  else
    sluice.log.error("the state cannot be written", { file = path, error = err })
  end
end

-- The answer to a registration; an original says what is wrong as a bare text.
local function read_answer(text, id)
  local kind, doc = messages.decode(text)
  if kind == "registration-response" and doc.id == id then
    return doc
  elseif not kind and text:sub(1, 1) ~= "{" then
    return nil, "refused: " .. text:sub(1, 200)
  end
  return false
end

local function register(self, ws)
  local id = messages.new_id()
  local ok, err = ws:send(messages.registration_request(id,
    identity.token(self._key, self.settings.endpoint.text), self.settings.session,
    { version = messages.extension_version }))
  while ok do
    local text, why = ws:receive(silence)
    if not text then
      return nil, why
    end
    local doc
    doc, err = read_answer(text, id)
    if doc ~= false then
      return doc, err
    end
  end
  return nil, err
end

-- What the server sends.

local starters = { ["http-request"] = request, ["ws-request"] = websocket }

local function refuse(self, kind, doc)
  if kind == "ws-request" then
    self:send(messages.ws_response(doc.id, false, "too many requests at a time"))
  else
    self:send(messages.http_response(doc.id, { headers = {}, status = 503, body = "" },
      doc.sluice and { pairs = sluice.json.array {} } or nil))
  end
end

local function start(self, kind, doc)
  if not doc.id or self._open[doc.id] then
    return
  elseif self._n_open >= self.settings.max_requests then
    sluice.spawn(refuse, self, kind, doc)
    return
  end
  self._n_open = self._n_open + 1
  self._open[doc.id] = true
  local exchange = starters[kind].start(self, doc)
  if self._open[doc.id] then
    self._open[doc.id] = exchange
  end
end

local function take_frame(self, message)
  local kind, id, n, payload = frames.decode(message)
  local exchange = kind and self._open[id]
  if exchange then
    exchange:take(kind, n, payload)
  end
end

local function take_document(self, message)
  local kind, doc = messages.decode(message)
  local exchange = kind and doc.id and self._open[doc.id]
  if starters[kind] then
    start(self, kind, doc)
  elseif kind == "ws-message" and exchange and exchange.message then
    exchange:message(doc)
  elseif kind == "ws-teardown" and exchange and exchange.teardown then
    exchange:teardown(doc)
  end
end

local function serve(self, ws)
  while true do
    local message, kind = ws:receive(silence)
    if not message then
      return kind == "timed out" and "nothing came for 20 s" or kind
    elseif kind == "binary" and message:byte() ~= 123 then -- {
      take_frame(self, message)
    else
      take_document(self, message)
    end
  end
end

-- The connection.

local function connect(self)
  local settings = self.settings
  local url = ("%s://%s/proxy/subscribe"):format(
    settings.endpoint.scheme == "https" and "wss" or "ws", settings.endpoint.authority)
  local ws, err = sluice.websocket.connect(url,
    { max_message = max_message, ca_file = settings.ca_file })
  if not ws then
    return nil, err
  end
  local answer
  answer, err = register(self, ws)
  if not answer then
    ws:close()
    return nil, err
  end
  return ws, answer
end

local function cancel_all(self)
  local open = self._open
  self._open, self._n_open = {}, 0
  for _, exchange in pairs(open) do
    exchange:cancel()
  end
end

-- One connection, from its beginning to its end; why it ended.
local function attend(self)
  local ws, answer = connect(self)
  if not ws then
    return nil, answer
  end
  self._ws = ws
  self.hostname = answer.hostname
  sluice.log.info("registered", { server = self.settings.endpoint.text, hostname = answer.hostname,
    client = answer.keyID, streams = answer.sluice ~= nil })
  keep_state(self, answer.hostname)
  local began = sluice.now()
  local why = serve(self, ws)
  self._ws, self.hostname = nil, nil
  ws:close()
  cancel_all(self)
  return sluice.now() - began, why
end

local function jitter()
  local a, b = sluice.crypto.random(2):byte(1, 2)
  return 0.5 + (a * 256 + b) / 65536
end

--- Serves until close().
function client:run()
  local pause = first_pause
  while not self._is_closed do
    local lasted, why = attend(self)
    if self._is_closed then
      return
    end
    if lasted and lasted >= stable then
      pause = first_pause
    end
    local wait = pause * jitter()
    sluice.log.warn(lasted and "the connection to the server is lost" or "cannot register",
      { server = self.settings.endpoint.text, error = why, again_in = math.floor(wait * 10) / 10 })
    sluice.sleep(wait)
    pause = math.min(pause * 2, longest_pause)
  end
end

--- Says goodbye to the server.
function client:close()
  self._is_closed = true
  local ws = self._ws
  if ws then
    self._ws = nil
    ws:send(messages.disconnect(messages.new_id()))
    ws:close()
  end
end

return client
