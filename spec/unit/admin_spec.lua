local admin = require "sluice.admin"
local admin_settings = require "sluice.admin.settings"
local sluice = require "sluice"
local testing = require "sluice.testing"

local world = testing.world

-- A service that remembers what it was asked; `fails` makes the next change fail.
local function fake_service()
  local service = { asked = {}, ready = true, raw = {}, active = {} }
  local function change(name)
    return function(self, value)
      table.insert(self.asked, { name, value })
      if self.fails then
        return nil, unpack(self.fails)
      end
      return { routes = 1 }
    end
  end
  service.replace, service.set_policy = change("replace"), change("set_policy")
  service.reload = change("reload")
  function service:is_ready() return self.ready end
  function service:certificates() return self.status end
  function service:routes() return self.raw, self.active end
  return service
end

describe("the admin API", function()
  local service, settings

  before_each(function()
    testing.reset()
    service = fake_service()
    settings = {
      host = "127.0.0.1", port = 3000, max_body = 1000, prefix = "SMARTPROXY_ADMIN",
    }
  end)

  -- Answers a request: the verb, and its body as a table.
  local function ask(method, path, given)
    given = given or {}
    given.method, given.path = method, path
    given.host = given.host or "127.0.0.1"
    given.scheme, given.tls = "http", false
    local verb = admin.new(service, settings):handle(testing.request(given))
    return verb, sluice.json.decode(verb.body)
  end

  local function status(...)
    return ask(...).status
  end

  local function bearer(token)
    return { headers = { authorization = "Bearer " .. token } }
  end

  it("answers in JSON that nobody keeps", function()
    local verb, body = ask("GET", "/health")
    assert.equal(200, verb.status)
    assert.same({ ok = true, status = "ok" }, body)
    assert.equal("application/json", verb.headers["content-type"])
    assert.equal("no-store", verb.headers["cache-control"])
  end)

  it("says whether routes are live", function()
    assert.same({ ok = true, ready = true }, select(2, ask("GET", "/ready")))
    service.ready = false
    local verb, body = ask("GET", "/ready")
    assert.equal(503, verb.status)
    assert.same({ ok = false, ready = false, error = "no routes are live yet" }, body)
    assert.equal(200, status("GET", "/health"))
  end)

  it("takes HEAD for GET", function()
    assert.equal(200, status("HEAD", "/health"))
    assert.equal(200, status("HEAD", "/routes"))
  end)

  it("knows its paths and their methods", function()
    local verb, body = ask("GET", "/nothing")
    assert.equal(404, verb.status)
    assert.same({ ok = false, error = "Not found" }, body)
    assert.equal(404, status("GET", "/routes/"))
    for path, allow in pairs {
      ["/health"] = "GET, HEAD", ["/ready"] = "GET, HEAD", ["/routes"] = "GET, HEAD, POST, PUT",
      ["/reload"] = "POST", ["/security-policy"] = "POST", ["/statistics"] = "GET, HEAD",
      ["/listening-ports"] = "GET, HEAD",
    } do
      verb = ask("DELETE", path)
      assert.equal(405, verb.status)
      assert.equal(allow, verb.headers.allow)
    end
  end)

  describe("with a token", function()
    before_each(function() settings.token = "s3cret" end)

    it("guards everything but the probes", function()
      for _, request in ipairs {
        { "GET", "/routes" }, { "PUT", "/routes" }, { "POST", "/reload" }, { "GET", "/nothing" },
        { "POST", "/health" }, { "DELETE", "/ready" }, { "GET", "/statistics" },
        { "GET", "/listening-ports" }, { "POST", "/security-policy" },
      } do
        local verb, body = ask(request[1], request[2])
        assert.equal(401, verb.status, request[1] .. " " .. request[2])
        assert.equal("Bearer", verb.headers["www-authenticate"])
        assert.matches("^Unauthorized", body.error)
      end
      assert.equal(200, status("GET", "/health"))
      assert.equal(200, status("HEAD", "/ready"))
      assert.same({}, service.asked)
    end)

    it("lets in whoever shows it", function()
      assert.equal(200, status("GET", "/routes", bearer "s3cret"))
      local headers = { authorization = "bearer  s3cret" }
      assert.equal(200, status("GET", "/routes", { headers = headers }))
    end)

    it("takes nothing else for it", function()
      for _, value in ipairs { "Bearer wrong", "Bearer s3cret2", "Bearer s3cre", "Basic s3cret",
        "s3cret", "Bearer", "Bearer ", "" } do
        assert.equal(401, status("GET", "/routes", { headers = { authorization = value } }), value)
      end
      assert.equal(401, status("GET", "/routes?token=s3cret"))
      assert.equal(401, status("GET", "/routes?authorization=Bearer%20s3cret"))
    end)

    it("compares it in constant time", function()
      local compared
      testing.fake("crypto.equal", function(a, b)
        compared = { a, b }
        return false
      end)
      assert.equal(401, status("GET", "/routes", bearer "s3cret"))
      assert.same({ "s3cret", "s3cret" }, compared)
    end)

    it("does not care under which name it is reached", function()
      local request = bearer "s3cret"
      request.host = "coretraffic"
      assert.equal(200, status("GET", "/routes", request))
    end)
  end)

  describe("against web pages", function()
    it("refuses what a page of another origin sends", function()
      for _, headers in ipairs {
        { origin = "https://evil.example" }, { origin = "null" },
        { origin = "http://127.0.0.1:8080" }, { ["sec-fetch-site"] = "cross-site" },
      } do
        assert.equal(403, status("POST", "/reload", { headers = headers }))
      end
      assert.same({}, service.asked)
    end)

    it("lets its own origin and the address bar through", function()
      assert.equal(200, status("GET", "/routes", {
        headers = { host = "127.0.0.1:3000", origin = "http://127.0.0.1:3000" } }))
      assert.equal(200, status("GET", "/routes", { headers = { ["sec-fetch-site"] = "none" } }))
    end)

    it("refuses a name that was made to point here", function()
      assert.equal(403, status("GET", "/routes", { host = "evil.example" }))
      assert.equal(403, status("GET", "/health", { host = "127.0.0.1.evil.example" }))
      for _, host in ipairs { "localhost", "127.0.0.1", "::1", "[::1]", "127.0.0.9" } do
        assert.equal(200, status("GET", "/routes", { host = host }), host)
      end
    end)

    it("knows the name that it is bound to", function()
      settings.host = "localhost"
      assert.equal(200, status("GET", "/routes", { host = "localhost" }))
    end)
  end)

  describe("PUT /routes", function()
    local function put(body)
      return ask("PUT", "/routes", { body = body })
    end

    it("takes an array, or an object with routes", function()
      for _, body in ipairs { '[{"name":"a"}]', ' {"routes":[{"name":"a"}]}' } do
        local verb, reply = put(body)
        assert.equal(200, verb.status)
        assert.same({ ok = true, routes = 1 }, reply)
      end
      assert.same({ { "replace", { { name = "a" } } }, { "replace", { { name = "a" } } } },
        service.asked)
    end)

    it("is the same as POST", function()
      assert.equal(200, status("POST", "/routes", { body = "[]" }))
      assert.same({ { "replace", {} } }, service.asked)
    end)

    it("refuses what is neither", function()
      for body, expected in pairs {
        [""] = "the body is not JSON: ",
        ["["] = "the body is not JSON: ",
        ["null"] = "the body is not JSON: ",
        ["5"] = "the body is not JSON: an object or array is expected",
        ["{}"] = 'the body must be an array of routes, or {"routes": [...]}',
        ['{"routes":5}'] = 'the body must be an array of routes, or {"routes": [...]}',
        ['{"routes":{"a":1}}'] = 'the body must be an array of routes, or {"routes": [...]}',
        ['{"routes":[],"acme":{}}'] = "acme: unknown key; only routes can be replaced here",
      } do
        local verb, reply = put(body)
        assert.equal(400, verb.status, body)
        assert.is_false(reply.ok)
        assert.matches(expected, reply.error, 1, true)
      end
      assert.same({}, service.asked)
    end)

    it("refuses a body that is too large", function()
      assert.equal(413, (put("[" .. (" "):rep(1000) .. "]")).status)
    end)

    it("says whose fault it was", function()
      service.fails = { "routes[3].match.ports: 0 is not a port (1 to 65535)", "invalid" }
      local verb, reply = put("[]")
      assert.equal(400, verb.status)
      assert.same({ ok = false, error = "routes[3].match.ports: 0 is not a port (1 to 65535)" },
        reply)
      service.fails = { "port 80: address in use", "failed" }
      assert.equal(500, (put("[]")).status)
      service.fails = { "cancelled" }
      assert.equal(500, (put("[]")).status)
    end)
  end)

  describe("GET /routes", function()
    local function with_key(key)
      return { name = "a", action = { tls = { certificate = { cert = "CERT", key = key } } } }
    end

    it("shows what was given and what runs", function()
      service.raw, service.active = { { name = "a" } }, { { name = "a" }, { name = "redirect" } }
      assert.same({ routes = service.raw, activeRoutes = service.active },
        select(2, ask("GET", "/routes")))
      service.raw, service.active = {}, {}
      assert.equal('{"activeRoutes":[],"routes":[]}\n', ask("GET", "/routes").body)
    end)

    it("hides private keys unless a token was shown", function()
      service.raw, service.active = { with_key("KEY"), { name = "b" } }, { with_key("KEY") }
      local verb = ask("GET", "/routes")
      local _, body = ask("GET", "/routes")
      assert.is_nil(verb.body:find("KEY", 1, true))
      assert.equal("CERT", body.routes[1].action.tls.certificate.cert)
      assert.equal("KEY", service.raw[1].action.tls.certificate.key)
      settings.token = "s3cret"
      _, body = ask("GET", "/routes", bearer "s3cret")
      assert.same({ with_key("KEY") }, body.activeRoutes)
    end)
  end)

  describe("POST /security-policy", function()
    local function post(body)
      return ask("POST", "/security-policy", { body = body })
    end

    it("replaces the policy", function()
      assert.same({ ok = true }, select(2, post '{"blockedIps":["10.0.0.9"]}'))
      post '{"securityPolicy":{"blockedIps":["10.0.0.9"]}}'
      post "{}"
      local policy = { blockedIps = { "10.0.0.9" } }
      assert.same({ { "set_policy", policy }, { "set_policy", policy }, { "set_policy", {} } },
        service.asked)
    end)

    it("does not look into a wrapper that holds more", function()
      post '{"securityPolicy":{},"blockedIps":["10.0.0.9"]}'
      assert.same({ securityPolicy = {}, blockedIps = { "10.0.0.9" } }, service.asked[1][2])
    end)

    it("refuses what is no object", function()
      assert.equal(400, (post "[]").status)
      assert.equal(400, (post "").status)
      assert.same({}, service.asked)
    end)
  end)

  it("reloads", function()
    assert.same({ ok = true }, select(2, ask("POST", "/reload")))
    service.fails = { "config.json: not JSON", "invalid" }
    assert.equal(400, status("POST", "/reload"))
  end)

  it("shows statistics as numbers", function()
    world.stats = {
      active_connections = 2, total_connections = 9, requests = 7, errors = 1, bytes_in = 100,
      bytes_out = 200, routes_count = 1, listening_ports = { 443 }, uptime = 12.5,
      http2_requests = 3, http3_requests = 2, quic_handshakes = 4, quic_retries = 5,
      quic_dropped = 6, quic_forwarded = 8,
      per_route = {
        app = { requests = 7, errors = 1, active = 2, bytes_in = 100, bytes_out = 200 } },
    }
    assert.same({
      activeConnections = 2, totalConnections = 9, routesCount = 1, listeningPorts = { 443 },
      uptimeSeconds = 12.5, bytesIn = 100, bytesOut = 200, requests = 7, errors = 1,
      http2Requests = 3, http3Requests = 2,
      quic = { handshakes = 4, retries = 5, dropped = 6, forwarded = 8 },
      perRoute = { app = {
        requests = 7, errors = 1, activeConnections = 2, bytesIn = 100, bytesOut = 200 } },
    }, select(2, ask("GET", "/statistics")))
    assert.same({ ports = { 443 } }, select(2, ask("GET", "/listening-ports")))
    world.stats = { listening_ports = {} }
    assert.equal('{"ports":[]}\n', ask("GET", "/listening-ports").body)
  end)

  it("listens where it is told", function()
    settings.port = 0
    local server = assert(admin.start(service, settings))
    local response = sluice.fetch(("http://127.0.0.1:%d/health"):format(server:port()))
    assert.equal(200, response.status)
    settings.port = server:port()
    local ok, err = admin.start(service, settings)
    assert.is_nil(ok)
    assert.equal("admin API: address in use; set SMARTPROXY_ADMIN_HOST or SMARTPROXY_ADMIN_PORT",
      err)
  end)

  it("keeps the free port that it has found", function()
    settings.port = 0
    local server = assert(admin.start(service, settings))
    local port = server:port()
    server:close()
    assert.equal(port, assert(admin.start(service, settings)):port())
    assert.not_equal(port, assert(admin.start(service, settings)):port()) -- it is taken
  end)
end)

