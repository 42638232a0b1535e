--- The server side of a WebSocket, byte by byte, for specs that break its rules.
--
--   local ws = raw_websocket.accept(listener)  -- takes a connection and answers 101
--   ws:send(raw_websocket.frame("hello"))
--   assert.equal("hi", ws:read_frame())

local bit = require "bit"

local raw_websocket = {}

local guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

--- What the server must say to this key; `openssl` computes it.
function raw_websocket.accept_of(key)
  assert(key:find("^[%w+/=]+$"))
  local pipe = assert(io.popen(("printf %%s '%s%s' | openssl dgst -sha1 -binary | openssl base64")
    :format(key, guid)))
  local text = pipe:read("*l")
  pipe:close()
  return text
end

local function length_of(n)
  if n < 126 then
    return string.char(n), ""
  elseif n < 65536 then
    return string.char(126), string.char(bit.rshift(n, 8), n % 256)
  end
  return string.char(127), "\0\0\0\0" .. string.char(bit.rshift(n, 24) % 256,
    bit.rshift(n, 16) % 256, bit.rshift(n, 8) % 256, n % 256)
end

--- A frame. Options: opcode (1, text), fin (true), mask (false: as servers must), length: what the
-- head says instead of the truth.
function raw_websocket.frame(payload, options)
  options = options or {}
  local first = (options.fin == false and 0 or 128) + (options.opcode or 1)
  local short, long = length_of(options.length or #payload)
  if options.mask then -- with a key of zeros the bytes stay as they are
    return string.char(first, short:byte() + 128) .. long .. "\0\0\0\0" .. payload
  end
  return string.char(first) .. short .. long .. payload
end

--- The head of the upgrade.
function raw_websocket.response(key, accept)
  return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    .. "Sec-WebSocket-Accept: " .. (accept or raw_websocket.accept_of(key)) .. "\r\n\r\n"
end

local function unmask(bytes, key)
  local out = {}
  for i = 1, #bytes do
    out[i] = string.char(bit.bxor(bytes:byte(i), key:byte((i - 1) % 4 + 1)))
  end
  return table.concat(out)
end

--- The payload of the next frame of the client, and its opcode.
function raw_websocket.read_frame(self)
  local head = self:receive(2)
  local opcode, n = head:byte(1) % 16, head:byte(2) - 128
  assert(n >= 0, "the client did not mask")
  if n == 126 then
    local a, b = self:receive(2):byte(1, 2)
    n = a * 256 + b
  end
  assert(n < 65536, "a longer frame than specs expect")
  local key = self:receive(4)
  return unmask(n > 0 and self:receive(n) or "", key), opcode
end

--- The same, pings left out: on a busy machine one may come at any time.
function raw_websocket.read_message(self)
  local payload, opcode
  repeat
    payload, opcode = self:read_frame()
    if opcode == 9 then
      self:send(raw_websocket.frame(payload, { opcode = 10 }))
    end
  until opcode ~= 9
  return payload, opcode
end

--- Answers 101 to a connection whose head was read, and makes it able to read frames.
function raw_websocket.upgrade(connection, accept)
  connection.read_frame = raw_websocket.read_frame
  connection.read_message = raw_websocket.read_message
  connection:send(raw_websocket.response(connection.head.headers["sec-websocket-key"], accept))
  return connection
end

--- Takes a connection and upgrades it; `head` is the request.
-- @tparam table listener of support.peer
-- @tparam[opt] string accept a wrong key to answer with
function raw_websocket.accept(listener, accept)
  local connection = assert(listener:accept(), "nobody connects")
  connection.head = connection:read_head()
  return raw_websocket.upgrade(connection, accept)
end

return raw_websocket
