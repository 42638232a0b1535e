-- The client of the tunneling proxy, the real one, with a real server and local servers that do
-- what they are told.

local brickchain = require "support.brickchain"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"

-- SLUICE_TUNNEL_MB=1000 for the size that is talked about.
local megabytes = tonumber(os.getenv("SLUICE_TUNNEL_MB")) or 32

describe("a client of the tunneling proxy", function()
  local port, base, server
  local services = {}

  setup(function()
    port = sluice.free_port()
    base = "http://127.0.0.1:" .. port
    server = brickchain.server(port, { BASE = base, RATE_LIMIT = "0", TIMEOUT = "10" })
  end)

  teardown(function()
    assert.equal(0, server:stop())
    assert.is_nil(server:text("stderr"):match('[^\n]*"level":"error"[^\n]*'))
  end)

  after_each(function()
    for _, service in ipairs(services) do
      brickchain.stop_service(service)
    end
    services = {}
  end)

  -- A client for a local server, and its host name.
  local function serve(target, env)
    local service = brickchain.service(base, target, env)
    table.insert(services, service)
    return brickchain.hostname_of(service), service
  end

  describe("with an ordinary local server", function()
    local origin, origin_port, service, host

    setup(function()
      origin, origin_port = sluice.origin("app")
      service = brickchain.service(base, "http://127.0.0.1:" .. origin_port)
      host = brickchain.hostname_of(service)
    end)

    teardown(function()
      assert.equal(0, brickchain.stop_service(service))
      origin:stop()
    end)

    local function ask(options)
      options.port, options.host = port, host
      return assert(http.request(options))
    end

    it("keeps its key and its name in files for nobody else", function()
      assert.truthy(sluice.read(service.folder .. "/key.pem"):find("BEGIN EC PRIVATE KEY", 1, true))
      assert.equal(('{"hostname":"%s"}'):format(host), sluice.read(service.folder .. "/state"))
      for _, name in ipairs { "key.pem", "state" } do
        local pipe = io.popen(("stat -c %%a %s/%s"):format(service.folder, name))
        assert.equal("600", pipe:read("*l"))
        pipe:close()
      end
    end)

    it("passes requests on as they are, and says who the visitor is", function()
      local response = ask { method = "PATCH", path = "/a%2Fb/../c?x=%20y", body = "hello",
        headers = { ["x-two"] = "2", te = "trailers", ["keep-alive"] = "5" } }
      assert.equal(200, response.status)
      for _, part in ipairs { '"method": "PATCH"', '"path": "/a%2Fb/../c?x=%20y"',
        '"body": "hello"', '"x-two": ["2"]', '"x-forwarded-for": ["127.0.0.1"]',
        '"x-forwarded-proto": ["http"]', ('"x-forwarded-host": ["%s"]'):format(host),
        ('"host": ["127.0.0.1:%d"]'):format(origin_port) } do
        assert.truthy(response.body:find(part, 1, true), part .. " in " .. response.body)
      end
      assert.falsy(response.body:find('"te"', 1, true))
      assert.falsy(response.body:find('"keep-alive"', 1, true))
    end)

    it("keeps statuses", function()
      for _, status in ipairs { 201, 204, 301, 304, 404, 418, 503 } do
        assert.equal(status, ask({ path = "/status/" .. status }).status)
      end
    end)

    it("says the length of what HEAD does not get", function()
      local connection = peer.connect { port = port }
      for _ = 1, 2 do
        connection:send(("HEAD /bytes/12345 HTTP/1.1\r\nHost: %s\r\n\r\n"):format(host))
        local head = {}
        repeat
          head[#head + 1] = connection:read_line()
        until head[#head] == "\r"
        assert.matches("^HTTP/1.1 200", head[1])
        assert.truthy(table.concat(head, "\n"):find("Content-Length: 12345\r", 1, true))
      end
      connection.socket:close()
    end)

    it("has bodies of any length, with equal hashes", function()
      local size = megabytes * 1000000
      local expected = http.request({ port = origin_port, path = "/sha256/" .. size }).body
      local function hash(command)
        local pipe = io.popen(command)
        local text = pipe:read("*a")
        pipe:close()
        return text:match("%x+")
      end
      local url = ("http://127.0.0.1:%d"):format(port)
      local curl = ("curl -sS -H 'Host: %s' "):format(host)
      assert.equal(expected, hash(curl .. url .. "/bytes/" .. size .. " | sha256sum"))
      assert.equal(expected, hash(("curl -sS http://127.0.0.1:%d/bytes/%d | %s -T - %s/upload "
        .. "| sed 's/.*sha256\": \"//'"):format(origin_port, size, curl, url)))
      for _, program in ipairs { server, service } do
        assert.is_true(sluice.is_sanitized or sluice.memory_mib(program) < 100)
      end
    end)
  end)

  describe("with a local server that is led", function()
    local listener, host, service, visitors, inners

    setup(function()
      listener = peer.listen()
      service = brickchain.service(base, "http://127.0.0.1:" .. listener.port,
        { MAX_REQUESTS = "3" })
      host = brickchain.hostname_of(service)
    end)

    teardown(function()
      assert.equal(0, brickchain.stop_service(service))
      listener:close()
    end)

    before_each(function()
      visitors, inners = {}, {}
    end)

    after_each(function()
      for _, one in ipairs(visitors) do
        one.socket:close()
      end
      for _, one in ipairs(inners) do
        one.socket:close()
      end
    end)

    local function visit(text)
      local visitor = peer.connect { port = port }
      visitors[#visitors + 1] = visitor
      visitor:send(("%s\r\nHost: %s\r\nConnection: close\r\n"):format(
        text or "GET / HTTP/1.1", host))
      return visitor
    end

    local function accept()
      local inner = assert(listener:accept(), "nobody came")
      inners[#inners + 1] = inner
      return inner
    end

    local function get()
      local visitor = visit()
      visitor:send "\r\n"
      local inner = accept()
      assert.equal("GET / HTTP/1.1", inner:read().line)
      return visitor, inner
    end

    it("keeps several Set-Cookie, and redirects", function()
      local visitor, inner = get()
      inner:send("HTTP/1.1 302 Found\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        .. "Location: /login?next=%2F\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      local text = visitor:read_all()
      assert.matches("^HTTP/1.1 302", text)
      for _, line in ipairs { "Set-Cookie: a=1", "Set-Cookie: b=2", "Location: /login?next=%2F" } do
        assert.truthy(text:find(line .. "\r\n", 1, true))
      end
    end)

    it("answers 503 when there are too many, and not for long", function()
      local under_way = {}
      for i = 1, 3 do
        under_way[i] = { get() }
      end
      local one_more = visit()
      one_more:send "\r\n"
      assert.matches("^HTTP/1.1 503", (one_more:read_all()))
      for i = 1, 3 do
        under_way[i][2]:send "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert.matches("^HTTP/1.1 200", (under_way[i][1]:read_all()))
      end
      local visitor, inner = get()
      inner:send "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
      assert.matches("^HTTP/1.1 200", (visitor:read_all()))
    end)

    it("passes events on as they come", function()
      local visitor, inner = get()
      inner:send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
      local line
      repeat -- the head comes before there is a body
        line = visitor:read_line()
      until line == "\r"
      for i = 1, 3 do
        inner:send(("data: %d\n\n"):format(i))
        repeat
          line = visitor:read_line()
        until line:find "^data"
        assert.equal("data: " .. i, line)
      end
      inner.socket:close()
      assert.matches("0\r\n\r\n$", (visitor:read_all()))
    end)

    it("lets no answer look complete that broke off", function()
      for _, head in ipairs { "Content-Length: 1000000", "Transfer-Encoding: chunked" } do
        local visitor, inner = get()
        inner:send(("HTTP/1.1 200 OK\r\n%s\r\n\r\n%s"):format(head,
          head:find "chunked" and "5\r\nhello\r\n" or "hello"))
        local text = ""
        repeat
          text = text .. visitor:receive(1)
        until text:find("hello", 1, true)
        inner.socket:close()
        assert.falsy((visitor:read_all()):find("0\r\n\r\n", 1, true))
      end
    end)

    it("says 502 when a short answer broke off", function()
      local visitor, inner = get()
      inner:send "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"
      inner.socket:close()
      local text = visitor:read_all()
      assert.matches("^HTTP/1.1 502", text)
      assert.truthy(text:find("broke off", 1, true))
    end)

    it("ends at the local server when the visitor goes", function()
      local visitor, inner = get() -- before there is an answer: a FIN might be half a goodbye
      visitor.socket:setoption("linger", { on = true, timeout = 0 })
      visitor.socket:close()
      inner:read_all()
      assert.truthy(inner.ended)
      visitor, inner = get() -- in the middle of one
      inner:send "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nhello"
      visitor:read_line()
      visitor.socket:close()
      inner.socket:settimeout(sluice.patience)
      repeat
        local ok = inner:send(("x"):rep(65536))
      until not ok
    end)

    it("ends at the local server when the visitor's request breaks off", function()
      local visitor = visit "POST / HTTP/1.1"
      visitor:send "Content-Length: 100000\r\n\r\nhello"
      local inner = accept()
      repeat
        local line = inner:read_line()
      until line == "\r"
      assert.equal("hello", inner:receive(5))
      visitor.socket:close()
      inner:read_all()
      assert.truthy(inner.ended)
    end)

    it("is as slow as the visitor", function()
      local _, inner = get()
      inner:send "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
      local sent, block = 0, ("x"):rep(65536)
      inner.socket:settimeout(0.5)
      while inner:send(block) do
        sent = sent + #block
        assert.is_true(sent < 200e6)
      end
      assert.is_true(sluice.is_sanitized or sluice.memory_mib(service) < 100)
    end)

    it("makes the visitor as slow as the local server", function()
      local visitor = visit "POST / HTTP/1.1"
      visitor:send "Content-Length: 1000000000\r\n\r\n"
      local _ = accept()
      local sent, block = 0, ("x"):rep(65536)
      visitor.socket:settimeout(0.5)
      while visitor:send(block) do
        sent = sent + #block
        assert.is_true(sent < 200e6)
      end
      assert.is_true(sluice.is_sanitized or sluice.memory_mib(service) < 100)
    end)

    it("passes interim answers over", function()
      local visitor, inner = get()
      inner:send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        .. "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
      local text = visitor:read_all()
      assert.matches("^HTTP/1.1 200", text)
      assert.matches("ok$", text)
    end)

    it("has no answer but 502 for one that makes no sense", function()
      local visitor, inner = get()
      inner:send "SSH-2.0-OpenSSH\r\n"
      assert.matches("^HTTP/1.1 502", (visitor:read_all()))
      visitor, inner = get()
      inner:send "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
      assert.matches("^HTTP/1.1 502", (visitor:read_all()))
    end)
  end)

  it("serves a local server with a certificate of its own", function()
    local certificate = sluice.certificate "localhost"
    local origin, origin_port = sluice.origin("tls", certificate)
    finally(function() origin:stop() end)
    local file = os.tmpname()
    sluice.write(file, certificate.cert)
    local function ask(env)
      local host = serve("https://localhost:" .. origin_port, env)
      return assert(http.request { port = port, host = host, path = "/" })
    end
    local response = ask {}
    assert.equal(502, response.status)
    assert.truthy(response.body:find("certificate", 1, true), response.body)
    assert.equal(200, ask({ LOCAL_CA_FILE = file }).status)
    assert.equal(200, ask({ LOCAL_VERIFY = "false" }).status)
    os.remove(file)
  end)

  it("answers 502 at once while the local server is away, and says so in the log once", function()
    local host, service = serve("http://127.0.0.1:" .. sluice.free_port())
    for _ = 1, 3 do
      local response = http.request { port = port, host = host, path = "/" }
      assert.equal(502, response.status)
      assert.truthy(response.body:find("the local server does not answer", 1, true))
    end
    table.remove(services)
    assert.equal(0, brickchain.stop_service(service))
    local _, count = service:text("stderr"):gsub("does not answer", "")
    assert.equal(1, count)
  end)

  it("serves routes of its own, which nobody else gets to see", function()
    local own_port, path = sluice.free_port(), os.tmpname()
    sluice.write(path, (sluice.read "scripts/brickchain-client.lua"):gsub("own_routes = {}",
      ("own_routes = { { name = 'own', match = { ports = %d }, action = { type = 'reply',"
        .. " statusCode = 200, body = 'own' } } }"):format(own_port)))
    local service = brickchain.service(base, "http://localhost:" .. own_port, nil,
      { script = path })
    table.insert(services, service)
    os.remove(path)
    local host = brickchain.hostname_of(service)
    assert.equal("own", http.request({ port = port, host = host, path = "/" }).body)
    local pipe = io.popen(("ss -tln | grep -c '127.0.0.1:%d '"):format(own_port))
    assert.equal("1", pipe:read("*l"))
    pipe:close()
  end)

  it("stays in the folder that it serves", function()
    local origin, origin_port = sluice.origin("app")
    finally(function() origin:stop() end)
    local host = serve(("http://127.0.0.1:%d/public/"):format(origin_port), { LOCAL_HOST = "a.b" })
    local response = http.request { port = port, host = host, path = "/x" }
    assert.truthy(response.body:find('"path": "/public/x"', 1, true))
    assert.truthy(response.body:find('"host": ["a.b"]', 1, true))
    for _, path in ipairs { "/../secret", "/a/%2e%2E/../../secret" } do
      assert.equal(400, http.request({ port = port, host = host, path = path }).status)
    end
  end)

  it("keeps nothing of visitors who go when they like", function()
    local origin, origin_port = sluice.origin("app")
    finally(function() origin:stop() end)
    local host, service = serve("http://127.0.0.1:" .. origin_port, { MAX_REQUESTS = "20" })
    local visitors = process.start { "python3", "spec/support/brickchain_visitors.py",
      tostring(port), host, sluice.is_sanitized and "120" or "1200" }
    visitors:wait_for("stdout", "^done$", 60)
    visitors:stop()
    local ends = process.now() + sluice.patience
    local status
    repeat -- as many at a time as there may be
      local all = {}
      for i = 1, 20 do
        all[i] = brickchain.visit(port, { host = host, path = "/slow?0.1" })
      end
      status = 200
      for i = 1, 20 do
        status = math.max(status, all[i]:response().status)
      end
    until status == 200 or process.now() > ends
    assert.equal(200, status)
    for _, program in ipairs { server, service } do
      assert.is_true(sluice.is_sanitized or sluice.memory_mib(program) < 60)
    end
    table.remove(services)
    assert.equal(0, brickchain.stop_service(service))
    assert.is_nil(service:text("stderr"):match('[^\n]*"level":"error"[^\n]*'))
  end)

  it("says goodbye when it ends, and its visitors get 502 at once", function()
    local listener = peer.listen()
    finally(function() listener:close() end)
    local service = brickchain.service(base, "http://127.0.0.1:" .. listener.port)
    local host = brickchain.hostname_of(service)
    local visitor = brickchain.visit(port, { host = host, path = "/" })
    local inner = assert(listener:accept())
    inner:read()
    assert.equal(0, brickchain.stop_service(service))
    assert.equal(502, visitor:response().status)
    inner.socket:close()
    assert.equal(502, http.request({ port = port, host = host, path = "/" }).status)
  end)

  it("reaches its server over TLS, if that is the one", function()
    local certificate = sluice.certificate "localhost"
    local path, plain, tls = os.tmpname(), sluice.free_port(), sluice.free_port()
    sluice.write(path, certificate.cert)
    sluice.write(path .. ".key", certificate.key)
    local own_base = "https://localhost:" .. tls
    local own = brickchain.server(plain, { BASE = own_base, TLS_ADDR = "127.0.0.1:" .. tls,
      TLS_CERT = path, TLS_KEY = path .. ".key" })
    local refused = brickchain.service(own_base, "http://127.0.0.1:1")
    local accepted = brickchain.service(own_base, "http://127.0.0.1:1", { CA_FILE = path })
    finally(function()
      brickchain.stop_service(refused)
      brickchain.stop_service(accepted)
      own:stop()
      os.execute(("rm %s %s.key"):format(path, path))
    end)
    assert.truthy(sluice.logged(refused, "cannot register").error:find("certificate", 1, true))
    assert.matches("^https://", sluice.logged(accepted, "registered").url)
  end)

  it("comes back under the same name when the server was away", function()
    local origin, origin_port = sluice.origin("app")
    finally(function() origin:stop() end)
    local own_port = sluice.free_port()
    local own_base = "http://127.0.0.1:" .. own_port
    local env = { BASE = own_base, RATE_LIMIT = "0" }
    local own = brickchain.server(own_port, env)
    local service = brickchain.service(own_base, "http://127.0.0.1:" .. origin_port)
    table.insert(services, service)
    local host = brickchain.hostname_of(service)
    process.kill({ pid = sluice.runtime_of(own) }, 9)
    own:kill(9)
    own:wait()
    sluice.logged(service, "the connection to the server is lost")
    own = brickchain.server(own_port, env)
    assert.equal(host, brickchain.hostname_of(service))
    assert.equal(200, http.request({ port = own_port, host = host, path = "/" }).status)
    own:stop()
  end)

  it("says in the log why it is refused, and how long it waits", function()
    local other = "http://localhost:" .. port
    local service = brickchain.service(other, "http://127.0.0.1:1")
    table.insert(services, service)
    local entry = sluice.logged(service, "cannot register")
    assert.truthy(entry.error:find("refused: Token not for this endpoint", 1, true))
    assert.truthy(entry.error:find("BASE", 1, true))
    assert.is_true(entry.again_in >= 0.5 and entry.again_in <= 1.5)
  end)
end)
