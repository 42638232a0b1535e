local dkjson = require "dkjson"
local coretraffic = require "support.coretraffic"
local http = require "support.http"
local sluice = require "support.sluice"

local route = coretraffic.route

describe("the admin API of the program", function()
  local origins, ports, port, ingress

  setup(function()
    origins, ports = {}, {}
    for i, name in ipairs { "first", "second" } do
      origins[i], ports[i] = sluice.origin(name)
    end
  end)

  teardown(function()
    for _, origin in ipairs(origins) do
      origin:stop()
    end
  end)

  before_each(function()
    port = sluice.free_port()
    ingress = coretraffic.start { routes = { route("app", port, ports[1]) } }
  end)

  after_each(function()
    assert.equal(0, ingress:stop())
  end)

  local function restart(env, config)
    ingress:stop()
    ingress = coretraffic.start(config or { routes = { route("app", port, ports[1]) } }, env)
  end

  -- Which origin answers through the proxy.
  local function answering()
    local response = assert(http.request { port = port })
    return response.status == 200 and dkjson.decode(response.body).origin or response.status
  end

  local function put(routes)
    return ingress:ask("PUT", "/routes", { body = routes })
  end

  it("answers all its endpoints", function()
    for _, case in ipairs {
      { "GET", "/health", 200 }, { "GET", "/ready", 200 }, { "GET", "/routes", 200 },
      { "GET", "/statistics", 200 }, { "GET", "/listening-ports", 200 }, { "POST", "/reload", 200 },
      { "POST", "/security-policy", 200, "{}" }, { "PUT", "/routes", 200, "[]" },
      { "POST", "/routes", 200, '{"routes":[]}' }, { "HEAD", "/routes", 200 },
      { "GET", "/nothing", 404 }, { "DELETE", "/routes", 405 }, { "GET", "/reload", 405 },
      { "PUT", "/routes", 400, "{" }, { "POST", "/security-policy", 400, '{"blocked":[]}' },
    } do
      local response = ingress:ask(case[1], case[2], { body = case[4] })
      assert.equal(case[3], response.status, case[1] .. " " .. case[2])
      assert.equal("application/json", response.headers["content-type"])
      assert.equal(case[1] == "HEAD", response.body == "")
    end
  end)

  it("asks for the token", function()
    restart { SMARTPROXY_ADMIN_TOKEN = "s3cret", SMARTPROXY_ADMIN_HOST = "0.0.0.0" }
    local function status(path, authorization)
      return ingress:ask("GET", path, { headers = { Authorization = authorization } }).status
    end
    assert.equal(200, status("/health"))
    assert.equal(200, status("/ready"))
    assert.equal(401, status("/routes"))
    assert.equal(401, status("/routes?token=s3cret"))
    assert.equal(401, status("/routes", "Bearer s3creT"))
    assert.equal(200, status("/routes", "Bearer s3cret"))
  end)

  it("makes a change live before it answers", function()
    for i = 0, 39 do
      local target = i % 2 + 1
      local response = put { route("app", port, ports[target]) }
      assert.equal(200, response.status)
      assert.equal(target == 1 and "first" or "second", answering())
    end
  end)

  it("closes no connection for a change", function()
    local connection = http.connect { port = port }
    local seen = {}
    for i = 1, 4 do
      assert(connection:send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
      seen[i] = dkjson.decode(http.receive(connection).body).origin
      put { route("app", port, ports[i % 2 + 1]) }
    end
    connection:close()
    assert.same({ "first", "second", "first", "second" }, seen)
  end)

  it("opens and closes ports with the routes", function()
    local other = sluice.free_port()
    put { route("app", other, ports[2]) }
    local _, body = ingress:ask("GET", "/listening-ports")
    assert.same({ other }, body.ports)
    assert.equal(200, http.request({ port = other }).status)
    assert.same({ nil, "connection refused" }, { http.request { port = port } })
  end)

  it("refuses a set with one bad route of a thousand and keeps the old one", function()
    local routes = {}
    for i = 1, 1000 do
      routes[i] = route("r" .. i, port, ports[2],
        { match = { ports = port, domains = ("r%d.example.com"):format(i) } })
    end
    routes[501].action.targets[1].port = 70000
    local response, body = put(routes)
    assert.equal(400, response.status)
    assert.same({
      ok = false, error = "routes[500].action.targets[0].port: 70000 is not a port (1 to 65535)",
    }, body)
    assert.equal("first", answering())
    body = select(2, ingress:ask("GET", "/routes"))
    assert.equal("app", body.routes[1].name)
    assert.equal(1, #body.activeRoutes)
  end)

  it("refuses a key that does not belong to its certificate, with the place", function()
    local tls = { mode = "terminate", certificate = {
      cert = sluice.certificate("a.example").cert, key = sluice.certificate("b.example").key } }
    local bad = route("tls", port, ports[2])
    bad.action.tls = tls
    local response, body = put { route("off", port, ports[1], { enabled = false }), bad }
    assert.equal(400, response.status)
    assert.matches("^routes%[1%]%.action%.tls", body.error)
    assert.equal("first", answering())
  end)

  it("answers 500 when a port is taken, and keeps the old routes", function()
    local response, body = put { route("app", ingress.admin_port, ports[2]) }
    assert.equal(500, response.status)
    assert.matches("port " .. ingress.admin_port, body.error)
    assert.equal("first", answering())
  end)

  it("applies a few of a storm, the newest of those that waited last, and answers all", function()
    local connections, n = {}, 50
    for i = 1, n do
      connections[i] = http.connect { port = ingress.admin_port }
    end
    for i, connection in ipairs(connections) do
      connection:send(http.request_text {
        method = "PUT", path = "/routes", host = "127.0.0.1",
        body = dkjson.encode { route("storm-" .. i, port, ports[2]) } })
    end
    for _, connection in ipairs(connections) do
      local response = http.parse(connection:receive("*a"))
      assert.equal(200, response.status)
      connection:close()
    end
    local _, body = ingress:ask("GET", "/routes")
    assert.matches("^storm%-%d+$", body.routes[1].name)
    assert.equal("second", answering())
    local _, applied = ingress.program:text("stderr"):gsub('"msg":"routes are live"', "")
    assert.is_true(applied < n, applied .. " applies")
  end)

  it("goes back to the file on reload, unless the file is bad", function()
    put { route("app", port, ports[2]) }
    assert.equal("second", answering())
    ingress:write("{")
    local response, body = ingress:ask("POST", "/reload")
    assert.equal(400, response.status)
    assert.matches("not JSON", body.error)
    assert.equal("second", answering())
    ingress:write { routes = { route("app", port, ports[1]) } }
    assert.equal(200, ingress:ask("POST", "/reload").status)
    assert.equal("first", answering())
  end)

  it("blocks visitors with the security policy", function()
    assert.equal(200, ingress:ask("POST", "/security-policy",
      { body = { blockedIps = { "127.0.0.1" } } }).status)
    local response = http.request { port = port }
    assert.is_nil(response)
    assert.equal(200, ingress:ask("POST", "/security-policy", { body = "{}" }).status)
    assert.equal("first", answering())
  end)

  it("refuses a body that is too large", function()
    restart { SMARTPROXY_ADMIN_MAX_BODY = "1000" }
    local body = "[" .. (" "):rep(2000) .. "]"
    assert.equal(413, ingress:ask("PUT", "/routes", { body = body }).status)
    assert.equal("first", answering())
  end)

  it("refuses web pages", function()
    local function status(headers, host)
      return ingress:ask("POST", "/reload", { headers = headers, host = host }).status
    end
    assert.equal(403, status({ Origin = "https://evil.example" }))
    assert.equal(403, status({ ["Sec-Fetch-Site"] = "cross-site" }))
    assert.equal(403, status({}, "evil.example"))
    assert.equal(200, status({}, "localhost:" .. ingress.admin_port))
  end)

  it("counts", function()
    for _ = 1, 3 do
      answering()
    end
    local _, stats = ingress:ask("GET", "/statistics")
    assert.equal(3, stats.requests)
    assert.equal(1, stats.routesCount)
    assert.same({ port }, stats.listeningPorts)
    assert.equal(3, stats.perRoute.app.requests)
    assert.is_true(stats.bytesOut > 0 and stats.uptimeSeconds > 0)
    assert.is_number(stats.activeConnections)
  end)

  it("hides private keys", function()
    local secured = route("tls", port, ports[1])
    secured.action.tls = { mode = "terminate", certificate = sluice.certificate("a.example") }
    assert.equal(200, put({ secured }).status)
    local response = ingress:ask("GET", "/routes")
    assert.is_nil(response.body:find("PRIVATE KEY", 1, true))
    assert.is_truthy(response.body:find("BEGIN CERTIFICATE", 1, true))
  end)
end)
