--- A small HTTP/1.1 client for specs: one request per connection, every byte under control.
--
--   local response = http.request { port = 8443, tls = true, host = "app.example.com" }
--   assert.equal(200, response.status)

local socket = require "socket"
local unistd = require "posix.unistd"

local http = {}

local timeout = 10

--- Goes on in TLS, as a client; `host` is the name that is asked for.
function http.begin_tls(connection, host)
  local ssl = require "ssl"
  connection = assert(ssl.wrap(connection, { mode = "client", protocol = "any", verify = "none" }))
  connection:settimeout(timeout)
  if host then
    connection:sni(host)
  end
  local ok, err = connection:dohandshake()
  if not ok then
    connection:close()
    return nil, err
  end
  return connection
end

--- A connection: a socket of luasocket, or of luasec when `tls` is given.
-- @tparam table options port, host (for SNI), tls, address, from (an address of ours)
function http.connect(options)
  local connection = assert(socket.tcp())
  connection:settimeout(timeout)
  if options.from then
    assert(connection:bind(options.from, 0))
  end
  local ok, err = connection:connect(options.address or "127.0.0.1", options.port)
  if not ok then
    return nil, err
  end
  if options.tls then
    return http.begin_tls(connection, options.host)
  end
  return connection
end

--- The bytes of a request that asks for the connection to be closed after it.
function http.request_text(options)
  local lines = {
    ("%s %s HTTP/1.1"):format(options.method or "GET", options.path or "/"),
    "Host: " .. (options.host or "localhost"),
  }
  for name, value in pairs(options.headers or {}) do
    table.insert(lines, name .. ": " .. value)
  end
  if options.body then
    table.insert(lines, "Content-Length: " .. #options.body)
  end
  table.insert(lines, "Connection: close")
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (options.body or "")
end

local function parse_head(head)
  local version, status = head:match("^HTTP/(%d%.%d) (%d%d%d)")
  if not version then
    return nil, "not a response: " .. head:sub(1, 200)
  end
  local headers = {}
  for name, value in head:gmatch("\r\n([^:\r\n]+):[ \t]*([^\r\n]*)") do
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  return { status = tonumber(status), headers = headers }
end

local function dechunked(body)
  local parts, at = {}, 1
  while true do
    local size, after = body:match("^(%x+)[^\r\n]*\r\n()", at)
    size = size and tonumber(size, 16)
    if not size or size == 0 then
      return table.concat(parts), size ~= nil
    end
    table.insert(parts, body:sub(after, after + size - 1))
    at = after + size + 2
  end
end

--- Takes a response apart: status, headers (lower-case names), body.
function http.parse(text)
  local head, body = text:match("^(.-\r\n)\r\n(.*)$")
  if not head then
    return nil, "no complete head: " .. text:sub(1, 200)
  end
  local response, err = parse_head(head)
  if not response then
    return nil, err
  end
  if response.headers["transfer-encoding"] == "chunked" then
    body = dechunked(body)
  end
  response.body = body
  return response
end

--- Sends bytes and returns all that comes back until the other side closes. A server that refuses
-- in the middle has answered already: what it said counts.
function http.exchange(connection, text)
  connection:send(text)
  local all, _, rest = connection:receive("*a")
  connection:close()
  return all or rest or ""
end

--- Reads one response with a known length and leaves the connection open.
function http.receive(connection)
  local lines = {}
  repeat
    local line = assert(connection:receive("*l"))
    table.insert(lines, line .. "\r\n")
  until line == ""
  local response = assert(http.parse(table.concat(lines)))
  response.body = assert(connection:receive(tonumber(response.headers["content-length"])))
  return response
end

--- One request.
-- @tparam table options method, path, host, headers, body, port, address, tls
-- @treturn ?table status, headers, body
-- @treturn ?string what went wrong
function http.request(options)
  local connection, err = http.connect(options)
  if not connection then
    return nil, err
  end
  return http.parse(http.exchange(connection, http.request_text(options)))
end

local next_port = 10000 + (unistd.getpid() * 61 + math.floor(socket.gettime() * 1000)) % 20000

--- A port that nobody listens on right now, below those that the system gives to whoever asks for
-- any: between now and its use nobody else gets it.
function http.free_port()
  while true do
    next_port = next_port < 30000 and next_port + 1 or 10000
    local listener = socket.bind("*", next_port)
    if listener then
      listener:close()
      return next_port
    end
  end
end

return http
