-- Each key of a route that docs/standalone.md promises, seen from outside.

local dkjson = require "dkjson"
local coretraffic = require "support.coretraffic"
local http = require "support.http"
local sluice = require "support.sluice"
local socket = require "socket"

describe("routes", function()
  local origins, ports, ingress, port

  setup(function()
    ingress, origins, ports = coretraffic.start {}, {}, {}
    for i, name in ipairs { "first", "second" } do
      origins[i], ports[i] = sluice.origin(name)
    end
    origins[3], ports[3] = sluice.origin("secure", sluice.certificate("inner.example"))
  end)

  teardown(function()
    assert.equal(0, ingress:stop())
    for _, origin in ipairs(origins) do
      origin:stop()
    end
  end)

  before_each(function()
    port = sluice.free_port()
  end)

  local function publish(routes)
    local response, body = ingress:ask("PUT", "/routes", { body = routes })
    assert.equal(200, response.status, body.error)
  end

  local function to(i)
    return { host = "127.0.0.1", port = ports[i] }
  end

  -- One route on the port, with an action that forwards to the first origin unless told otherwise.
  local function with_action(action, changes)
    action.type = "forward"
    action.targets = action.targets or { to(1) }
    local route = { name = "app", match = { ports = port }, action = action }
    for key, value in pairs(changes or {}) do
      route[key] = value
    end
    publish { route }
  end

  local function get(options)
    options = options or {}
    options.port = options.port or port
    local response, err = http.request(options)
    return response, response and dkjson.decode(response.body) or err
  end

  local function status(options)
    local response = get(options)
    return response and response.status
  end

  -- Which origins answer, in `n` requests.
  local function answering(n)
    local seen = {}
    for _ = 1, n do
      local origin = select(2, get()).origin
      seen[origin] = (seen[origin] or 0) + 1
    end
    return seen
  end

  -- The certificate that is shown for a name.
  local function shown_certificate(name)
    local connection = assert(http.connect { port = port, tls = true, host = name })
    local common_name
    for _, part in ipairs(connection:getpeercertificate():subject()) do
      common_name = part.name == "commonName" and part.value or common_name
    end
    connection:close()
    return common_name
  end

  -- A target in this spec: sends a request through the proxy and returns what arrived here.
  local function arriving(listener, request)
    local client = assert(http.connect { port = port })
    client:send(request)
    listener:settimeout(10)
    local inner = assert(listener:accept())
    inner:settimeout(10)
    local line = assert(inner:receive("*l"))
    inner:close()
    client:close()
    return line
  end

  describe("match", function()
    it("by port ranges", function()
      publish { { match = { ports = { { from = port, to = port } } },
        action = { type = "forward", targets = { to(1) } } } }
      assert.equal(200, status())
    end)

    it("by client address", function()
      with_action({}, { match = { ports = port, clientIp = { "127.0.0.0/8" } } })
      assert.equal(200, status())
      with_action({}, { match = { ports = port, clientIp = { "10.0.0.0/8" } } })
      assert.equal(404, status())
    end)

    it("by headers", function()
      with_action({}, { match = { ports = port, headers = { ["X-Beta"] = "yes" } } })
      assert.equal(200, status { headers = { ["x-beta"] = "YES" } })
      assert.equal(404, status { headers = { ["x-beta"] = "no" } })
      assert.equal(404, status())
    end)

    it("by domains with stars", function()
      with_action({}, { match = { ports = port, domains = { "*.Example.com", "b.org" } } })
      assert.equal(200, status { host = "a.b.example.com" })
      assert.equal(200, status { host = "B.ORG." })
      assert.equal(404, status { host = "example.com" })
    end)

    it("raw TCP", function()
      with_action({}, { match = { ports = port, protocol = "tcp" } })
      local _, seen = get { path = "/raw" }
      assert.equal("/raw", seen.path)
      assert.is_nil(seen.headers["x-forwarded-for"])
    end)
  end)

  describe("targets", function()
    it("take turns", function()
      with_action { targets = { to(1), to(2) } }
      assert.same({ first = 4, second = 4 }, answering(8))
    end)

    it("are skipped when they refuse", function()
      with_action { targets = { { host = "127.0.0.1", port = sluice.free_port() }, to(2) } }
      assert.same({ second = 6 }, answering(6))
    end)

    it("count by weight", function()
      local heavy = to(1)
      heavy.weight = 3
      with_action { targets = { heavy, to(2) } }
      assert.same({ first = 6, second = 2 }, answering(8))
    end)

    it("stick to a visitor with ip-hash", function()
      with_action { targets = { to(1), to(2) }, loadBalancing = { algorithm = "ip-hash" } }
      local seen = answering(6)
      assert.equal(6, seen.first or seen.second)
    end)

    it("are chosen by priority, path and method", function()
      local api = to(2)
      api.match = { path = "/api/*", method = { "POST" } }
      api.priority = 10
      with_action { targets = { to(1), api } }
      assert.equal("second", select(2, get { path = "/api/x", method = "POST", body = "" }).origin)
      assert.equal("first", select(2, get { path = "/api/x" }).origin)
      assert.equal("first", select(2, get { path = "/", method = "POST", body = "" }).origin)
    end)

    it("may be names", function()
      with_action { targets = { { host = "localhost", port = ports[1] } } }
      assert.equal(200, status())
    end)

    it("that nobody serves give 502", function()
      with_action { targets = { { host = "127.0.0.1", port = sluice.free_port() } } }
      assert.equal(502, status())
    end)

    it("may be Unix sockets", function()
      local unix = require "socket.unix"
      local path = os.tmpname()
      os.remove(path)
      local listener = unix.stream and assert(unix.stream()) or assert(unix())
      assert(listener:bind(path))
      assert(listener:listen())
      finally(function()
        listener:close()
        os.remove(path)
      end)
      with_action { targets = { { unix = path } } }
      assert.equal("GET /unix HTTP/1.1",
        arriving(listener, "GET /unix HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    end)

    it("get a PROXY header when they want one", function()
      local listener = assert(socket.bind("127.0.0.1", 0))
      finally(function() listener:close() end)
      local _, target_port = listener:getsockname()
      with_action { targets = { { host = "127.0.0.1", port = tonumber(target_port) } },
        sendProxyProtocol = true }
      assert.matches(("^PROXY TCP4 127.0.0.1 127.0.0.1 %%d+ %d"):format(port),
        arriving(listener, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    end)
  end)

  describe("options", function()
    it("keep the visitor's Host unless told", function()
      with_action {}
      assert.same({ "a.example" }, select(2, get { host = "a.example" }).headers.host)
      with_action { options = { rewriteHostHeader = true } }
      assert.same({ "127.0.0.1:" .. ports[1] },
        select(2, get { host = "a.example" }).headers.host)
    end)

    it("limit the time of an answer", function()
      with_action { advanced = { timeout = 200 } }
      assert.equal(504, status { path = "/slow?5" })
      assert.equal(200, status())
    end)

    it("forbid WebSocket", function()
      local upgrade = { Upgrade = "websocket", ["Sec-WebSocket-Version"] = "13",
        ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==" }
      local function answer()
        local connection = assert(http.connect { port = port })
        local lines = { "GET /ws HTTP/1.1", "Host: localhost", "Connection: Upgrade" }
        for name, value in pairs(upgrade) do
          table.insert(lines, name .. ": " .. value)
        end
        connection:send(table.concat(lines, "\r\n") .. "\r\n\r\n")
        local response = http.receive(connection)
        connection:close()
        return response.status
      end
      with_action {}
      assert.equal(200, answer()) -- the origin does not know WebSocket and answers as usual
      with_action { websocket = { enabled = false } }
      assert.is_true(answer() >= 400)
    end)
  end)

  describe("TLS", function()
    it("is ended, with the certificate of the route", function()
      with_action { tls = { mode = "terminate", certificate = sluice.certificate("a.example") } }
      assert.equal("a.example", shown_certificate("a.example"))
    end)

    it("is passed through", function()
      with_action({ targets = { to(3) }, tls = { mode = "passthrough" } },
        { match = { ports = port, domains = "inner.example" } })
      assert.equal("inner.example", shown_certificate("inner.example"))
      local _, seen = get { tls = true, host = "inner.example" }
      assert.equal("secure", seen.origin)
      assert.is_nil(seen.headers["x-forwarded-for"])
    end)

    it("is ended and begun again", function()
      local tls = { mode = "terminate-and-reencrypt",
        certificate = sluice.certificate("a.example") }
      with_action { targets = { to(3) }, tls = tls }
      assert.equal("a.example", shown_certificate("a.example"))
      local _, seen = get { tls = true, host = "a.example" }
      assert.equal("secure", seen.origin)
      assert.same({ "https" }, seen.headers["x-forwarded-proto"])
      tls.verify = true
      with_action { targets = { to(3) }, tls = tls }
      assert.equal(502, status { tls = true, host = "a.example" })
    end)
  end)

  describe("security", function()
    it("limits what is in progress on a route", function()
      local listener = assert(socket.bind("127.0.0.1", 0))
      local _, target_port = listener:getsockname()
      with_action({ targets = { { host = "127.0.0.1", port = tonumber(target_port) } } },
        { security = { maxConnections = 1 } })
      local held = assert(http.connect { port = port })
      held:send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      local inner = assert(listener:accept()) -- the first one is on its way
      assert.equal(503, status())
      inner:close()
      held:close()
      listener:close()
    end)

    it("looks at the block list first", function()
      with_action({}, { security = { ipAllowList = { "127.0.0.1" }, ipBlockList = { "127.*" } } })
      local refused = status()
      assert.is_true(refused == nil or refused == 403, tostring(refused))
    end)
  end)

  it("take visitors from the PROXY header of peers that are named", function()
    local other = coretraffic.start {
      acceptProxyProtocol = true, proxyIPs = { "127.0.0.1" },
      routes = { coretraffic.route("app", port, ports[1]) } }
    local connection = assert(http.connect { port = port })
    local response = http.parse(http.exchange(connection,
      "PROXY TCP4 203.0.113.9 198.51.100.1 5000 80\r\n" .. http.request_text {}))
    local plain = http.request { port = port }
    other:stop()
    assert.same({ "203.0.113.9" }, dkjson.decode(response.body).headers["x-forwarded-for"])
    assert.is_true(plain == nil or plain.status >= 400)
  end)

  it("give what they lack from the defaults", function()
    local other = coretraffic.start {
      defaults = { target = { host = "127.0.0.1", port = ports[2] } },
      routes = { { name = "app", match = { ports = port }, action = { type = "forward" } } } }
    local response = http.request { port = port }
    other:stop()
    assert.equal("second", dkjson.decode(response.body).origin)
  end)
end)
