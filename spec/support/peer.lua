--- Both ends of a proxied connection in one spec: an origin that does what it is told, and clients
-- that send what they like. Nothing is repaired on the way: what is seen is what is on the wire.
--
--   local origin = peer.listen()
--   local client = peer.connect { port = port }
--   client:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
--   local inner = origin:accept()
--   assert.equal("GET / HTTP/1.1", inner:read().line)
--   inner:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
--   assert.equal("ok", client:read().body)
--
-- Reading has a deadline and then fails the spec with what has arrived.

local errno = require "posix.errno"
local http = require "support.http"
local poll = require "posix.poll"
local posix_socket = require "posix.sys.socket"
local process = require "support.process"
local sluice = require "support.sluice"
local socket = require "socket"

local peer = {}
local connection = {}
connection.__index = connection
local listener = {}
listener.__index = listener

local batch = 65536

local function wrap(raw, is_tls)
  raw:settimeout(sluice.patience)
  if not is_tls then
    raw:setoption("tcp-nodelay", true)
  end
  return setmetatable({ socket = raw, is_tls = is_tls, pending = "" }, connection)
end

--- A connection to the program; options as in http.connect.
function peer.connect(options)
  local raw, err = http.connect(options)
  return raw and wrap(raw, options.tls), err
end

--- Takes connections on a free port of this machine: `port`.
function peer.listen()
  local raw = assert(socket.bind("127.0.0.1", 0, 512))
  local _, port = raw:getsockname()
  return setmetatable({ socket = raw, port = tonumber(port) }, listener)
end

--- The next connection; nil when there is none in time.
function listener:accept(seconds)
  self.socket:settimeout(seconds or sluice.patience)
  local raw = self.socket:accept()
  return raw and wrap(raw)
end

function listener:close()
  self.socket:close()
end

-- One attempt: bytes, or nil and "timeout", "closed" or "reset".
local function read_now(self)
  if self.is_tls then
    self.socket:settimeout(0)
    local bytes, err, rest = self.socket:receive(batch)
    self.socket:settimeout(sluice.patience)
    bytes = bytes or rest
    if bytes and bytes ~= "" then
      return bytes
    end
    return nil, (err == "wantread" or err == "timeout") and "timeout" or "closed"
  end
  local bytes, _, code = posix_socket.recv(self.socket:getfd(), batch)
  if not bytes then
    return nil, code == errno.EAGAIN and "timeout" or "reset"
  end
  return bytes ~= "" and bytes or nil, "closed"
end

-- Waits for more; nil and why there is none.
local function fill(self, deadline)
  while true do
    local bytes, err = read_now(self)
    if bytes then
      self.pending = self.pending .. bytes
      return true
    end
    local left = deadline - process.now()
    if err ~= "timeout" or left <= 0 then
      self.ended = err
      return nil, err
    end
    poll.rpoll(self.socket:getfd(), math.ceil(left * 1000))
  end
end

-- The captures of a pattern at the front, whose last one is the position after it, which is
-- consumed.
local function take(self, pattern)
  local deadline = process.now() + sluice.patience
  while true do
    local first, second = self.pending:match(pattern)
    if first then
      local after = second or first
      self.pending = self.pending:sub(after)
      return second and first or ""
    end
    local ok, err = fill(self, deadline)
    if not ok then
      error(("%s while waiting for %q; there is %q"):format(err, pattern,
        self.pending:sub(1, 300)), 0)
    end
  end
end

function connection:send(bytes)
  return self.socket:send(bytes)
end

