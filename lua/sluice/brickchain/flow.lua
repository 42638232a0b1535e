--- One direction of a body, or of a WebSocket, between two sluices: pieces with numbers, and
-- credit, so that neither end holds more than it can pass on. See frames.lua for the wire.
--
-- A sender and a receiver wait for nothing but each other; whoever owns them passes on what
-- arrives: pieces to receiver:push(), windows to sender:confirm(), and the end of all to fail().
-- One task uses a sender, and one a receiver.

local frames = require "sluice.brickchain.frames"
local sluice = require "sluice"

local flow = {}

local credit, piece_len = frames.credit, frames.piece

local sender = {}
sender.__index = sender

--- @tparam function send send(kind, n, payload) returns true, or nil and why not
function flow.sender(send)
  return setmetatable({ _send = send, _n = 0, _under_way = 0, _event = sluice.event() }, sender)
end

local function wait_for_credit(self)
  while self._under_way >= credit and not self._error do
    self._event:wait()
  end
  return not self._error, self._error
end

--- Sends one piece; waits until it may.
-- @treturn true|nil
-- @treturn string why not
function sender:piece(kind, payload)
  local ok, err = wait_for_credit(self)
  if not ok then
    return nil, err
  end
  self._under_way = self._under_way + #payload
  self._n = self._n + 1
  return self._send(kind, self._n - 1, payload)
end

--- Sends bytes of a body.
function sender:write(bytes)
  for from = 1, #bytes, piece_len do
    local ok, err = self:piece(frames.data, bytes:sub(from, from + piece_len - 1))
    if not ok then
      return nil, err
    end
  end
  return true
end

--- The body is complete.
function sender:finish()
  if self._error then
    return nil, self._error
  end
  return self._send(frames.finish, self._n, "")
end

--- The other side has consumed n bytes.
-- @treturn boolean false when it never got as many
function sender:confirm(n)
  if n > self._under_way then
    return false
  end
  self._under_way = self._under_way - n
  self._event:set()
  return true
end

--- Nothing more will be sent; whoever waits hears why.
function sender:fail(err)
  self._error = self._error or err
  self._event:set()
end

local receiver = {}
receiver.__index = receiver

--- @tparam function confirm confirm(n) tells the other side that n bytes were consumed
function flow.receiver(confirm)
  return setmetatable({
    _confirm = confirm, _first = 1, _last = 0, _kinds = {}, _pieces = {}, _expected = 0,
    _held = 0, _consumed = 0, _event = sluice.event(),
  }, receiver)
end

--- Takes in what arrived.
-- @treturn true|nil
-- @treturn string what is wrong with it; the receiver has failed with that
function receiver:push(kind, n, payload)
  if self._error or self._is_complete then
    return true -- late
  end
  if n ~= self._expected then
    self:fail("a piece is missing")
    return nil, self._error
  end
  if self._held >= credit or #payload > piece_len then
    self:fail("more than was asked for")
    return nil, self._error
  end
  self._expected = n + 1
  self._is_complete = kind == frames.finish
  self._held = self._held + #payload
  self._last = self._last + 1
  self._kinds[self._last], self._pieces[self._last] = kind, payload
  self._event:set()
  return true
end

--- What has come is all: whoever reads gets it, and then the end.
function receiver:complete()
  return self:push(frames.finish, self._expected, "")
end

--- What has come is lost, too: whoever reads gets the error next.
function receiver:fail(err)
  if not self._error and not self._is_complete then
    self._error = err
    self._event:set()
  end
end

local function consumed(self, n)
  self._held = self._held - n
  self._consumed = self._consumed + n
  if self._consumed * 4 >= credit then
    self._confirm(self._consumed)
    self._consumed = 0
  end
end

--- The next piece; waits for it. Reading the next says that the one before was passed on.
-- @tparam[opt] number timeout seconds
-- @treturn ?string bytes; nil: the end
-- @treturn ?string why there are none; nil when the body is complete
-- @treturn ?string the kind of the piece
function receiver:read(timeout)
  if self._passed_on then
    consumed(self, self._passed_on)
    self._passed_on = nil
  end
  while self._first > self._last do
    if self._error then
      return nil, self._error
    elseif self._is_over then
      return nil
    end
    local ok, err = self._event:wait(timeout)
    if not ok then
      return nil, err
    end
  end
  if self._error then
    return nil, self._error
  end
  local at = self._first
  local kind, payload = self._kinds[at], self._pieces[at]
  self._kinds[at], self._pieces[at], self._first = nil, nil, at + 1
  if kind == frames.finish then
    self._is_over = true
    return nil
  end
  self._passed_on = #payload
  return payload, nil, kind
end

--- Is there something to read, or the end of it?
function receiver:is_ready()
  return self._first <= self._last or self._error ~= nil
end

return flow
