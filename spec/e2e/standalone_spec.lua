local dkjson = require "dkjson"
local coretraffic = require "support.coretraffic"
local http = require "support.http"
local sluice = require "support.sluice"

local route = coretraffic.route

describe("standalone mode of the program", function()
  local origin, origin_port, ingress

  setup(function()
    origin, origin_port = sluice.origin("app")
  end)

  teardown(function()
    origin:stop()
  end)

  after_each(function()
    if ingress then
      local stopping = ingress
      ingress = nil
      assert.equal(0, stopping:stop())
    end
  end)

  local function start(config, env)
    ingress = coretraffic.start(config, env)
    return ingress
  end

  local function get(options)
    local response, err = http.request(options)
    assert.is_table(response, err)
    return response, dkjson.decode(response.body)
  end

  -- The configuration of the original's manual, on free ports.
  local function manual_config(https_port, http_port, pair)
    return {
      httpToHttpsRedirect = {
        enabled = true, httpPort = http_port, httpsPort = https_port, statusCode = 301 },
      routes = { {
        name = "app-example-com",
        match = { ports = https_port, domains = "app.example.com", protocol = "http" },
        action = {
          type = "forward",
          targets = { { host = "localhost", port = origin_port } },
          tls = { mode = "terminate", certificate = pair },
        },
      } },
    }
  end

  describe("with the configuration of the original's manual", function()
    local https_port, http_port

    before_each(function()
      https_port, http_port = sluice.free_port(), sluice.free_port()
    end)

    it("serves the host over HTTPS, and nothing for another", function()
      start(manual_config(https_port, http_port, sluice.certificate("app.example.com")))
      local response, seen = get {
        port = https_port, tls = true, host = "app.example.com", path = "/a?b=c" }
      assert.equal(200, response.status)
      assert.equal("/a?b=c", seen.path)
      assert.same({ "127.0.0.1" }, seen.headers["x-forwarded-for"])
      assert.same({ "https" }, seen.headers["x-forwarded-proto"])
      local other = http.request { port = https_port, tls = true, host = "other.example.com" }
      assert.is_true(other == nil or other.status == 404 or other.status == 421)
    end)

    it("takes PEM text with its line breaks escaped twice", function()
      local pair = sluice.certificate("app.example.com")
      start(manual_config(https_port, http_port, {
        cert = pair.cert:gsub("\n", "\\n"), key = pair.key:gsub("\n", "\\n") }))
      assert.equal(200, (get { port = https_port, tls = true, host = "app.example.com" }).status)
    end)

    it("sends visitors of HTTP to HTTPS with path and query", function()
      start(manual_config(https_port, http_port, sluice.certificate("app.example.com")))
      local response = get { port = http_port, host = "app.example.com", path = "/a/b?c=d&e" }
      assert.equal(301, response.status)
      assert.equal(("https://app.example.com:%d/a/b?c=d&e"):format(https_port),
        response.headers.location)
    end)

    it("lets explicit routes on the port of the redirect win", function()
      local config = manual_config(https_port, http_port, sluice.certificate("app.example.com"))
      table.insert(config.routes, route("acme", http_port, origin_port, {
        match = { ports = http_port, path = "/.well-known/acme-challenge/*" } }))
      start(config)
      assert.equal(200,
        (get { port = http_port, path = "/.well-known/acme-challenge/x" }).status)
      assert.equal(301, (get { port = http_port, path = "/" }).status)
    end)
  end)

  it("asks for a password", function()
    local port = sluice.free_port()
    start { routes = { route("app", port, origin_port, { security = {
      basicAuth = { users = { { username = "admin", password = "s3cret:x" } }, realm = "app" },
    } }) } }
    local function status(authorization)
      return (get { port = port, headers = { Authorization = authorization } })
    end
    local refused = status(nil)
    assert.equal(401, refused.status)
    assert.matches('^Basic realm="app"', refused.headers["www-authenticate"])
    assert.equal(200, status("Basic YWRtaW46czNjcmV0Ong=").status) -- admin:s3cret:x
    assert.equal(401, status("Basic YWRtaW46czNjcmV0").status)     -- admin:s3cret
  end)

  it("edits headers both ways", function()
    local port = sluice.free_port()
    start { routes = { route("app", port, origin_port, { headers = {
      request = { ["x-host"] = "{domain}", ["user-agent"] = dkjson.null },
      response = { servezone_coretraffic_version = "1", server = dkjson.null },
    } }) } }
    local response, seen = get {
      port = port, host = "a.example", headers = { ["User-Agent"] = "x" } }
    assert.same({ "a.example" }, seen.headers["x-host"])
    assert.is_nil(seen.headers["user-agent"])
    assert.equal("1", response.headers.servezone_coretraffic_version)
    assert.is_nil(response.headers.server)
  end)

  it("routes by priority, path and enabled", function()
    local port = sluice.free_port()
    local second, second_port = sluice.origin("second")
    finally(function() second:stop() end)
    start { routes = {
      route("app", port, origin_port),
      route("api", port, second_port, { match = { ports = port, path = "/api/*" } }),
      route("off", port, second_port, { priority = 100, enabled = false }),
    } }
    assert.equal("app", select(2, get { port = port, path = "/" }).origin)
    assert.equal("second", select(2, get { port = port, path = "/api/x" }).origin)
  end)

  it("closes the door to addresses that are not allowed", function()
    local port = sluice.free_port()
    start { routes = { route("app", port, origin_port,
      { security = { ipAllowList = { "10.0.0.0/8" } } }) } }
    local response = http.request { port = port }
    assert.is_true(response == nil or response.status == 403)
  end)

  it("is ready with no file at all", function()
    start({}, { SMARTPROXY_CONFIG = "/nonexistent/config.json" })
    assert.equal(200, ingress:ask("GET", "/ready").status)
    assert.same({}, select(2, ingress:ask("GET", "/routes")).routes)
  end)

  it("takes a self-signed certificate", function()
    local port = sluice.free_port()
    local secured = route("app", port, origin_port)
    secured.action.tls = { mode = "terminate", certificate = "self-signed" }
    start { routes = { secured } }
    assert.equal(200, (get { port = port, tls = true, host = "localhost" }).status)
  end)

  it("warns about what it ignores", function()
    start { noDelay = true, rotes = {} }
    local log = ingress.program:text("stderr")
    assert.matches("noDelay: ignored: is always on", log, 1, true)
    assert.matches('rotes: ignored: unknown key (did you mean \\"routes\\"?)', log, 1, true)
  end)

  it("goes on with the file when it gets SIGHUP", function()
    local port = sluice.free_port()
    start { routes = { route("app", port, origin_port) } }
    ingress:ask("PUT", "/routes", { body = "[]" })
    ingress.program:kill(require("posix.signal").SIGHUP)
    local new_port = ingress.program:wait_for("stderr", '"msg":"admin API is up".-"port":(%d+)')
    ingress.program:wait_for("stderr", '"msg":"routes are live"')
    ingress.admin_port = tonumber(new_port)
    assert.equal(200, (get { port = port }).status)
    assert.equal(200, ingress:ask("GET", "/ready").status)
  end)

  describe("does not start", function()
    local function refuses(expected, config, env)
      local code, _, err = coretraffic.run({}, config, env)
      assert.equal(1, code)
      assert.matches(expected, err, 1, true)
    end

    it("with a bad file", function()
      refuses("not JSON", "{")
      refuses("routes[0].match.ports: 0 is not a port (1 to 65535)",
        { routes = { route("app", 0, 80) } })
    end)

    it("with an admin API that is open to the world", function()
      refuses("SMARTPROXY_ADMIN_HOST=0.0.0.0 is not a loopback address", nil,
        { SMARTPROXY_ADMIN_HOST = "0.0.0.0" })
    end)

    it("in a mode that is not there", function()
      refuses("CORETRAFFIC_MODE=x: must be coreflow or standalone", nil,
        { CORETRAFFIC_MODE = "x" })
    end)

    it("when a port is taken", function()
      local port = sluice.free_port()
      local listener = assert(require("socket").bind("127.0.0.1", port))
      finally(function() listener:close() end)
      refuses(("port %d"):format(port), { routes = { route("app", port, origin_port) } })
    end)
  end)

  describe("--check", function()
    it("finds nothing wrong with a good file and binds nothing", function()
      local port = sluice.free_port()
      local secured = route("app", port, origin_port)
      secured.action.tls = { mode = "terminate", certificate = sluice.certificate("a.example") }
      local listener = assert(require("socket").bind("127.0.0.1", port))
      finally(function() listener:close() end)
      local code, out = coretraffic.run({ "--check" }, { routes = { secured } })
      assert.equal(0, code)
      assert.matches("no mistakes, routes: 1", out, 1, true)
    end)

    it("says what is wrong with a bad one, its certificates too", function()
      local code, _, err = coretraffic.run({ "--check" }, { routes = { route("app", 0, 80) } })
      assert.equal(1, code)
      assert.matches("routes[0].match.ports: 0 is not a port", err, 1, true)
      local secured = route("app", 443, 80)
      secured.action.tls = { mode = "terminate", certificate = {
        cert = sluice.certificate("a.example").cert, key = sluice.certificate("b.example").key } }
      code, _, err = coretraffic.run({ "--check" }, { routes = { secured } })
      assert.equal(1, code)
      assert.matches("routes[0].action.tls", err, 1, true)
    end)
  end)

  it("checks the security of the admin API", function()
    local function check(env)
      env.CORETRAFFIC_MODE = false
      return (coretraffic.run({ "--check-admin-security" }, nil, env))
    end
    assert.equal(0, check {})
    assert.equal(1, check { SMARTPROXY_ADMIN_HOST = "0.0.0.0" })
    assert.equal(0, check { SMARTPROXY_ADMIN_HOST = "0.0.0.0", SMARTPROXY_ADMIN_TOKEN = "x" })
  end)
end)
