local acme = require "sluice.acme"
local challenges = require "sluice.acme.challenges"
local sluice = require "sluice"
local smartproxy = require "sluice.smartproxy"
local standalone = require "sluice.standalone"
local testing = require "sluice.testing"

local path = "/etc/smartproxy/config.json"
local world = testing.world

local function route(name, changes)
  local r = {
    name = name,
    match = { ports = 8080 },
    action = { type = "forward", targets = { { host = "app", port = 3000 } } },
  }
  for key, value in pairs(changes or {}) do
    r[key] = value
  end
  return r
end

local function write_config(options)
  world.files[path] = sluice.json.encode(options)
end

-- Runs fn as a task that does not have to wait.
local function now(fn)
  local results
  sluice.spawn(function() results = { fn() } end)
  assert.is_table(results, "the task waits")
  return unpack(results, 1, 3)
end

local function started()
  local service = standalone.new(path)
  assert(now(function() return service:start() end))
  return service
end

local function names(published)
  local list = {}
  for i, spec in ipairs(published.specs) do
    list[i] = spec.name
  end
  return list
end

local function last()
  return world.published[#world.published]
end

local function logged(level, text)
  for _, entry in ipairs(world.logged) do
    if entry.level == level and entry.message:find(text, 1, true) then
      return true
    end
  end
  return false
end

describe("standalone mode", function()
  before_each(testing.reset)

  it("starts with no routes when there is no file", function()
    local service = started()
    assert.is_true(service:is_ready())
    assert.same({}, last().specs)
  end)

  it("starts with what the file says", function()
    write_config {
      routes = { route("a") }, httpToHttpsRedirect = {}, inactivityTimeout = 1000,
      securityPolicy = { blockedIps = { "10.0.0.9" } }, certStore = {},
    }
    started()
    assert.same({ "a", "http-to-https-redirect" }, names(last()))
    assert.same({ block = { "10.0.0.9" } }, last().policy)
    assert.equal(1000, world.settings.inactivity_timeout)
    assert.is_true(logged("warn", "certStore: ignored"))
  end)

  it("does not start with a file that is wrong", function()
    for text, expected in pairs {
      ["{"] = path .. ": not JSON: ",
      ["[]"] = path .. ": the configuration must be a JSON object",
      ['{"routes":[{"match":{"ports":0}}]}'] =
        path .. ": routes[0].match.ports: 0 is not a port (1 to 65535)",
      ['{"inactivityTimeout":-1}'] = path .. ": inactivityTimeout: -1 is not a time",
    } do
      world.files[path] = text
      local service = standalone.new(path)
      local ok, err, problem = now(function() return service:start() end)
      assert.is_nil(ok, text)
      assert.matches(expected, err, 1, true)
      assert.equal("invalid", problem)
      assert.is_false(service:is_ready())
    end
    assert.same({}, world.published)
  end)

  it("does not take a file that cannot be read for one that is not there", function()
    testing.fake("file.read", function() return nil, "permission denied" end)
    local service = standalone.new(path)
    assert.same({ nil, path .. ": permission denied", "invalid" },
      { now(function() return service:start() end) })
  end)

  it("replaces the routes and keeps the rest of the file", function()
    write_config {
      routes = { route("a") }, httpToHttpsRedirect = {}, maxConnectionsPerIP = 7,
      defaults = { security = { maxConnections = 3 } },
    }
    local service = started()
    local result = now(function() return service:replace { route("b"), route("c") } end)
    assert.equal(3, result.routes)
    assert.same({ "b", "c", "http-to-https-redirect" }, names(last()))
    assert.equal(3, last().specs[1].max_connections)
    assert.equal(7, last().policy.max_connections_per_ip)
  end)

  it("refuses a bad set without asking the data plane", function()
    local service = started()
    assert.same({ nil, "routes[0].match.ports: 0 is not a port (1 to 65535)", "invalid" },
      { now(function() return service:replace { route("b", { match = { ports = 0 } }) } end) })
    assert.equal(1, #world.published)
  end)

  it("keeps what ran when the data plane refuses", function()
    write_config { routes = { route("a") } }
    local service = started()
    testing.fake("publish", function() return nil, "port 80: address in use" end)
    assert.same({ nil, "port 80: address in use", "failed" },
      { now(function() return service:replace { route("b") } end) })
    assert.equal("a", (service:routes())[1].name)
    assert.is_true(service:is_ready())
    assert.is_true(logged("warn", "the change was refused"))
  end)

  it("replaces the security policy and keeps the routes", function()
    write_config { routes = { route("a") }, securityPolicy = { blockedIps = { "10.0.0.9" } } }
    local service = started()
    now(function() return service:set_policy { allowedIps = { "10.0.0.1" } } end)
    assert.same({ "a" }, names(last()))
    assert.same({ allow = { "10.0.0.1" } }, last().policy)
    now(function() return service:set_policy {} end)
    assert.same({}, last().policy)
  end)

  it("keeps the policy when routes are replaced", function()
    local service = started()
    now(function() return service:set_policy { blockedIps = { "10.0.0.9" } } end)
    now(function() return service:replace { route("b") } end)
    assert.same({ block = { "10.0.0.9" } }, last().policy)
  end)

  it("goes back to the file on reload", function()
    write_config { routes = { route("a") } }
    local service = started()
    now(function() return service:replace { route("b") } end)
    now(function() return service:set_policy { blockedIps = { "10.0.0.9" } } end)
    write_config { routes = { route("c") } }
    assert(now(function() return service:reload() end))
    assert.same({ "c" }, names(last()))
    assert.same({}, last().policy)
  end)

  it("stays as it was when the file is bad on reload", function()
    write_config { routes = { route("a") }, inactivityTimeout = 1000 }
    local service = started()
    world.files[path] = "{"
    local ok, _, problem = now(function() return service:reload() end)
    assert.is_nil(ok)
    assert.equal("invalid", problem)
    assert.equal(1, #world.published)
    assert.is_true(service:is_ready())
  end)

  it("takes the settings back when the new routes do not come up", function()
    write_config { inactivityTimeout = 1000 }
    local service = started()
    write_config { inactivityTimeout = 2000 }
    testing.fake("publish", function() return nil, "no" end)
    now(function() return service:reload() end)
    assert.equal(1000, world.settings.inactivity_timeout)
  end)

  it("shows the routes as they came and as they run", function()
    write_config { routes = { route("a"), route("off", { enabled = false }) },
      httpToHttpsRedirect = {}, defaults = { security = { maxConnections = 3 } } }
    local raw, active = started():routes()
    assert.same({ "a", "off" }, { raw[1].name, raw[2].name })
    assert.same({ "a", "http-to-https-redirect" }, { active[1].name, active[2].name })
    assert.is_nil(raw[1].security)
    assert.equal(3, active[1].security.maxConnections)
  end)

  describe("with changes at the same time", function()
    -- Publishing takes a second.
    local service
    before_each(function()
      service = started()
      testing.fake("publish", function(specs, policy)
        sluice.sleep(1)
        table.insert(world.published, { specs = specs, policy = policy })
        return { routes = #specs, compiled = #specs }
      end)
    end)

    it("applies the first and the newest of a storm, and answers all", function()
      local answered = 0
      for i = 1, 1000 do
        sluice.spawn(function()
          assert(service:replace { route("r" .. i) })
          answered = answered + 1
        end)
      end
      testing.clock():advance(10)
      assert.equal(1000, answered)
      assert.equal(3, #world.published) -- the start, the first, the newest
      assert.same({ "r1000" }, names(last()))
    end)

    it("answers only when the change is live", function()
      local live
      sluice.spawn(function() live = service:replace { route("a") } end)
      testing.clock():advance(0.9)
      assert.is_nil(live)
      testing.clock():advance(0.2)
      assert.is_table(live)
    end)

    it("applies routes that waited behind a reload under the new file", function()
      write_config { defaults = { security = { maxConnections = 9 } } }
      sluice.spawn(function() service:reload() end)
      sluice.spawn(function() service:replace { route("a") } end)
      testing.clock():advance(5)
      assert.equal(9, last().specs[1].max_connections)
    end)

    it("does not mix a policy with routes that were refused", function()
      sluice.spawn(function() service:replace { route("a") } end)
      sluice.spawn(function() service:set_policy { blockedIps = { "10.0.0.9" } } end)
      testing.clock():advance(5)
      assert.same({ "a" }, names(last()))
      assert.same({ block = { "10.0.0.9" } }, last().policy)
    end)
  end)
end)

describe("certificates of standalone mode", function()
  before_each(testing.reset)

  local function auto(name, ports, domains)
    return route(name, {
      match = { ports = ports, domains = domains },
      action = { type = "forward", targets = { { host = "app", port = 3000 } },
        tls = { mode = "terminate", certificate = "auto" } },
    })
  end

  -- Domains that the challenge route is for, or nil.
  local function challenged()
    for _, spec in ipairs(last().specs) do
      if spec.name == "acme-challenge" then
        return spec.domains, spec.ports[1][1]
      end
    end
  end

  it("are ordered for the names of routes", function()
    write_config { routes = { auto("a", 443, "a.example.com") }, acme = { email = "a@b.example" } }
    local service = started()
    assert.equal(1, service:certificates().names)
    now(function() return service:replace { route("plain") } end)
    assert.equal(0, service:certificates().names)
    now(function()
      return service:replace { auto("b", 443, { "b.example.com", "c.example.com" }) }
    end)
    assert.equal(2, service:certificates().names)
  end)

  it("need acme in the file", function()
    write_config { routes = { auto("a", 443, "a.example.com") } }
    local service = standalone.new(path)
    local ok, err, problem = now(function() return service:start() end)
    assert.is_nil(ok)
    assert.matches('"auto" needs acme at the top of the configuration file', err, 1, true)
    assert.equal("invalid", problem)
    write_config { routes = { auto("a", 443, "a.example.com") }, acme = { enabled = false } }
    assert.is_nil((now(function() return service:start() end)))
  end)

  it("are shown to be wanted by a route for http-01, where its port is listened on", function()
    write_config { routes = { auto("a", 443, "a.example.com") }, acme = {} }
    local service = started()
    assert.is_nil(challenged())
    now(function() return service:replace { auto("a", 443, "a.example.com"),
      route("plain", { match = { ports = 80 } }) } end)
    assert.same({ { "a.example.com" }, 80 }, { challenged() })
    write_config { routes = { auto("a", 443, "a.example.com") }, acme = { port = 8080 } }
    now(function() return service:reload() end)
    assert.same({ { "a.example.com" }, 8080 }, { challenged() })
    write_config { routes = { auto("a", 443, "a.example.com") },
      acme = { port = 8080, challenges = { "tls-alpn-01" } } }
    now(function() return service:reload() end)
    assert.is_nil(challenged())
    local _, active = service:routes()
    assert.equal(1, #active)
  end)

  it("answer what the CA asks over HTTP, and 404 to everybody else", function()
    write_config { routes = { auto("a", 443, "a.example.com") }, acme = { port = 80 } }
    started()
    local port
    for _, spec in ipairs(last().specs) do
      port = spec.name == "acme-challenge" and spec.targets[1].port or port
    end
    local url = ("http://127.0.0.1:%d/.well-known/acme-challenge/"):format(port)
    local hide = assert(challenges.new():show("http-01", "a.example.com", "token", "token.thumb"))
    assert.equal("token.thumb", sluice.fetch(url .. "token").body)
    hide()
    assert.equal(404, sluice.fetch(url .. "token").status)
  end)

  it("come from staging unless the operator says production", function()
    for given, directory in pairs {
      [{}] = acme.lets_encrypt_staging,
      [{ useProduction = true }] = acme.lets_encrypt,
      [{ environment = "production" }] = acme.lets_encrypt,
      [{ useProduction = true, environment = "staging" }] = acme.lets_encrypt_staging,
      [{ useProduction = true, directory = "https://ca.example/acme" }] = "https://ca.example/acme",
    } do
      local config = assert(smartproxy.parse { acme = given })
      assert.equal(directory, config.acme.issuer.directory)
    end
  end)

  it("refuse settings that are wrong, with their place", function()
    for given, expected in pairs {
      [{ email = "me" }] = "acme: email is not an e-mail address",
      [{ emial = "a@b" }] = 'acme.emial: unknown key (did you mean "email"?)',
      [{ renewThresholdDays = 0 }] =
        "acme.renewThresholdDays: 0 is not a number of days (1 to 3650)",
      [{ challenges = { "dns-01" } }] = "acme: challenges must be a list of tls-alpn-01, http-01",
      [{ eab = { kid = "x" } }] = "acme.eab.hmacKey: is missing",
      [{ redis = { host = "" } }] = "acme.redis.host: is empty",
      [{ redis = { hots = "a" } }] = 'acme.redis.hots: unknown key (did you mean "host"?)',
      [{ directory = "http://ca.example" }] = "acme: directory must be an https URL",
    } do
      assert.same({ nil, expected }, { smartproxy.parse { acme = given } })
    end
  end)
end)
