--- A client of TypedSocket servers: connects, says by a tag who it is, answers what it is asked,
-- and connects again whenever the connection is lost, for ever.
--
-- Two wires exist (sluice.typedsocket.modern and .legacy). Which one the server speaks is found
-- out: each attempt tries the one that worked last, at first the modern one, and then the other.
--
-- A server that is gone without a word is noticed by WebSocket pings; one that says nothing after
-- the connection is made, by the missing answer to the tag.
--
-- @usage
--   local socket = typedsocket.new {
--     url = "http://coreflow:3000", tag = "coretraffic",
--     handlers = { updateRouting = function(request) return { status = "ok" } end },
--   }
--   socket:run() -- waits until somebody calls socket:close()

local legacy = require "sluice.typedsocket.legacy"
local modern = require "sluice.typedsocket.modern"
local sluice = require "sluice"
local typedrequest = require "sluice.typedrequest"

local typedsocket = {}
typedsocket.__index = typedsocket

-- Seconds.
local first_wait, longest_wait = 1, 60
local connect_timeout, tag_timeout = 10, 10
local ping_interval, ping_timeout = 20, 20

-- Ten thousand hosts with long chains are 70 MB. Reading a message of this size while one like it
-- is live takes less than the memory that the control thread may have.
local max_message = 96 * 1048576
local max_running = 1000

local schemes = { http = "ws", https = "wss", ws = "ws", wss = "wss" }

--- The URL of the WebSocket for a URL as people write it.
-- @treturn ?string
-- @treturn ?string what is wrong
function typedsocket.websocket_url(url)
  local scheme, rest = url:match("^(%a+)://([^%s]+)$")
  if not scheme or not schemes[scheme:lower()] or not rest:find("^[^/?#]") then
    return nil, "not a URL like http://coreflow:3000"
  end
  if rest:match("^[^/?#]*"):find("@", 1, true) then
    return nil, "holds a user name or password, which would stand in every line of the log"
  end
  return schemes[scheme:lower()] .. "://" .. rest
end

local function new_id()
  return "uni_" .. sluice.crypto.hex(sluice.crypto.random(12))
end

--- @tparam table options `url`, `tag`, `handlers`: method to fn(request), which may wait and
-- returns the response, or nil and what went wrong. For specs: `connect`, as sluice.websocket has
-- it, `sleep`, `now`, `random`.
function typedsocket.new(options)
  return setmetatable({
    _url = assert(typedsocket.websocket_url(options.url)),
    _tag = options.tag,
    _handlers = options.handlers,
    _connect = options.connect or require("sluice.websocket").connect,
    _sleep = options.sleep or sluice.sleep,
    _now = options.now or sluice.now,
    _random = options.random or math.random,
    _wires = { modern, legacy },
    _running = 0,
  }, typedsocket)
end

-- A link is one connection: what the wire writes goes out in order, whoever writes it.
local link_methods = {}
link_methods.__index = link_methods

function link_methods:send(text)
  table.insert(self.outbox, text)
  if self.is_sending then
    return
  end
  self.is_sending = true
  while self.outbox[1] and self.is_open do
    if not self.ws:send(table.remove(self.outbox, 1)) then
      self:close()
    end
  end
  self.is_sending = false
end

function link_methods:close()
  if self.is_open then
    self.is_open = false
    self.ws:close()
  end
end

local function settle(envelope, ok, response, err)
  if not ok then
    sluice.log.error("a typed request failed", { method = envelope.method, error = response })
    return typedrequest.failure(envelope, "Internal server error")
  end
  if response == nil then
    return typedrequest.failure(envelope, tostring(err))
  end
  return typedrequest.answer(envelope, response)
end

local function answer_of(self, envelope)
  local handler = self._handlers[envelope.method]
  if not handler then
    sluice.log.warn("a typed request for an unknown method", { method = envelope.method })
    return typedrequest.failure(envelope, typedrequest.no_method)
  end
  return settle(envelope, pcall(handler, envelope.request))
