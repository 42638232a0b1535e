local json = require("sluice").json
local routes = require "sluice.routes"
local smartproxy = require "sluice.smartproxy"

local function parsed(options)
  local config, err = smartproxy.parse(options)
  assert.is_table(config, err)
  return config
end

local function refused(options, expected)
  assert.same({ nil, expected }, { smartproxy.parse(options) })
end

local function warnings(options)
  return parsed(options).warnings
end

local function route(changes)
  local r = {
    name = "app",
    match = { ports = 443, domains = "app.example.com", protocol = "http" },
    action = { type = "forward", targets = { { host = "app", port = 3000 } } },
  }
  for key, value in pairs(changes or {}) do
    r[key] = value
  end
  return r
end

-- What the configuration makes of these routes, as specs.
local function specs(options, list)
  local active, err = smartproxy.routes(parsed(options), list)
  assert.is_table(active, err)
  local compiled, notes = routes.compile(active)
  assert.is_table(compiled, notes)
  return compiled
end

describe("smartproxy.parse", function()
  it("takes an empty configuration", function()
    local config = parsed {}
    assert.same({ {}, {}, {}, { accept_proxy = false } },
      { config.routes, config.policy, config.warnings, config.settings })
  end)

  it("refuses what is not an object", function()
    refused({ route() }, "the configuration must be a JSON object, not an array")
    refused(5, "the configuration must be a JSON object, not 5")
    refused({ routes = { a = 1 } }, "routes: must be an array of routes, not an object")
  end)

  it("keeps the routes as they are", function()
    local list = { route() }
    assert.equal(list, parsed({ routes = list }).routes)
  end)

  it("warns about keys that it does not know", function()
    assert.same({ 'rotes: ignored: unknown key (did you mean "routes"?)' },
      warnings { rotes = {} })
  end)

  it("warns about keys that have no effect, once each", function()
    assert.same({
      "noDelay: ignored: is always on",
      "preserveSourceIP: ignored: the visitor's address is in X-Forwarded-For and the PROXY header",
    }, warnings { noDelay = true, preserveSourceIP = true })
  end)

  it("hands timeouts and limits on", function()
    assert.same({
      inactivity_timeout = 120000, head_timeout = 60000, connect_timeout = 5000,
      drain_timeout = 20000, accept_proxy = true, proxy_ips = { "10.0.0.0/8" },
    }, parsed({
      inactivityTimeout = 120000, socketTimeout = 3600000, initialDataTimeout = 60000,
      connectionTimeout = 5000, gracefulShutdownTimeout = 20000,
      acceptProxyProtocol = true, proxyIPs = { "10.0.0.0/8" },
    }).settings)
    refused({ inactivityTimeout = "4h" },
      'inactivityTimeout: "4h" is not a time in milliseconds (1 to 2147483647)')
    refused({ proxyIPs = { "x" }, acceptProxyProtocol = true }, 'proxyIPs[0]: "x" is not an IP '
      .. "address, CIDR block, range or pattern such as 192.168.1.*")
  end)

  it("warns when PROXY headers are half configured", function()
    assert.matches("has no effect without proxyIPs", warnings({ acceptProxyProtocol = true })[1])
    assert.matches("not read without acceptProxyProtocol", warnings({ proxyIPs = { "::1" } })[1])
  end)

  it("checks the security policy", function()
    assert.same({ blockedIps = { "10.0.0.9" } },
      parsed({ securityPolicy = { blockedIps = { "10.0.0.9" } } }).policy)
    refused({ securityPolicy = { blockedIp = {} } },
      'securityPolicy.blockedIp: unknown key (did you mean "blockedIps"?)')
    refused({ securityPolicy = { blockedCidrs = { "10.0.0.0/99" } } },
      'securityPolicy.blockedCidrs[0]: "10.0.0.0/99" is not a CIDR block: '
      .. "the prefix must be 0 to 32")
  end)
end)

describe("smartproxy.policy", function()
  it("joins the lists whatever they are called", function()
    assert.same({
      allow = { "10.0.0.1", "10.1.0.0/16" }, block = { "10.0.0.2", "10.0.0.3", "10.2.0.0/16" },
    }, smartproxy.policy(parsed {}, {
      ipAllowList = { "10.0.0.1" }, allowedCidrs = { "10.1.0.0/16" },
      ipBlockList = { "10.0.0.2" }, blockedCidrs = { "10.2.0.0/16" }, blockedIps = { "10.0.0.3" },
    }))
  end)

  it("falls back to the limits of the configuration", function()
    local config = parsed { maxConnectionsPerIP = 100, connectionRateLimitPerMinute = 300 }
    assert.same({ max_connections_per_ip = 100, connections_per_minute = 300 },
      smartproxy.policy(config, {}))
    assert.same({ max_connections_per_ip = 5, connections_per_minute = 300 },
      smartproxy.policy(config, { maxConnectionsPerIP = 5 }))
  end)
end)