--- Exactly n bytes.
function connection:receive(n)
  local deadline = process.now() + sluice.patience
  while #self.pending < n do
    local ok, err = fill(self, deadline)
    if not ok then
      error(("%s after %d of %d bytes"):format(err, #self.pending, n), 2)
    end
  end
  local bytes = self.pending:sub(1, n)
  self.pending = self.pending:sub(n + 1)
  return bytes
end

--- A line, without its end.
function connection:read_line()
  return take(self, "^([^\n]*)\n()")
end

--- All that comes until the other side closes, and how it ended: "closed" or "reset".
function connection:read_all(seconds)
  local deadline = process.now() + (seconds or sluice.patience)
  local parts = { self.pending }
  self.pending = ""
  while fill(self, deadline) do
    table.insert(parts, self.pending)
    self.pending = ""
  end
  return table.concat(parts), self.ended
end

--- Whether the other side has neither closed nor said anything that was not read.
function connection:is_quiet()
  local bytes, err = read_now(self)
  self.pending = self.pending .. (bytes or "")
  return err == "timeout" and self.pending == ""
end

local function parse_fields(text)
  local fields, list = {}, {}
  for name, value in text:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)\r\n") do
    table.insert(list, { name, value })
    name = name:lower()
    fields[name] = fields[name] and fields[name] .. ", " .. value or value
  end
  return fields, list
end

--- A head: line, headers (lower-case name to value), list (of { name, value }), text, status.
function connection:read_head()
  local text = take(self, "^(.-\r\n)\r\n()")
  local line = text:match("^([^\r\n]*)\r\n")
  local headers, list = parse_fields(text:sub(#line + 3))
  return { line = line, headers = headers, list = list, text = text,
    status = tonumber(line:match("^HTTP/1%.[01] (%d%d%d)")) }
end

local function read_chunks(self, message)
  local parts = {}
  while true do
    local size = tonumber(take(self, "^(%x+)[^\r\n]*\r\n()"), 16)
    if size == 0 then
      break
    end
    table.insert(parts, self:receive(size))
    take(self, "^\r\n()")
  end
  local trailers = ""
  repeat
    local line = take(self, "^([^\r\n]*\r\n)()")
    trailers = trailers .. line
  until line == "\r\n"
  message.trailers = parse_fields(trailers)
  return table.concat(parts)
end

local function has_no_body(message, method)
  local status = message.status
  return method == "HEAD" or (status and (status < 200 or status == 204 or status == 304))
end

--- A whole message: what read_head gives, and body, trailers.
-- @tparam[opt] string method of the request that this answers, if it is HEAD
function connection:read(method)
  local message = self:read_head()
  local length = tonumber(message.headers["content-length"])
  if has_no_body(message, method) then
    message.body = ""
  elseif message.headers["transfer-encoding"] == "chunked" then
    message.body = read_chunks(self, message)
  elseif length or not message.status then
    message.body = self:receive(length or 0)
  else
    message.body = self:read_all()
  end
  return message
end

--- Sends from this end while the other one reads, until it has n bytes, which are returned: one
-- thread cannot do one after the other, for a proxy keeps little.
function connection:carry(bytes, to, n)
  local fd, to_fd = self.socket:getfd(), to.socket:getfd()
  local deadline, sent = process.now() + sluice.patience, 0
  local parts, got = { to.pending }, #to.pending
  to.pending = ""
  n = n or #bytes
  while got < n do
    assert(process.now() < deadline, "only " .. got .. " bytes have arrived")
    local fds = { [to_fd] = { events = { IN = true } } }
    if sent < #bytes then
      fds[fd] = { events = { IN = fd == to_fd, OUT = true } }
    end
    poll.poll(fds, 1000)
    if sent < #bytes and fds[fd].revents.OUT then
      sent = sent + assert(posix_socket.send(fd, bytes:sub(sent + 1, sent + 4 * batch)))
    end
    local more, err = read_now(to)
    assert(more or err == "timeout", err)
    table.insert(parts, more)
    got = got + #(more or "")
  end
  local all = table.concat(parts)
  to.pending = all:sub(n + 1)
  return all:sub(1, n)
end

--- Sends as much as is taken at once; how many bytes that were.
function connection:send_now(bytes)
  return posix_socket.send(self.socket:getfd(), bytes) or 0
end

--- Sends until nobody takes any more, or all of it; how many bytes that were.
function connection:stuff(bytes)
  local fd, sent = self.socket:getfd(), 0
  while sent < #bytes do
    local fds = { [fd] = { events = { OUT = true } } }
    if poll.poll(fds, 200) == 0 then
      break
    end
    sent = sent + assert(posix_socket.send(fd, bytes:sub(sent + 1, sent + 4 * batch)))
  end
  return sent
end

--- Goes on in TLS, as a client.
function connection:begin_tls(name)
  self.socket, self.is_tls = assert(http.begin_tls(self.socket, name)), true
end

--- Says that nothing more will be sent.
function connection:finish()
  self.socket:shutdown("send")
end

function connection:close()
  self.socket:close()
end

--- Ends it so that the other side sees that nobody is there any more; after close() it could not
-- know whether somebody still listens.
function connection:reset()
  self.socket:setoption("linger", { on = true, timeout = 0 })
  self.socket:close()
end

return peer