end

-- Many may be in progress; an answer belongs to the connection that asked, or to nobody.
local function on_request(self, link, envelope, reply)
  if self._running >= max_running then
    return reply(typedrequest.failure(envelope, "too many requests at a time"))
  end
  self._running = self._running + 1
  sluice.spawn(function()
    local answer = answer_of(self, envelope)
    self._running = self._running - 1
    if link.is_open then
      reply(answer)
    end
  end)
end

local function complain(self, text)
  sluice.log.warn("an odd message", { url = self._url, problem = text })
end

local function new_link(self, wire, ws)
  local link = setmetatable({ ws = ws, outbox = {}, is_open = true }, link_methods)
  link.wire = wire.new({
    send = function(text)
      link:send(text)
    end,
    tagged = function()
      link.is_tagged = true
      sluice.log.info("connected", { url = self._url, tag = self._tag, wire = wire.name })
    end,
    request = function(envelope, reply)
      on_request(self, link, envelope, reply)
    end,
    complain = function(text)
      complain(self, text)
    end,
  }, { tag = self._tag, new_id = new_id })
  return link
end

-- How long to wait for a message; nil: the pings see to it.
local function patience(self, link)
  if not link.is_tagged then
    return math.max(0.001, link.began + tag_timeout - self._now())
  end
  return link.wire.silence and link.wire:silence()
end

local function why_none(link, kind)
  if kind == "timed out" then
    return link.is_tagged and "the server has been silent for too long"
      or "the server did not take the tag in time"
  end
  return kind
end

-- Until the connection is of no use any more; why.
local function serve(self, link)
  link.began = self._now()
  link.wire:open()
  while link.is_open do
    local message, kind, code = link.ws[link.wire.reads](link.ws, patience(self, link))
    if message == nil and code ~= "invalid" then
      return why_none(link, kind)
    end
    local ok, err = link.wire:input(message, kind)
    if not ok then
      return err
    end
  end
  return "closed"
end

-- One connection with one wire; true if the other side has come to know who this is.
local function try_wire(self, wire)
  local ws, err = self._connect(wire.url(self._url), {
    timeout = connect_timeout, max_message = max_message,
    ping_interval = ping_interval, ping_timeout = ping_timeout,
  })
  if not ws then
    return false, err
  end
  local link = new_link(self, wire, ws)
  self._link = link
  err = serve(self, link)
  self._link = nil
  link:close()
  return link.is_tagged or false, err
end

-- True and why the connection ended; or false and why there was none.
local function try_both(self)
  local why = {}
  for i, wire in ipairs(self._wires) do
    local was_tagged, err = try_wire(self, wire)
    if was_tagged then
      self._wires = { wire, self._wires[3 - i] }
      return true, err
    end
    if self._is_closed then
      return false, "closed"
    end
    why[i] = ("%s: %s"):format(wire.name, err)
  end
  return false, table.concat(why, "; ")
end

--- Seconds to wait after so many failures in a row: 1 to 60, doubling, with jitter, so that a
-- server that comes back does not see all its clients at once.
function typedsocket.backoff(failures, random)
  local ceiling = math.min(longest_wait, first_wait * 2 ^ math.min(failures, 10))
  return math.max(first_wait, ceiling * (0.5 + random() / 2))
end

--- Connects and serves until close() is called.
function typedsocket:run()
  local failures = 0
  while not self._is_closed do
    local was_tagged, err = try_both(self)
    failures = was_tagged and 1 or failures + 1
    if not self._is_closed then
      local wait = typedsocket.backoff(failures - 1, self._random)
      sluice.log.warn(was_tagged and "the connection is lost" or "cannot connect",
        { url = self._url, error = err, retry_in = math.floor(wait * 10 + 0.5) / 10 })
      self._sleep(wait)
    end
  end
end

--- Ends the connection and run().
function typedsocket:close()
  self._is_closed = true
  if self._link then
    self._link:close()
  end
end

return typedsocket