describe("smartproxy.routes", function()
  it("gives the target of the defaults to a route that has none", function()
    local options = { defaults = { target = { host = "fallback", port = 8080 } } }
    local bare = route { action = { type = "forward" } }
    assert.equal("fallback", specs(options, { bare })[1].targets[1].host)
    assert.equal("app", specs(options, { route() })[1].targets[1].host)
    assert.same({ type = "forward" }, bare.action)
  end)

  it("merges the security of the defaults under that of the route", function()
    local options = { defaults = { security = {
      ipBlockList = { "10.0.0.9" }, maxConnections = 50 } } }
    local spec = specs(options, { route { security = { maxConnections = 5 } } })[1]
    assert.same({ { "10.0.0.9" }, 5 }, { spec.block, spec.max_connections })
    assert.equal(50, specs(options, { route() })[1].max_connections)
    assert.equal(50, specs(options, { route { security = json.null } })[1].max_connections)
  end)

  it("does not lose what is wrong with a route under the defaults", function()
    local config = parsed { defaults = { security = { maxConnections = 50 } } }
    for security, expected in pairs {
      [5] = "routes[0].security: must be an object, not 5",
      [{ 1 }] = "routes[0].security: must be an object, not an array",
    } do
      assert.same({ nil, expected },
        { routes.compile(smartproxy.routes(config, { route { security = security } })) })
    end
    assert.same({ nil, "routes[0]: must be an object, not 5" },
      { routes.compile(smartproxy.routes(config, { 5 })) })
  end)

  it("sends a PROXY header everywhere unless the route says otherwise", function()
    local options = { sendProxyProtocol = true }
    assert.equal(1, specs(options, { route() })[1].send_proxy)
    local quiet = route()
    quiet.action.sendProxyProtocol = false
    assert.equal(0, specs(options, { quiet })[1].send_proxy)
  end)

  it("refuses defaults that it does not know", function()
    refused({ defaults = { tls = {} } }, "defaults.tls: unknown key")
    refused({ defaults = { security = { basicAuth = {} } } },
      "defaults.security.basicAuth: unknown key")
  end)

  it("refuses types that SmartProxy does not have", function()
    for kind, expected in pairs {
      redirect = 'routes[1].action.type: "redirect" was removed from SmartProxy; '
        .. "use httpToHttpsRedirect or a policy script",
      reply = 'routes[1].action.type: "reply" is not an action of SmartProxy; '
        .. "use a policy script",
    } do
      assert.same({ nil, expected },
        { smartproxy.routes(parsed {}, { route(), route { action = { type = kind } } }) })
    end
  end)
end)

describe("httpToHttpsRedirect", function()
  local function redirect(options)
    return specs({ httpToHttpsRedirect = options }, {})[1]
  end

  it("adds a route that loses against all others", function()
    local spec = redirect { enabled = true, httpPort = 80, httpsPort = 443, statusCode = 301 }
    assert.same({
      name = "http-to-https-redirect", priority = -2147483648, ports = { { 80, 80 } },
      transport = "tcp", protocol = "http", action = "redirect", tls = "none",
      location = "https://{domain}{path}", status = 301,
    }, spec)
  end)

  it("comes last, so that indexes are those of the list", function()
    local list = specs({ httpToHttpsRedirect = {} }, { route(), route { name = "b" } })
    assert.equal("http-to-https-redirect", list[3].name)
  end)

  it("has defaults", function()
    local spec = redirect {}
    assert.same({ { { 80, 80 } }, 301 }, { spec.ports, spec.status })
    assert.is_nil(redirect { enabled = false })
    assert.is_nil(redirect(nil))
  end)

  it("names a port that is not 443", function()
    assert.equal("https://{domain}:8443{path}",
      redirect({ httpPort = 8080, httpsPort = 8443, statusCode = 308 }).location)
  end)

  it("is refused when it makes no sense", function()
    for value, expected in pairs {
      [{ statusCode = 303 }] =
        "httpToHttpsRedirect.statusCode: 303 is not one of 301, 302, 307, 308",
      [{ httpPort = 0 }] = "httpToHttpsRedirect.httpPort: 0 is not a port (1 to 65535)",
      [{ httpPort = 443 }] = "httpToHttpsRedirect.httpsPort: port 443 would redirect to itself",
      [{ httpPorts = 80 }] =
        'httpToHttpsRedirect.httpPorts: unknown key (did you mean "httpPort"?)',
      [true] = "httpToHttpsRedirect: must be an object, not true",
    } do
      refused({ httpToHttpsRedirect = value }, expected)
    end
  end)
end)

describe("the example of the original's manual", function()
  it("is taken as it stands", function()
    local config = parsed(json.decode [[{
      "httpToHttpsRedirect": {
        "enabled": true, "httpPort": 80, "httpsPort": 443, "statusCode": 301 },
      "routes": [ {
        "name": "app-example-com",
        "match": { "ports": 443, "domains": "app.example.com", "protocol": "http" },
        "action": {
          "type": "forward",
          "targets": [ { "host": "app", "port": 3000 } ],
          "tls": { "mode": "terminate", "certificate": {
            "key": "-----BEGIN PRIVATE KEY-----\\n...",
            "cert": "-----BEGIN CERTIFICATE-----\\n..." } } } } ] }]])
    assert.same({}, config.warnings)
    local compiled = routes.compile(smartproxy.routes(config, config.routes))
    assert.equal("-----BEGIN PRIVATE KEY-----\n...", compiled[1].cert.key)
    assert.equal("redirect", compiled[2].action)
  end)
end)
