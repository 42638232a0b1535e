-- Group H1 of the attacks: requests whose framing somebody could understand in another way than
-- we do. Each is sent whole, in two parts and byte by byte. The origin must see nothing of it, or,
-- when the head was fine and had gone on its way already, never a complete message.

local http = require "support.http"
local peer = require "support.peer"
local sluice = require "support.sluice"

local get = "GET /attack HTTP/1.1\r\nHost: app\r\n"
local post = "POST /attack HTTP/1.1\r\nHost: app\r\n"
local chunked = post .. "Transfer-Encoding: chunked\r\n\r\n"

-- What is wrong with the head: id, status, what goes first, what goes second.
local heads = {
  { "H1-01", 400, post .. "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" },
  { "H1-01", 400, post .. "Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n" },
  { "H1-02", 400, post .. "Content-Length: 5\r\n", "Content-Length: 6\r\n\r\nhello!" },
  { "H1-02", 400, post .. "Content-Length: 5\r\n", "Content-Length: 5\r\n\r\nhello" },
  { "H1-02", 400, post .. "Content-Length: 5, 5", "\r\n\r\nhello" },
  { "H1-04", 400, post .. "Content-Length:", "\r\n\r\nhello" },
  { "H1-05", 400, post .. "Content-Length: \r\n", "Content-Length: 43\r\n\r\nhello" },
  { "H1-07", 400, post .. "Content-Length: 18446744073709", "551621\r\n\r\nhello" },
  { "H1-07", 400, post .. "Content-Length: 99999999999999999999", "\r\n\r\nhello" },
  { "H1-07", 400, post .. "Content-Length: ", "+5\r\n\r\nhello" },
  { "H1-07", 400, post .. "Content-Length: ", "-5\r\n\r\nhello" },
  { "H1-07", 400, post .. "Content-Length: ", "0x5\r\n\r\nhello" },
  { "H1-07", 400, post .. "Content-Length: 5", " 0\r\n\r\nhello" },
  { "H1-08", 400, post .. "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
  { "H1-08", 400, post .. "Transfer-Encoding: chunked,", " chunked\r\n\r\n0\r\n\r\n" },
  { "H1-10", 501, post .. "Transfer-Encoding: ", "blegh\r\n\r\n" },
  { "H1-10", 501, post .. "Transfer-Encoding: x", "chunked\r\n\r\n0\r\n\r\n" },
  { "H1-10", 501, post .. "Transfer-Encoding: ", "identity\r\n\r\n" },
  { "H1-11", 400, post .. "Transfer-Encoding: chunked", ", gzip\r\n\r\n0\r\n\r\n" },
  { "H1-11", 400, post .. "Transfer-Encoding: gzip,", "chunked\r\n\r\n0\r\n\r\n" },
  { "H1-11", 400, "POST /attack HTTP/1.0\r\nHost: app\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
  { "H1-23", 400, get .. "X-A", " : b\r\n\r\n" },
  { "H1-23", 400, post .. "Transfer-Encoding", "\t: chunked\r\n\r\n0\r\n\r\n" },
  { "H1-25", 400, get .. "X-A: b\r\n", " c\r\nX-D: e\r\n\r\n" },
  { "H1-25", 400, get .. "X-A: b\r\n", "\tc\r\n\r\n" },
  { "H1-25", 400, "GET /attack HTTP/1.1\r\n", " Host: app\r\n\r\n" },
  { "H1-26", 400, get, ": x\r\n\r\n" },
  { "H1-26", 400, get, ":\r\n\r\n" },
  { "H1-28", 400, get .. "X-A: b", "\0c\r\n\r\n" },
  { "H1-28", 400, get .. "X-A", "\0: b\r\n\r\n" },
  { "H1-28", 400, get .. "X-A: b", "\1c\r\n\r\n" },
  { "H1-28", 400, get .. "X-A: b", "\127c\r\n\r\n" },
  { "H1-29", 400, get .. "X-A: b", "\rc\r\n\r\n" },
  { "H1-29", 400, get .. "X-A", "\rB: c\r\n\r\n" },
  { "H1-29", 400, get .. "X-A: b\r", "\rX-C: d\r\n\r\n" },
  { "H1-29", 400, get .. "X-A: b", "\nX-C: d\r\n\r\n" },
  { "H1-31", 400, get .. "\r", "X\r\n\r\n" },
  { "H1-32", 400, post .. "Transfer-", "\r\nEncoding: chunked\r\n\r\n0\r\n\r\n" },
  { "H1-34", 400, 'G=":<>', "(e) /attack HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-34", 400, "", " /attack HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET ", "! HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET /a", " b HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET /a", "#frag HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET /a", "\tb HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET /a", "\200 HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET /a", "\0 HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET  ", "/a HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET ", "* HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-35", 400, "GET ", "ftp://app/ HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-37", 400, "GET ", "/attack\r\n" },
  { "H1-37", 400, "GET /attack ", "HTTP/1.1\nHost: app\n\n" },
  { "H1-37", 400, "GET /attack ", "HTTP/1.1 \r\nHost: app\r\n\r\n" },
  { "H1-37", 400, "GET /attack ", "http/1.1\r\nHost: app\r\n\r\n" },
  { "H1-37", 505, "GET /attack ", "HTTP/2.0\r\nHost: app\r\n\r\n" },
  { "H1-38", 400, "GET /attack HTTP/1.1\r\n", "X-A: b\r\n\r\n" },
  { "H1-38", 400, get, "Host: app\r\n\r\n" },
  { "H1-38", 400, "GET /attack HTTP/1.1\r\n", "Host: user@app\r\n\r\n" },
  { "H1-38", 400, "GET /attack HTTP/1.1\r\n", "Host: app/other\r\n\r\n" },
  { "H1-38", 400, "GET /attack HTTP/1.1\r\n", "Host: app, other\r\n\r\n" },
  { "H1-38", 400, "GET /attack HTTP/1.1\r\n", "Host: app:x\r\n\r\n" },
  { "H1-38", 400, "GET http://other/ HTTP/1.1\r\n", "Host: app\r\n\r\n" },
  { "H1-38", 400, "GET http://user@app/ HTTP/1.1\r\n", "Host: user@app\r\n\r\n" },
  { "H1-44", 405, "CONNECT app:443 HTTP/1.1\r\n", "Host: app:443\r\n\r\nhello" },
  { "H1-44", 405, "CONNECT app:443 HTTP/1.1\r\n",
    "Host: app:443\r\nContent-Length: 5\r\n\r\nhello" },
}

-- What is wrong with the body; the first part is a head that is fine.
local bodies = {
  { "H1-13", 400, chunked, "0_2e\r\nhello\r\n0\r\n\r\n" },
  { "H1-13", 400, chunked, "0x5\r\nhello\r\n0\r\n\r\n" },
  { "H1-13", 400, chunked, "-0x0\r\nhello\r\n0\r\n\r\n" },
  { "H1-13", 400, chunked, "+5\r\nhello\r\n0\r\n\r\n" },
  { "H1-13", 400, chunked, " 5\r\nhello\r\n0\r\n\r\n" },
  { "H1-13", 400, chunked, "5 \r\nhello\r\n0\r\n\r\n" },
  { "H1-13", 400, chunked, "-5\r\nhello\r\n0\r\n\r\n" },
  { "H1-13", 400, chunked, "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n" },
  { "H1-14", 400, chunked, "\r\nhello\r\n0\r\n\r\n" },
  { "H1-14", 400, chunked, "5\r\nhello\r\n\r\n0\r\n\r\n" },
  { "H1-14", 400, chunked, ";ext\r\nhello\r\n0\r\n\r\n" },
  { "H1-16", 400, chunked, "5\nhello\r\n0\r\n\r\n" },
  { "H1-16", 400, chunked, "5\r\nhello\n0\r\n\r\n" },
  { "H1-16", 400, chunked, "5;a\nhello\r\n0\r\n\r\n" },
  { "H1-16", 400, chunked, "5\r\nhello\r\n0\n\r\n" },
  { "H1-16", 400, chunked, "5\r\nhello\r\n0\r\nX-A: b\n\r\n" },
  { "H1-17", 400, chunked, "5\rXhello\r\n0\r\n\r\n" },
  { "H1-17", 400, chunked, "5;a\rXhello\r\n0\r\n\r\n" },
  { "H1-17", 400, chunked, "5\r\nhello\rX0\r\n\r\n" },
  { "H1-19", 400, chunked, "5;a=" .. ("x"):rep(65536) .. "\r\nhello\r\n0\r\n\r\n" },
  { "H1-19", 400, chunked, "5" .. (";a=b"):rep(16384) .. "\r\nhello\r\n0\r\n\r\n" },
  { "H1-20", 400, chunked, "0\r\nXXGET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n" },
  { "H1-20", 400, chunked, "5\r\nhello\r\n0\r\nXX\r\n\r\n" },
  { "H1-20", 400, chunked, "5\r\nhelloXX0\r\n\r\n" },
  { "H1-20", 400, chunked, "0\r\n\rX" },
  { "H1-22", 400, chunked, "0\r\nX-A : b\r\n\r\n" },
  { "H1-22", 400, chunked, "0\r\nX-A: b\0\r\n\r\n" },
}

describe("a request that can be understood in two ways:", function()
  local program, origin, port

  setup(function()
    origin, port = peer.listen(), http.free_port()
    program = sluice.start { config = { routes = { sluice.route("app", port, origin.port) } } }
  end)

  teardown(function()
    assert.equal(0, program:stop())
    origin:close()
    assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
  end)

  local function connect()
    return assert(peer.connect { port = port })
  end

  local function answer(inner)
    inner:send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    inner:close()
  end

  -- The bytes of every connection that the origin got before a good request of our own, which also
  -- shows that the program goes on.
  local function seen_so_far(taken)
    local client, seen, line = connect(), {}
    client:send("GET /good HTTP/1.1\r\nHost: app\r\n\r\n")
    local inner = taken or origin:accept()
    while line ~= "GET /good HTTP/1.1" do
      local ok, head = pcall(inner.read_head, inner)
      line = ok and head.line
      if line ~= "GET /good HTTP/1.1" then
        table.insert(seen, (ok and head.text .. "\r\n" or "") .. inner:read_all())
        inner:close()
        inner = origin:accept()
      end
    end
    answer(inner)
    assert.equal(200, client:read().status)
    client:close()
    return table.concat(seen)
  end

  local function is_refused(client, status)
    local response = client:read()
    local rest = client:read_all()
    client:close()
    assert.equal(status, response.status)
    assert.equal("close", response.headers.connection)
    assert.equal("", rest)
  end

  local function send_bytes(client, text)
    for i = 1, #text do
      if not client:send(text:sub(i, i)) then
        return -- refused before the end, which is fine
      end
    end
  end

  local function name(row, i)
    return ("%s (%d) %q gives %d"):format(row[1], i, row[4]:sub(1, 40), row[2])
  end

  for i, row in ipairs(heads) do
    it(name(row, i), function()
      local _, status, first, second = unpack(row)
      local whole, parts, bytes = connect(), connect(), connect()
      whole:send(first .. second)
      is_refused(whole, status)
      parts:send(first)
      parts:send(second)
      is_refused(parts, status)
      send_bytes(bytes, first .. second)
      is_refused(bytes, status)
      assert.equal("", seen_so_far())
    end)
  end

  local function is_incomplete(seen)
    assert.is_nil(seen:find("\r\n0\r\n\r\n$"), seen)
  end

  for i, row in ipairs(bodies) do
    it(name(row, i), function()
      local _, status, first, second = unpack(row)
      local whole, parts, bytes = connect(), connect(), connect()
      whole:send(first .. second)
      is_refused(whole, status)
      assert.equal("", seen_so_far())
      parts:send(first)
      local inner = origin:accept() -- the head is on its way
      parts:send(second)
      is_refused(parts, status)
      is_incomplete(seen_so_far(inner))
      send_bytes(bytes, first .. second)
      is_refused(bytes, status)
      is_incomplete(seen_so_far())
    end)
  end

  -- Sends a good request and gives what arrives at the origin.
  local function arriving(text)
    local client = connect()
    client:send(text)
    local inner = origin:accept()
    local request = inner:read()
    answer(inner)
    assert.equal(200, client:read().status)
    client:close()
    return request
  end

  it("H1-22 trailers that frame or route are dropped", function()
    local request = arriving(chunked .. "5\r\nhello\r\n0\r\nContent-Length: 5\r\nHost: x\r\n"
      .. "Authorization: Basic eA==\r\n\r\n")
    assert.equal("hello", request.body)
    assert.equal("app", request.headers.host)
    assert.same({}, request.trailers)
  end)

  it("H1-34 a method in lower case is another method", function()
    local request = arriving("get / HTTP/1.1\r\nHost: app\r\n\r\n")
    assert.equal("get / HTTP/1.1", request.line)
  end)

  it("H1-40 a stray byte behind a chunked request does not hurt the request", function()
    local client = connect()
    client:send(chunked .. "5\r\nhello\r\n0\r\n\r\n\1")
    local inner = origin:accept()
    assert.equal("hello", inner:read().body)
    inner:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert.equal("ok", client:read().body)
    client:send("GET / HTTP/1.1\r\nHost: app\r\n\r\n")
    is_refused(client, 400)
    inner:close()
    assert.equal("", seen_so_far())
  end)

  it("H1-41 the body of a GET is forwarded with its length", function()
    local request = arriving(get .. "Content-Length: 5\r\n\r\nhello")
    assert.equal("5", request.headers["content-length"])
    assert.equal("hello", request.body)
    request = arriving(get .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert.equal("hello", request.body)
  end)

  it("H1-43 Upgrade to h2c is not passed on", function()
    local request = arriving(get .. "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
      .. "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")
    assert.is_nil(request.headers.upgrade)
    assert.is_nil(request.headers["http2-settings"])
    assert.is_nil(request.headers.connection)
    request = arriving(get .. "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"
      .. "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")
    assert.is_nil(request.headers.upgrade)
  end)

  it("hop-by-hop headers and those that Connection names stay here", function()
    local request = arriving(get .. "Connection: X-Secret, keep-alive\r\nX-Secret: 1\r\n"
      .. "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\r\n")
    for _, header in ipairs { "connection", "x-secret", "keep-alive", "proxy-connection", "te" } do
      assert.is_nil(request.headers[header], header)
    end
  end)

  it("what is refused behind a good request on the same connection stops there", function()
    local client = connect()
    client:send("GET / HTTP/1.1\r\nHost: app\r\n\r\n" .. post
      .. "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
      .. "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n")
    local inner = origin:accept()
    assert.equal("GET / HTTP/1.1", inner:read().line)
    inner:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert.equal("ok", client:read().body)
    is_refused(client, 400)
    assert.equal("", (inner:read_all(0)))
    inner:close()
    assert.equal("", seen_so_far())
  end)
end)
