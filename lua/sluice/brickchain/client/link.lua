--- One connection of a client to its server: registers, and gives each request of a visitor to an
-- exchange (request.lua, websocket.lua), which gets what comes for it until it leaves.
--
-- One task receives, and never waits for anything else: exchanges have tasks of their own. Whatever
-- a server sends, there are `max_requests` of them, and so many bytes in their documents.

local frames = require "sluice.brickchain.frames"
local messages = require "sluice.brickchain.messages"
local request = require "sluice.brickchain.client.request"
local sluice = require "sluice"
local websocket = require "sluice.brickchain.client.websocket"

local link = {}
link.__index = link

-- A server sends at least a ping every 10 s.
local silence = 20

-- Seconds after which a visitor of an original has been told that nobody answers. It keeps requests
-- for a client that is away, and sends them when it is back: to serve them then may do harm.
local patience = 30

-- Bytes of the documents that opened what is under way.
local most_held = 64 * 1024 * 1024

-- Tasks that tell a server something beside the exchanges, and wait when it does not read.
local most_asides = 100

-- Seconds for the goodbye to a server that does not read.
local goodbye_time = 1

--- @tparam table settings
-- @tparam sluice.WebSocket ws
-- @tparam table health of the local server
function link.new(settings, ws, health)
  return setmetatable({
    settings = settings, health = health, _ws = ws,
    _open = {}, _n_open = 0, _n_held = 0, _n_asides = 0,
  }, link)
end

-- What exchanges use.

--- Sends to the server; waits while it does not read.
-- @treturn true|nil
-- @treturn string why not
function link:send(message, kind)
  return self._ws:send(message, kind)
end

--- Calls fn(...), which sends something, in a task: who takes what the server sends must not wait.
-- A server that breaks rules and does not read will not hear of all.
function link:aside(fn, ...)
  if self._n_asides >= most_asides then
    return
  end
  self._n_asides = self._n_asides + 1
  local telling = sluice.spawn(fn, ...)
  sluice.spawn(function()
    telling:wait()
    self._n_asides = self._n_asides - 1
  end)
end

--- An exchange is over.
function link:leave(exchange)
  if self._open[exchange.id] == exchange then
    self._open[exchange.id] = nil
    self._n_open = self._n_open - 1
    self._n_held = self._n_held - exchange.held
  end
end

-- What the server sends.

local starters = { ["http-request"] = request, ["ws-request"] = websocket }

local function is_id(id)
  return id and #id <= 128 and id:find("^[%w._:-]+$") ~= nil
end

-- By the clock of the server, which the answer to the registration has shown.
local function is_stale(self, doc)
  return not doc.sluice and doc.timestamp and self._offset
    and sluice.time() + self._offset - doc.timestamp > patience
end

local function ignore(self, doc)
  if not self._has_ignored then -- there may be ten thousand
    self._has_ignored = true
    sluice.log.warn("requests that waited too long at the server are ignored", { url = doc.url })
  end
end

local function start(self, starter, doc, size)
  if not is_id(doc.id) or self._open[doc.id] then
    return
  elseif is_stale(self, doc) then
    return ignore(self, doc)
  elseif self._n_open >= self.settings.max_requests or self._n_held + size > most_held then
    return self:aside(starter.refuse, self, doc)
  end
  local exchange = starter.start(self, doc)
  exchange.held = size
  self._open[doc.id] = exchange
  self._n_open = self._n_open + 1
  self._n_held = self._n_held + size
end

local function take_frame(self, message)
  local kind, id, n, payload = frames.decode(message)
  local exchange = kind and self._open[id]
  if exchange then
    exchange:take(kind, n, payload)
  end
end

-- Nothing, or why the connection is of no use.
local function take_document(self, text)
  local kind, doc = messages.decode(text)
  if starters[kind] then
    start(self, starters[kind], doc, #text)
  elseif kind == "ws-message" or kind == "ws-teardown" then
    local exchange = self._open[doc.id or ""]
    if exchange and exchange.take_document then
      exchange:take_document(kind, doc)
    end
  elseif kind == "registration-response" and doc.id == self._asked and doc.keyID then
    self._asked = nil
    self._offset = doc.timestamp and doc.timestamp - sluice.time()
    self._on_registered(doc)
  elseif not kind and self._asked and text:byte() ~= 123 then -- {
    return text
  end
end

-- What an original says, as a bare text, and what it means.
local hints = {
  ["Token not for this endpoint"] = "the endpoint must be what the server calls its BASE",
  ["Token has expired"] = "the clocks here and there differ",
}

local function refused(text)
  text = text:sub(1, 200):gsub("%s+$", "")
  return ("refused: %s%s"):format(text, hints[text] and " (" .. hints[text] .. ")" or "")
end

local function lost(self, why)
  if why ~= "timed out" then
    return why
  end
  return self._asked and "no answer to the registration"
    or ("nothing came for %d s"):format(silence)
end

local function receive_all(self)
  local ends = sluice.now() + silence -- for the registration, pings or not
  while true do
    local message, kind, code = self._ws:receive(self._asked
      and math.max(ends - sluice.now(), 0.001) or silence)
    if not message then
      return lost(self, kind), code
    elseif kind == "binary" and message:byte() ~= 123 then -- {
      take_frame(self, message)
    else
      local refusal = take_document(self, message)
      if refusal then
        return refused(refusal)
      end
    end
  end
end

--- Registers, and serves until the connection ends.
-- @tparam string token
-- @tparam function on_registered gets the registration-response; must not wait
-- @treturn string why it ended
-- @treturn ?integer the code of the server's close
function link:run(token, on_registered)
  self._asked, self._on_registered = messages.new_id(), on_registered
  local code
  local ok, why = self._ws:send(messages.registration_request(self._asked, token,
    self.settings.session, { version = messages.extension_version }))
  if ok then
    why, code = receive_all(self)
  end
  self._ws:close()
  local open = self._open
  self._open, self._n_open, self._n_held = {}, 0, 0
  for _, exchange in pairs(open) do
    exchange:cancel()
  end
  return why, code
end

--- Tells the server that nobody is here any more; run() returns soon after.
function link:goodbye()
  local saying = sluice.spawn(self._ws.send, self._ws, messages.disconnect(messages.new_id()))
  local timer = sluice.timer(goodbye_time, function()
    saying:cancel()
  end)
  saying:wait()
  timer:cancel()
  self._ws:close()
end

return link
