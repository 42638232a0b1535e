-- What HTTP looks like on the other side of the proxy: bodies, framing, connections, headers,
-- failures. The origin is this spec.

local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local sluice = require "support.sluice"

local crlf = "\r\n"

-- Text in which every part differs from the next.
local function long_text(n)
  local lines, size = {}, 0
  while size < n do
    local line = ("%d bytes came before this line\n"):format(size)
    size = size + #line
    table.insert(lines, line)
  end
  return table.concat(lines):sub(1, n)
end

local function chunked(text, size)
  local parts = {}
  for i = 1, #text, size do
    local part = text:sub(i, i + size - 1)
    table.insert(parts, ("%x\r\n%s\r\n"):format(#part, part))
  end
  return table.concat(parts) .. "0\r\n\r\n"
end

describe("the proxy", function()
  local program, origin, port, open

  before_each(function()
    origin, port, open = peer.listen(), http.free_port(), {}
  end)

  after_each(function()
    for _, connection in ipairs(open) do
      connection:close()
    end
    origin:close()
    assert.equal(0, program:stop())
    assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
  end)

  local function start(changes, limits)
    program = sluice.start { workers = 1, config = { limits = limits,
      routes = { sluice.route("app", port, origin.port, changes) } } }
  end

  local function connect()
    local client = assert(peer.connect { port = port })
    table.insert(open, client)
    return client
  end

  local function accept()
    local inner = assert(origin:accept(), "the origin was not asked")
    table.insert(open, inner)
    return inner
  end

  local function request(line, headers, body)
    return ("%s HTTP/1.1\r\nHost: app\r\n%s\r\n%s"):format(line, headers or "", body or "")
  end

  local function reply(headers, body)
    return ("HTTP/1.1 200 OK\r\n%s\r\n%s"):format(headers, body or "")
  end

  local ok = reply("Content-Length: 2\r\n", "ok")

  -- Sends a request and gives both ends and the head as the origin sees it.
  local function ask(text)
    local client = connect()
    client:send(text)
    local inner = accept()
    return client, inner, inner:read_head()
  end

  describe("streams", function()
    local size = 20 * 1024 * 1024
    local text = long_text(size)

    it("a request with a length", function()
      start()
      local client, inner, head = ask(request("POST /", "Content-Length: " .. size .. crlf))
      assert.equal(tostring(size), head.headers["content-length"])
      assert.is_true(client:carry(text, inner) == text)
      inner:send(ok)
      assert.equal("ok", client:read().body)
    end)

    it("a request without one", function()
      start()
      local client, inner, head = ask(request("POST /", "Transfer-Encoding: chunked\r\n"))
      assert.equal("chunked", head.headers["transfer-encoding"])
      client:send(("%x\r\n%s\r\n0\r\n\r\n"):format(5, "hello"))
      inner.pending = head.text .. crlf .. inner.pending
      assert.equal("hello", inner:read().body)
      inner:send(ok)
      assert.equal("ok", client:read().body)
    end)

    it("a response with a length", function()
      start()
      local client, inner = ask(request("GET /"))
      inner:send(reply("Content-Length: " .. size .. crlf))
      assert.equal(tostring(size), client:read_head().headers["content-length"])
      assert.is_true(inner:carry(text, client) == text)
      assert.is_true(client:is_quiet())
    end)

    it("a response in chunks", function()
      start()
      local client, inner = ask(request("GET /"))
      local wire = chunked(text:sub(1, 1000000), 70000)
      inner:send(reply("Transfer-Encoding: chunked\r\n") .. wire)
      local response = client:read()
      assert.equal("chunked", response.headers["transfer-encoding"])
      assert.is_true(response.body == text:sub(1, 1000000))
      assert.is_true(client:is_quiet())
    end)

    it("a response that ends with its connection", function()
      start()
      local client, inner = ask(request("GET /"))
      inner:send(reply("", "hello, "))
      local head = client:read_head()
      assert.equal("chunked", head.headers["transfer-encoding"])
      inner:send("world")
      inner:close()
      client.pending = head.text .. crlf .. client.pending
      assert.equal("hello, world", client:read().body)
      assert.is_true(client:is_quiet()) -- it knows the end and is kept
    end)

    it("both ways at a time", function()
      start()
      local client, inner = ask(request("POST /", "Content-Length: 6\r\n", "abc"))
      assert.equal("abc", inner:receive(3))
      inner:send(reply("Content-Length: 6\r\n", "uvw"))
      client:read_head()
      assert.equal("uvw", client:receive(3))
      client:send("def")
      assert.equal("def", inner:receive(3))
      inner:send("xyz")
      assert.equal("xyz", client:receive(3))
    end)

    it("over TLS", function()
      local name = "a.example"
      local child, origin_port = sluice.origin("app")
      finally(function() child:stop() end)
      local route = sluice.route("app", port, origin_port)
      route.action.tls = { mode = "terminate", certificate = sluice.certificate(name) }
      program = sluice.start { config = { routes = { route } } }
      local body = text:sub(1, 3 * 1024 * 1024)
      local response = http.request { port = port, tls = true, host = name, method = "POST",
        body = body }
      assert.is_true(dkjson.decode(response.body).body == body)
    end)
  end)

  describe("keeps connections", function()
    it("on both sides", function()
      start()
      local client, inner = ask(request("GET /0"))
      inner:send(ok)
      assert.equal("ok", client:read().body)
      for i = 1, 5 do
        client:send(request("GET /" .. i))
        assert.equal("GET /" .. i .. " HTTP/1.1", inner:read().line) -- the same connection
        inner:send(ok)
        assert.equal("ok", client:read().body)
      end
    end)

    it("to the target for the next client", function()
      start()
      local client, inner = ask(request("GET /1", "Connection: close\r\n"))
      inner:send(ok)
      assert.equal("close", client:read().headers.connection)
      assert.equal("closed", select(2, client:read_all()))
      connect():send(request("GET /2"))
      assert.equal("GET /2 HTTP/1.1", inner:read().line)
    end)

    it("and answers requests that were sent at once in their order", function()
      start()
      local client = connect()
      client:send(request("GET /1") .. request("POST /2", "Content-Length: 5\r\n", "hello")
        .. request("GET /3"))
      local inner = accept()
      for i, body in ipairs { "", "hello", "" } do
        local asked = inner:read()
        assert.matches("^%u+ /" .. i .. " ", asked.line)
        assert.equal(body, asked.body)
        inner:send(reply("Content-Length: 1\r\n", tostring(i)))
      end
      for i = 1, 3 do
        assert.equal(tostring(i), client:read().body)
      end
    end)

    it("and tries again on a new one when the target has closed a kept one", function()
      start()
      local client, inner = ask(request("GET /1"))
      inner:send(ok)
      client:read()
      client:send(request("GET /2"))
      inner:read()
      inner:close() -- without an answer
      inner = accept()
      assert.equal("GET /2 HTTP/1.1", inner:read().line)
      inner:send(ok)
      assert.equal(200, client:read().status)
    end)

    it("but sends nothing twice that might do harm", function()
      start()
      local client, inner = ask(request("GET /1"))
      inner:send(ok)
      client:read()
      client:send(request("POST /2", "Content-Length: 2\r\n", "hi"))
      inner:read()
      inner:close()
      assert.equal(502, client:read().status)
      assert.is_nil(origin:accept(0))
    end)

    it("not when the target says so", function()
      start()
      local client, inner = ask(request("GET /1"))
      inner:send(reply("Connection: close\r\nContent-Length: 2\r\n", "ok"))
      assert.is_nil(client:read().headers.connection) -- that was between the two of them
      client:send(request("GET /2"))
      assert.equal("GET /2 HTTP/1.1", accept():read().line)
    end)
  end)

  describe("serves a client of HTTP/1.0", function()
    it("and closes behind the answer", function()
      start()
      local client, inner, head = ask("GET / HTTP/1.0\r\n\r\n")
      assert.equal("GET / HTTP/1.1", head.line)
      assert.equal("127.0.0.1:" .. origin.port, head.headers.host)
      inner:send(reply("Transfer-Encoding: chunked\r\n", chunked("hello", 2)))
      local response = client:read()
      assert.is_nil(response.headers["transfer-encoding"])
      assert.equal("hello", response.body)
    end)

    it("and keeps the connection when it asks for that", function()
      start()
      local client, inner = ask("GET / HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\n\r\n")
      inner:send(ok)
      local response = client:read()
      assert.equal("keep-alive", response.headers.connection)
      client:send("GET /2 HTTP/1.0\r\nHost: app\r\n\r\n")
      assert.equal("GET /2 HTTP/1.1", inner:read().line)
    end)

    it("without sending it 100", function()
      start()
      local client, inner = ask("POST / HTTP/1.0\r\nHost: app\r\nExpect: 100-continue\r\n"
        .. "Content-Length: 2\r\n\r\nhi")
      inner:send("HTTP/1.1 100 Continue\r\n\r\n" .. ok)
      assert.equal(200, client:read().status)
    end)
  end)

  describe("relays", function()
    it("100 Continue from the target", function()
      start()
      local client, inner, head = ask(request("POST /",
        "Expect: 100-continue\r\nContent-Length: 5\r\n"))
      assert.equal("100-continue", head.headers.expect)
      assert.is_true(client:is_quiet())
      inner:send("HTTP/1.1 100 Continue\r\n\r\n")
      assert.equal(100, client:read().status)
      client:send("hello")
      assert.equal("hello", inner:receive(5))
      inner:send(ok)
      assert.equal(200, client:read().status)
    end)

    it("a refusal in place of it", function()
      start()
      local client, inner = ask(request("POST /",
        "Expect: 100-continue\r\nContent-Length: 5\r\n"))
      inner:send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
      assert.equal(417, client:read().status)
    end)

    it("early hints", function()
      start()
      local client, inner = ask(request("GET /"))
      inner:send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" .. ok)
      local hints = client:read()
      assert.equal(103, hints.status)
      assert.equal("</a.css>; rel=preload", hints.headers.link)
      assert.equal(200, client:read().status)
    end)

    it("trailers of a response", function()
      start()
      local client, inner = ask(request("GET /"))
      inner:send(reply("Transfer-Encoding: chunked\r\n",
        "5\r\nhello\r\n0\r\nX-Checksum: 1\r\nContent-Length: 3\r\n\r\n"))
      local response = client:read()
      assert.equal("hello", response.body)
      assert.same({ ["x-checksum"] = "1" }, response.trailers)
    end)

    it("the answer to HEAD with its length and without a body", function()
      start()
      local client, inner = ask(request("HEAD /"))
      inner:send(reply("Content-Length: 12345\r\n"))
      assert.equal("12345", client:read("HEAD").headers["content-length"])
      client:send(request("GET /2"))
      assert.equal("GET /2 HTTP/1.1", inner:read().line)
      inner:send(ok)
      assert.equal("ok", client:read().body)
    end)

    it("204 and 304 without a body", function()
      start()
      local client, inner = ask(request("GET /1"))
      inner:send("HTTP/1.1 204 No Content\r\n\r\n")
      local response = client:read()
      assert.equal(204, response.status)
      assert.is_nil(response.headers["content-length"])
      assert.is_nil(response.headers["transfer-encoding"])
      client:send(request("GET /2"))
      inner:read()
      inner:send("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n")
      response = client:read()
      assert.equal(304, response.status)
      assert.equal('"x"', response.headers.etag)
      client:send(request("GET /3"))
      inner:read()
      inner:send(ok)
      assert.equal("ok", client:read().body)
    end)

    it("an answer that comes before the whole request", function()
      start()
      local client, inner = ask(request("POST /", "Content-Length: 1000\r\n", "abc"))
      inner:send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
      assert.equal(413, client:read().status)
      client:send(("x"):rep(997)) -- what is left is swallowed
      client:send(request("GET /2"))
      local again = accept()
      assert.equal("GET /2 HTTP/1.1", again:read().line)
      again:send(ok)
      assert.equal("ok", client:read().body)
    end)

    it("target and headers as they are", function()
      start()
      local target = "/a%2Fb/../c//d;e=f?g=h&i=%00&j=k+l?m='"
      local _, inner, head = ask("PURGE " .. target .. " HTTP/1.1\r\nHost: app:8080\r\n"
        .. "X-Odd_Name.1: a\r\nX-Empty:\r\nX-Latin: \228\246\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n")
      assert.equal("PURGE " .. target .. " HTTP/1.1", head.line)
      assert.equal("app:8080", head.headers.host)
      assert.equal("a", head.headers["x-odd_name.1"])
      assert.equal("", head.headers["x-empty"])
      assert.equal("\228\246", head.headers["x-latin"])
      assert.equal("a=b, c=d", head.headers.cookie) -- two lines, joined by our reader
      inner:send(ok)
    end)

    it("a target in absolute form as a path", function()
      start()
      local _, _, head = ask("GET http://app/x?y HTTP/1.1\r\nHost: app\r\n\r\n")
      assert.equal("GET /x?y HTTP/1.1", head.line)
      assert.equal("app", head.headers.host)
    end)
  end)

  describe("tells the target who asks", function()
    local claims = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n"
      .. "X-Forwarded-Host: evil\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n"
      .. "X_Forwarded_For: 9.9.9.9\r\nX-Forwarded-Port: 1\r\nX_Real-IP: 9.9.9.9\r\n"

    it("and not what strangers claim", function()
      start()
      local _, _, head = ask(request("GET /", claims))
      assert.equal("127.0.0.1", head.headers["x-forwarded-for"])
      assert.equal("http", head.headers["x-forwarded-proto"])
      assert.equal("app", head.headers["x-forwarded-host"])
      assert.equal("127.0.0.1", head.headers["x-real-ip"])
      for _, name in ipairs { "forwarded", "x_forwarded_for", "x-forwarded-port", "x_real-ip" } do
        assert.is_nil(head.headers[name], name)
      end
    end)

    it("and adds to what a proxy says that is trusted", function()
      start(nil, { proxy_ips = { "127.0.0.0/8" } })
      local _, _, head = ask(request("GET /", claims))
      assert.equal("9.9.9.9, 127.0.0.1", head.headers["x-forwarded-for"])
      assert.equal("https", head.headers["x-forwarded-proto"])
      assert.equal("evil", head.headers["x-forwarded-host"])
    end)
  end)

  describe("when something fails, says so:", function()
    local function status_of(headers)
      local client = connect()
      client:send(request("GET /", headers))
      local response = client:read()
      return response.status, response
    end

    it("502 when nobody listens", function()
      start()
      origin:close()
      local status, response = status_of()
      assert.equal(502, status)
      assert.equal("application/json", response.headers["content-type"])
      assert.same({ error = "Bad Gateway", status = 502 }, dkjson.decode(response.body))
    end)

    it("as text for a browser", function()
      start()
      origin:close()
      local _, response = status_of "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"
      assert.equal("text/plain", response.headers["content-type"])
      assert.equal("502 Bad Gateway\n", response.body)
      _, response = status_of "Accept: application/json, text/plain\r\n"
      assert.equal("application/json", response.headers["content-type"])
    end)

    it("503 when the route is full", function()
      start { security = { maxConnections = 1 } }
      local first = connect()
      first:send(request("GET /"))
      accept()
      assert.equal(503, (status_of()))
    end)

    it("504 when the target does not answer", function()
      start(nil, { response_timeout = 200 })
      assert.equal(504, (status_of()))
    end)

    it("502 when what comes back is no HTTP", function()
      start()
      for _, bytes in ipairs { "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", "HTTP/1.1 200 OK\r\nX-A: " .. ("a"):rep(100000),
        reply("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        reply("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        reply("X-A: b\0c\r\nContent-Length: 0\r\n"), reply("X-A: b\r\n c\r\nContent-Length: 0\r\n"),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "" } do
        local client, inner = ask(request("GET /"))
        inner:send(bytes)
        if bytes == "" then
          inner:close()
        end
        assert.equal(502, client:read().status, bytes)
      end
    end)

    it("the next target is tried, also with a body", function()
      local nobody = http.free_port()
      start { action = { type = "forward", targets = { { host = "127.0.0.1", port = nobody,
        priority = 10 }, { host = "127.0.0.1", port = origin.port } } } }
      local client = connect()
      client:send(request("POST /", "Content-Length: 5\r\n", "hello"))
      local inner = accept()
      assert.equal("hello", inner:read().body)
      inner:send(ok)
      assert.equal(200, client:read().status)
      local line = sluice.logged(program, "target failed")
      assert.equal("127.0.0.1:" .. nobody, line.target)
      assert.equal("connecting", line["while"])
    end)

    it("a reset when the response is cut short", function()
      start()
      for _, headers in ipairs { "Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n" } do
        local client, inner = ask(request("GET /"))
        inner:send(reply(headers, "5\r\nhello\r\n"))
        client:read_head()
        inner:close()
        local _, how = client:read_all()
        assert.equal("reset", how)
      end
    end)

    it("and a target that is slow with its body is given up", function()
      start(nil, { response_body_timeout = 300 })
      local client, inner = ask(request("GET /"))
      inner:send(reply("Content-Length: 10\r\n", "hello"))
      client:read_head()
      assert.equal("reset", select(2, client:read_all()))
      assert.is_not.equal("timeout", select(2, inner:read_all()))
    end)

    it("to the target when the client has gone", function()
      start()
      local client, inner = ask(request("GET /"))
      inner:send(reply("Content-Length: 1000000000\r\n", "hello"))
      client:read_head()
      client:reset()
      local _, how = inner:read_all()
      assert.is_not.equal("timeout", how)
    end)
  end)

  it("redirects and replies by itself", function()
    local routes = {
      { name = "reply", match = { ports = port, path = "/ping" }, action = { type = "reply",
        statusCode = 201, body = "pong", contentType = "text/x" } },
      { name = "redirect", match = { ports = port }, action = { type = "redirect",
        statusCode = 308, location = "https://{domain}:8443{path}" } },
    }
    program = sluice.start { config = { routes = routes } }
    local client = connect()
    client:send(request("POST /ping", "Content-Length: 5\r\n", "hello"))
    local response = client:read()
    assert.same({ 201, "pong", "text/x" },
      { response.status, response.body, response.headers["content-type"] })
    client:send(request("GET /a/b?c=d"))
    response = client:read()
    assert.same({ 308, "https://app:8443/a/b?c=d" }, { response.status,
      response.headers.location })
  end)
end)
