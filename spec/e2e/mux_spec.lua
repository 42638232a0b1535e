-- Messages over HTTP/2 and HTTP/3, which come out the same: heads, bodies, trailers, WebSockets,
-- hooks, and what goes wrong on one stream while its connection goes on.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local process = require "support.process"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"

for _, version in ipairs(mux.versions) do
  local errors = mux.errors[version]

  describe("over " .. version, function()
    local program, origin, echo, listener, client

    setup(function()
      local port = http.free_port()
      local origin_port
      origin, origin_port = sluice.origin("app")
      listener = peer.listen()
      echo = process.start { "python3", "spec/support/websocket_peer.py", "serve" }
      local echo_port = tonumber((echo:wait_for("stdout", "^(%d+) ", sluice.patience)))
      program = mux.start { routes = {
        mux.route("app", port, origin_port, "app.example"),
        mux.route("ws", port, echo_port, "app.example", { path = "/ws*" }),
        mux.route("here", port, listener.port, "app.example", { path = "/here*" }),
        mux.route("down", port, http.free_port(), "app.example", { path = "/down" }),
        mux.route("moved", port, 1, "app.example", { path = "/moved",
          action = { type = "redirect", location = "https://{domain}/new{path}",
            statusCode = 308 } }),
        mux.route("other", port, origin_port, "other.example"),
      } }
      program.port = port
    end)

    teardown(function()
      mux.stop(program)
      listener:close()
      origin:stop()
      echo:stop()
    end)

    local function connect()
      return mux.connect(version, { port = program.port, host = "app.example" })
    end

    before_each(function()
      client = connect()
    end)

    after_each(function()
      if client then
        client:close()
      end
    end)

    local function ask(options)
      local response = client:ask(options)
      return response.status, response
    end

    -- What the origin was asked.
    local function asked(options)
      local status, response = ask(options)
      assert.equal(200, status, response.body)
      return dkjson.decode(response.body), response
    end

    it("a request reaches an HTTP/1.1 target as it is", function()
      local said = asked { path = "/a%2Fb/../c?d=e&f", headers = { { "cookie", "a=b" },
        { "cookie", "c=d" }, { "x-odd_name.1", "a" }, { "x-empty", "" }, { "te", "trailers" } } }
      assert.same({ "GET", "/a%2Fb/../c?d=e&f", "app" }, { said.method, said.path, said.origin })
      assert.same({ "app.example" }, said.headers.host)
      assert.same({ "a=b; c=d" }, said.headers.cookie) -- one field, as HTTP/1.1 wants it
      assert.same({ "a" }, said.headers["x-odd_name.1"])
      assert.same({ "" }, said.headers["x-empty"])
      assert.same({ "https" }, said.headers["x-forwarded-proto"])
      assert.same({ "127.0.0.1" }, said.headers["x-forwarded-for"])
      for _, name in ipairs { "te", "connection", "content-length", "transfer-encoding" } do
        assert.is_nil(said.headers[name], name)
      end
    end)

    it("a response has lower-case names and nothing that belongs to HTTP/1.1", function()
      local id = client:request { path = "/here" }
      local inner = assert(listener:accept())
      inner:read_head()
      inner:send("HTTP/1.1 200 OK\r\nX-Upper: A\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
        .. "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
      inner:close()
      local response = client:response(id)
      assert.equal("hello", response.body)
      assert.equal("A", response.headers["x-upper"])
      assert.equal("a, b", response.headers["set-cookie"])
      for _, field in ipairs(response.list) do
        assert.equal(field[1]:lower(), field[1])
      end
      for _, name in ipairs { "connection", "x-hop", "keep-alive", "transfer-encoding" } do
        assert.is_nil(response.headers[name], name)
      end
    end)

    it("the answer to HEAD has its length and no body", function()
      local status, response = ask { method = "HEAD", path = "/bytes/12345" }
      assert.same({ 200, "12345", 0 }, { status, response.headers["content-length"],
        response.size })
    end)

    it("204 and 304 have no body", function()
      for _, code in ipairs { 204, 304 } do
        local status, response = ask { path = "/status/" .. code }
        assert.same({ code, 0 }, { status, response.size })
        assert.is_nil(response.headers["transfer-encoding"])
      end
    end)

    it("a redirect, and what fails, is answered", function()
      local status, response = ask { path = "/moved?a=b" }
      assert.same({ 308, "https://app.example/new/moved?a=b" }, { status,
        response.headers.location })
      assert.equal(502, (ask { path = "/down" }))
      assert.equal(503, (ask { path = "/status/503" }))
    end)

    it("trailers of a response go through, those of a request are no harm", function()
      local _, response = ask { path = "/trailers" }
      assert.equal("hello", response.body)
      assert.same({ { "x-checksum", "1" } }, response.trailers)
      local id = client:request { method = "POST", path = "/upload", open = true }
      client:send(id, "hello")
      client:tell("trailers", { id = id, headers = { { "x-sum", "2" } } })
      assert.equal(5, dkjson.decode(client:response(id).body).size)
    end)

    it("a body with a length has it at the target, one without is chunked", function()
      local said = asked { method = "POST", path = "/upload", size = 1000000,
        headers = { { "content-length", "1000000" } } }
      assert.equal(1000000, said.size)
      assert.same({ "1000000" }, said.headers["content-length"])
      assert.is_nil(said.headers["transfer-encoding"])
      local hash = said.sha256
      said = asked { method = "POST", path = "/upload", size = 1000000 }
      assert.same({ "chunked" }, said.headers["transfer-encoding"])
      assert.is_nil(said.headers["content-length"])
      assert.equal(hash, said.sha256)
      assert.equal(hash, (select(2, ask { path = "/sha256/1000000" })).body)
    end)

    it("a body that is not as long as it says is refused", function()
      for _, length in ipairs { "4", "6" } do
        local id = client:request { method = "POST", path = "/upload", body = "hello",
          headers = { { "content-length", length } } }
        if version == "h2" then
          assert.equal(errors.protocol, client:wait("reset", id).code)
          assert.equal(200, (ask {}))
        else -- which may end the connection, too (RFC 9114, 8)
          assert.equal(errors.protocol, client:wait("closed").code)
          client:close()
          client = connect()
        end
      end
      assert.equal(200, (ask {}))
    end)

    it("a long response comes whole, in chunks or with a length", function()
      local _, hash = ask { path = "/sha256/5000000" }
      for _, path in ipairs { "/bytes/5000000", "/bytes/5000000?chunked" } do
        local _, response = ask { path = path }
        assert.same({ 5000000, hash.body }, { response.size, response.sha256 })
      end
    end)

    it("a hundred requests at once get their own answers", function()
      local ids = {}
      for i = 1, 100 do
        ids[i] = client:request { path = "/slow?0.05", headers = { { "x-number", tostring(i) } } }
      end
      for i = 100, 1, -1 do
        local said = dkjson.decode(client:response(ids[i]).body)
        assert.same({ tostring(i) }, said.headers["x-number"])
      end
    end)

    it("hooks see and change what they do with HTTP/1.1", function()
      local said, response = asked { path = "/edit", headers = { { "cookie", "a=b" } } }
      assert.equal("/other?q=1", said.path)
      assert.same({ "inner.example:81" }, said.headers.host)
      assert.is_nil(said.headers.cookie)
      assert.same({ errors.number }, said.headers["x-version"])
      assert.equal(errors.number, response.headers["x-seen-version"])
      local done = sluice.logged(program, "done")
      while done.path ~= "/other" and done.path ~= "/edit" do
        done = sluice.logged(program, "done")
      end
      assert.same({ errors.number, 200 }, { done.version, done.status })
      said = asked { path = "/wait" }
      assert.same({ "yes" }, said.headers["x-waited"])
      said = asked { method = "POST", path = "/body", body = ("x"):rep(60000) }
      assert.same({ "60000" }, said.headers["x-body-size"])
      assert.equal(60000, #said.body)
    end)

    it("hooks answer by themselves", function()
      local info = asked { path = "/info?x=y" }
      assert.same({ "GET", "/info", "x=y", "app.example", "https", errors.number, "TLSv1.3",
        "app.example", "127.0.0.1", errors.transport }, { info.method, info.path,
        info.query, info.host, info.scheme, info.version, info.tls, info.sni, info.ip,
        info.transport })
      local status, response = ask { path = "/deny" }
      assert.same({ 403, "no\n" }, { status, response.body })
      status, response = ask { path = "/reply/long" }
      assert.same({ 200, 5000000 }, { status, response.size })
      status = ask { method = "POST", path = "/deny", size = 300000 } -- unread, and no harm done
      assert.equal(403, status)
      assert.equal(200, (ask {}))
    end)

    it("421 is for a host that the handshake was not for", function()
      assert.equal(421, (ask { host = "other.example" }))
      assert.equal(200, (ask { host = "APP.example" }))
      assert.equal(200, (ask { host = "app.example:443" }))
    end)

    it("a response that is cut short is reset, and the connection goes on", function()
      local id = client:request { path = "/here" }
      local inner = assert(listener:accept())
      inner:read_head()
      inner:send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
      client:wait("head", id)
      inner:close()
      assert.equal(errors.internal, client:wait("reset", id).code)
      assert.equal(200, (ask {}))
    end)

    it("a client that resets a request stops it at the target", function()
      local id = client:request { path = "/here" }
      local inner = assert(listener:accept())
      inner:read_head()
      inner:send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nhello")
      client:wait("head", id)
      client:cancel(id)
      local _, how = inner:read_all()
      assert.is_not.equal("timeout", how)
      assert.equal(200, (ask {}))
      inner:close()
    end)

    it("a response goes on while another one waits", function()
      local slow = client:request { path = "/here" }
      local inner = assert(listener:accept())
      inner:read_head()
      inner:send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
      client:wait("head", slow)
      assert.equal(200, (ask { path = "/bytes/1000000" }))
      inner:send("llo")
      assert.equal("hello", client:response(slow).body)
      inner:close()
    end)

    describe("a WebSocket", function()
      local function open(path, headers)
        return client:request { method = "CONNECT", protocol = "websocket", path = path,
          open = true, live = true,
          headers = headers or { { "sec-websocket-version", "13" } } }
      end

      -- The next n bytes that come on the stream.
      local function receive(id, n)
        local bytes = ""
        while #bytes < n do
          bytes = bytes .. client:wait("data", id).bytes
        end
        return bytes
      end

      it("goes through to an HTTP/1.1 target", function()
        local id = open "/ws"
        local head = client:wait("head", id)
        assert.equal(200, head.status)
        assert.is_nil(head.headers["sec-websocket-accept"])
        assert.is_nil(head.headers.upgrade)
        for _, size in ipairs { 5, 200, 60000 } do
          local text = ("x"):rep(size)
          client:send(id, raw_websocket.frame(text, { mask = true }))
          local expected = raw_websocket.frame(text)
          assert.is_true(receive(id, #expected) == expected)
        end
        client:send(id, raw_websocket.frame("\3\232", { opcode = 8, mask = true }))
        assert.equal("\136\2\3\232", receive(id, 4))
        client:send(id, "", true)
        client:response(id)
        assert.equal(200, (ask {}))
      end)

      it("is one of many streams", function()
        local ids = {}
        for i = 1, 20 do
          ids[i] = open "/ws"
        end
        for i = 1, 20 do
          assert.equal(200, client:wait("head", ids[i]).status)
          client:send(ids[i], raw_websocket.frame("number " .. i, { mask = true }))
        end
        assert.equal(200, (ask { path = "/bytes/1000000" }))
        for i = 20, 1, -1 do
          local expected = raw_websocket.frame("number " .. i)
          assert.equal(expected, receive(ids[i], #expected))
        end
      end)

      it("H2-28 of an unknown version gets 400", function()
        local id = open("/ws", { { "sec-websocket-version", "12" } })
        assert.equal(400, client:wait("head", id).status)
        assert.equal(200, (ask {}))
      end)

      it("that the target refuses is refused", function()
        local id = open "/down"
        assert.equal(502, client:wait("head", id).status)
        assert.equal(200, (ask {}))
      end)
    end)
  end)
end