describe("the settings of the admin API", function()
  local function settings(env)
    return admin_settings.read(function(name) return env[name] end)
  end

  it("has defaults", function()
    assert.same({ host = "127.0.0.1", port = 3000, max_body = 67108864,
      prefix = "SMARTPROXY_ADMIN" }, settings {})
  end)

  it("lets loopback go without a token", function()
    for _, host in ipairs { "127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LocalHost" } do
      assert.is_table((settings { SMARTPROXY_ADMIN_HOST = host }), host)
    end
    assert.equal("::1", settings({ SMARTPROXY_ADMIN_HOST = "[::1]" }).host)
  end)

  it("asks for a token everywhere else", function()
    for _, host in ipairs { "0.0.0.0", "::", "10.0.0.1", "::ffff:127.0.0.1" } do
      local ok, err = settings { SMARTPROXY_ADMIN_HOST = host }
      assert.is_nil(ok, host)
      assert.equal(("SMARTPROXY_ADMIN_HOST=%s is not a loopback address: set "
        .. "SMARTPROXY_ADMIN_TOKEN, or bind the admin API to 127.0.0.1"):format(host), err)
      assert.is_nil((settings {
        SMARTPROXY_ADMIN_HOST = host, SMARTPROXY_ADMIN_TOKEN = " \n" }))
      assert.equal("x", settings({
        SMARTPROXY_ADMIN_HOST = host, SMARTPROXY_ADMIN_TOKEN = "x\n" }).token)
    end
  end)

  it("refuses a host that is no address", function()
    for _, host in ipairs { "admin.example", "127.1", "*", "127.0.0.1.evil.example" } do
      assert.same({
        nil, ('SMARTPROXY_ADMIN_HOST=%s is neither an IP address nor "localhost"'):format(host),
      }, { settings { SMARTPROXY_ADMIN_HOST = host, SMARTPROXY_ADMIN_TOKEN = "x" } })
    end
  end)

  it("refuses numbers that are none", function()
    assert.matches("not a port", select(2, settings { SMARTPROXY_ADMIN_PORT = "65536" }))
    assert.matches("not a port", select(2, settings { SMARTPROXY_ADMIN_PORT = "http" }))
    assert.matches("not a number of bytes",
      select(2, settings { SMARTPROXY_ADMIN_MAX_BODY = "64M" }))
  end)
end)
