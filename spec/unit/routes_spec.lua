local json = require("sluice").json
local routes = require "sluice.routes"
local testing = require "sluice.testing"

-- A good route, with some of its parts replaced.
local function route(changes)
  local r = {
    name = "app",
    match = { ports = 443, domains = "app.example.com" },
    action = { type = "forward", targets = { { host = "app", port = 3000 } } },
  }
  for key, value in pairs(changes or {}) do
    r[key] = value
  end
  return r
end

local function with_match(changes)
  changes.ports = changes.ports or 443
  return route { match = changes }
end

local function with_action(changes)
  changes.type = changes.type or "forward"
  if changes.type == "forward" and not changes.target then
    changes.targets = changes.targets or { { host = "app", port = 3000 } }
  end
  return route { action = changes }
end

local function with_target(target)
  return with_action { targets = { target } }
end

local function with_tls(tls)
  return with_action { tls = tls }
end

local function compiled(r)
  local specs, notes = routes.compile { r }
  assert.is_table(specs, notes)
  return specs[1], notes
end

local function refused(r, expected)
  local specs, err = routes.compile { route(), r }
  assert.is_nil(specs)
  assert.equal(expected, err)
end

describe("routes.compile", function()
  before_each(testing.reset)

  it("flattens a route", function()
    assert.same({
      name = "app", priority = 0,
      ports = { { 443, 443 } }, domains = { "app.example.com" },
      transport = "tcp", protocol = "any",
      action = "forward", tls = "none",
      targets = { { host = "app", port = 3000, priority = 0, weight = 1, tls = false,
        verify = false } },
      balance = "round-robin", backend = "http1", rewrite_host = false, websocket = true,
      send_proxy = 0,
    }, compiled(route()))
  end)

  it("names a route by its name, its id, or its place", function()
    assert.equal("app", compiled(route()).name)
    local r = route { id = "x1" }
    r.name = nil
    assert.equal("x1", compiled(r).name)
    r.id = nil
    assert.equal("routes[0]", compiled(r).name)
  end)

  it("leaves out what is not enabled, but checks it", function()
    local specs, notes = routes.compile { route { enabled = false }, route { name = "b" } }
    assert.equal(1, #specs)
    assert.same({ 1 }, notes.places)
    local r = with_match { ports = 0 }
    r.enabled = false
    refused(r, "routes[1].match.ports: 0 is not a port (1 to 65535)")
  end)

  it("accepts an empty list", function()
    assert.same({}, (routes.compile {}))
  end)

  it("takes null for absent", function()
    local spec = compiled(route { priority = json.null, security = json.null })
    assert.equal(0, spec.priority)
  end)

  it("does not change what it is given", function()
    local r = route { remoteIngress = {}, priority = json.null }
    compiled(r)
    assert.equal(json.null, r.priority)
    assert.same({}, r.remoteIngress)
  end)

  it("warns about a name that comes twice", function()
    local _, notes = routes.compile { route(), route(), route() }
    assert.same({ 'routes[1].name: "app" is also the name of routes[0] (and 1 more like it)' },
      notes.warnings)
  end)

  it("warns once about what it ignores", function()
    local _, notes = routes.compile {
      route { remoteIngress = { enabled = true } },
      route { name = "b", remoteIngress = { enabled = true } },
    }
    assert.same({ "routes[0].remoteIngress: ignored: edge filters have no meaning here"
      .. " (and 1 more like it)" }, notes.warnings)
  end)

  it("refuses what is not a list of routes", function()
    for value, expected in pairs {
      [5] = "routes: must be an array of routes, not 5",
      [{ a = 1 }] = "routes: must be an array of routes, not an object",
      [{ 5 }] = "routes[0]: must be an object, not 5",
      [{ { {} } }] = "routes[0]: must be an object, not an array",
    } do
      assert.same({ nil, expected }, { routes.compile(value) })
    end
  end)

  it("names the nearest key for one that it does not know", function()
    refused(route { secruity = {} },
      'routes[1].secruity: unknown key (did you mean "security"?)')
    refused(with_match { domain = "x" },
      'routes[1].match.domain: unknown key (did you mean "domains"?)')
    refused(with_target { host = "a", port = 1, ["x-altSvcPort"] = 1 },
      "routes[1].action.targets[0].x-altSvcPort: unknown key")
    refused(route { ["a\n%d"] = 1 }, "routes[1].a\\x0a%d: unknown key")
  end)

  it("does not look through megabytes of nonsense", function()
    local long = ("x"):rep(2000000)
    refused(route { name = long }, "routes[1].name: is longer than 4096 bytes")
    refused(with_match { domains = long }, "routes[1].match.domains: is longer than 4096 bytes")
    refused(with_match { clientIp = { long } }, ('routes[1].match.clientIp[0]: "%s…" is too long '
      .. "for an IP pattern"):format(("x"):rep(60)))
    refused(route { [long] = 1 }, ("routes[1].%s: unknown key"):format(("x"):rep(60)))
    local _, err = routes.compile { route { headers = { request = { x = long } } } }
    assert.matches("^routes%[0%]%.headers%.request%.x: must be a string", err)
    assert.is_true(#err < 300)
  end)

  describe("match", function()
    it("takes ports in all their forms", function()
      local function ports(value)
        return compiled(with_match { ports = value }).ports
      end
      assert.same({ { 80, 80 } }, ports(80))
      assert.same({ { 80, 80 }, { 443, 443 } }, ports { 80, 443 })
      assert.same({ { 8000, 8100 } }, ports { from = 8000, to = 8100 })
      assert.same({ { 80, 80 }, { 8000, 8100 } }, ports { 80, { from = 8000, to = 8100 } })
    end)

    it("refuses ports that are none", function()
      for value, expected in pairs {
        [0] = "routes[1].match.ports: 0 is not a port (1 to 65535)",
        [65536] = "routes[1].match.ports: 65536 is not a port (1 to 65535)",
        [80.5] = "routes[1].match.ports: 80.5 is not a port (1 to 65535)",
        ["80"] = 'routes[1].match.ports: "80" is not a port (1 to 65535)',
        [{ 80, 0 }] = "routes[1].match.ports[1]: 0 is not a port (1 to 65535)",
        [{ { from = 1 } }] = "routes[1].match.ports[0].to: is missing",
        [{ from = 9, to = 8 }] = "routes[1].match.ports: the range 9 to 8 ends before it begins",
        [{}] = "routes[1].match.ports: is empty: say on which ports the route listens",
      } do
        refused(with_match { ports = value }, expected)
      end
      refused(route { match = {} },
        "routes[1].match.ports: is missing: say on which ports the route listens")
    end)

    it("normalizes domains", function()
      local function domains(value)
        return compiled(with_match { domains = value }).domains
      end
      assert.same({ "app.example.com" }, domains " App.Example.COM. ")
      assert.same({ "*.example.com", "*", "a_b.local" },
        domains { "*.example.com", "*", "a_b.local" })
      assert.same({ "2001:db8::1", "::1", "192.0.2.1" },
        domains { "[2001:DB8::1]", "::1", "192.0.2.1" })
      assert.is_nil(domains(nil))
    end)

    it("refuses domains that are none", function()
      local function message(text, i)
        return ("routes[1].match.domains%s: %s"):format(i and ("[%d]"):format(i) or "", text)
      end
      for value, expected in pairs {
        ["a b"] = message('"a b" is not a domain name or pattern'),
        ["a..b"] = message('"a..b" is not a domain name or pattern'),
        ["https://a"] = message('"https://a" is not a domain name or pattern'),
        ["[2001:db8::1]:443"] = message('"[2001:db8::1]:443" is not a domain name or pattern'),
        ["[192.0.2.1]"] = message('"[192.0.2.1]" is not a domain name or pattern'),
        ["a:443"] = message('"a:443" is not a domain name or pattern'),
        ["bücher.example"] =
          message('"bücher.example": write international names in their xn-- form'),
        [""] = message("is empty"),
        [{ "a", 5 }] = message("must be a string, not 5", 1),
        [{}] = message("is empty; leave it out to match every name"),
        [{ a = 1 }] = message("must be an array of domain names, not an object"),
      } do
        refused(with_match { domains = value }, expected)
      end
    end)

    it("checks paths", function()
      assert.equal("/api/*", compiled(with_match { path = "/api/*" }).path)
      refused(with_match { path = "api" }, 'routes[1].match.path: "api" does not begin with "/"')
      refused(with_match { path = "/a?b" },
        'routes[1].match.path: "/a?b" holds a blank, ? or #, which no path has')
    end)

    it("checks client addresses", function()
      assert.same({ "10.0.0.0/8" }, compiled(with_match { clientIp = { "10.0.0.0/8" } }).client_ips)
      refused(with_match { clientIp = { "*", "10.0.0.0/40" } },
        'routes[1].match.clientIp[1]: "10.0.0.0/40" is not a CIDR block: '
        .. "the prefix must be 0 to 32")
      refused(with_match { clientIp = "*" },
        'routes[1].match.clientIp: must be an array of IP patterns, not "*"')
    end)

    it("sorts headers", function()
      assert.same({ { "x-a", "1" }, { "x-b", "" } },
        compiled(with_match { headers = { ["x-b"] = json.null, ["x-a"] = "1" } }).headers)
      refused(with_match { headers = { ["x y"] = "1" } },
        'routes[1].match.headers: "x y" is not a header name')
      refused(with_match { headers = { x = 5 } },
        "routes[1].match.headers.x: must be a string without line breaks, not 5")
    end)

    it("knows protocols", function()
      assert.equal("http", compiled(with_match { protocol = "http" }).protocol)
      refused(with_match { protocol = "ftp" }, 'routes[1].match.protocol: "ftp" is not one of '
        .. '"http", "http3", "quic", "tcp", "udp"')
      refused(with_match { protocol = "quic" }, 'routes[1].match.protocol: "quic": QUIC is not '
        .. 'passed on; say "http3" for HTTP/3')
      refused(with_match { tlsVersion = { "TLSv1.3" } },
        "routes[1].match.tlsVersion: matching by TLS version is not supported")
    end)
  end)

  describe("HTTP/3", function()
    local function with(match, action)
      local r = with_match(match)
      r.action.tls = { mode = "terminate", certificate = "self-signed" }
      for key, value in pairs(action or {}) do
        r.action[key] = value
      end
      return r
    end

    local function quic(options, match)
      return with(match or { transport = "all" }, { udp = { quic = options } })
    end

    it("is announced for a day, on the port that the visitor came to", function()
      local spec, notes = compiled(with { transport = "all", protocol = "http" })
      assert.same({ "all", "http", 86400 }, { spec.transport, spec.protocol, spec.alt_svc_max_age })
      assert.is_nil(spec.alt_svc_port)
      assert.same({}, notes.warnings)
    end)

    it("is announced as action.udp.quic says", function()
      local spec, notes = compiled(quic { altSvcPort = 443, altSvcMaxAge = 60 })
      assert.same({ 443, 60 }, { spec.alt_svc_port, spec.alt_svc_max_age })
      assert.same({}, notes.warnings)
      assert.equal("tcp", compiled(quic { enableHttp3 = false }).transport)
      refused(quic { altSvcPort = 0 }, "routes[1].action.udp.quic.altSvcPort: 0 is not a port "
        .. "(1 to 65535)")
      refused(quic { altsvcport = 1 },
        'routes[1].action.udp.quic.altsvcport: unknown key (did you mean "altSvcPort"?)')
    end)

    it("says what is for all routes together", function()
      local _, notes = compiled(quic { maxIdleTimeout = 30000 })
      assert.same({ "routes[0].action.udp.quic.maxIdleTimeout: ignored: is for all routes "
        .. "together: see quic_idle_timeout in the limits of the script" }, notes.warnings)
    end)

    it("can come alone", function()
      local spec = compiled(with { protocol = "http3" })
      assert.same({ "udp", "http" }, { spec.transport, spec.protocol })
      assert.is_nil(spec.alt_svc_max_age)
      assert.equal("udp", compiled(with { transport = "udp", protocol = "http3" }).transport)
      assert.equal("all", compiled(with { transport = "all", protocol = "http3" }).transport)
      refused(with { transport = "tcp", protocol = "http3" },
        'routes[1].match.protocol: "http3" does not go over TCP: say transport "udp" or "all"')
      refused(with { transport = "udp" }, "routes[1].action.tls: datagrams are passed on as they "
        .. 'are: leave it out, or say protocol "http3"')
    end)

    it("needs TLS that ends here, and requests", function()
      local spec, notes = compiled(with_match { transport = "all" })
      assert.equal("tcp", spec.transport)
      assert.same({ "routes[0].match.transport: served over TCP only: HTTP/3 needs TLS that ends "
        .. "here (action.tls)" }, notes.warnings)
      notes = select(2, compiled(with { transport = "all", protocol = "tcp" }))
      assert.same({ "routes[0].match.transport: served over TCP only: HTTP/3 carries requests, "
        .. 'not bytes (protocol "tcp")' }, notes.warnings)
      refused(with_match { protocol = "http3" },
        "routes[1].match.transport: HTTP/3 needs TLS that ends here (action.tls)")
      notes = select(2, compiled(quic({}, {})))
      assert.same({ 'routes[0].action.udp: has no effect without match.transport "all"' },
        notes.warnings)
    end)
  end)

  describe("datagrams", function()
    local function transport_of(match)
      local spec, notes = compiled(with_match(match))
      assert.same({}, notes.warnings)
      return { spec.transport, spec.protocol }
    end

    it("are what UDP without HTTP/3 is", function()
      assert.same({ "udp", "tcp" }, transport_of { transport = "udp" })
      assert.same({ "udp", "tcp" }, transport_of { protocol = "udp" })
      assert.same({ "udp", "tcp" }, transport_of { transport = "udp", protocol = "tcp" })
      assert.same({ "all", "tcp" }, transport_of { transport = "all", protocol = "tcp" })
      assert.same({ "all", "tcp" }, transport_of { transport = "all", protocol = "udp" })
    end)

    it("have no name and no requests", function()
      refused(with_match { transport = "udp", domains = "a.example" },
        "routes[1].match.domains: datagrams carry no name; leave it out")
      refused(with_match { transport = "udp", path = "/x" },
        "routes[1].match.path: cannot be used with match.protocol tcp, where requests are not seen")
      refused(with_match { transport = "udp", protocol = "http" }, "routes[1].match.protocol: over "
        .. 'UDP alone it is "http3", or "udp" for datagrams as they are')
      refused(with_match { transport = "tcp", protocol = "udp" },
        'routes[1].match.protocol: "udp" does not go over TCP: say transport "udp" or "all"')
    end)

    it("leave options of QUIC without effect", function()
      local r = with_match { protocol = "udp" }
      r.action.udp = { quic = { altSvcPort = 1 }, sessionTimeout = 5 }
      assert.same({
        "routes[0].action.udp.sessionTimeout: ignored: is for all routes together: "
          .. "see udp_idle_timeout in the limits of the script",
        "routes[0].action.udp.quic: has no effect: datagrams are passed on as they are",
      }, select(2, compiled(r)).warnings)
    end)
  end)

  describe("tunnels", function()
    local function into_tunnel(changes, target)
      local r = with_match(changes)
      r.action.targets = { target or { tunnel = "main" } }
      return r
    end

    it("can be targets of routes that pass bytes on", function()
      local spec = compiled(into_tunnel { protocol = "tcp" })
      assert.same({ { tunnel = "main", priority = 0, weight = 1, tls = false, verify = false } },
        spec.targets)
      assert.equal("main", compiled(into_tunnel { protocol = "udp" }).targets[1].tunnel)
      local passed = into_tunnel {}
      passed.action.tls = { mode = "passthrough" }
      assert.equal("main", compiled(passed).targets[1].tunnel)
    end)

    it("cannot be targets of other routes, nor have an address", function()
      local at = "routes[1].action.targets[0]."
      refused(into_tunnel {},
        at .. 'tunnel: only bytes go through a tunnel: say match.protocol "tcp"')
      for _, name in ipairs { "host", "unix", "port" } do
        refused(into_tunnel({ protocol = "tcp" }, { tunnel = "main", [name] = "x" }),
          at .. name .. ": has no meaning beside tunnel")
      end
      refused(into_tunnel({ protocol = "tcp" }, { tunnel = "" }), at .. "tunnel: is empty")
      local again = into_tunnel { protocol = "tcp" }
      again.action.tls = { mode = "terminate-and-reencrypt", certificate = "self-signed" }
      refused(again,
        at .. "tunnel: bytes go through a tunnel as they are: it cannot encrypt again")
    end)

    it("can be where visitors come from", function()
      assert.is_true(compiled(with_match { via = "tunnel" }).tunnelled)
      assert.is_nil(compiled(route()).tunnelled)
      refused(with_match { via = "port" }, 'routes[1].match.via: "port" is not one of "tunnel"')
      refused(with_match { via = "tunnel", protocol = "http3" },
        'routes[1].match.protocol: QUIC comes out of a tunnel as datagrams: say "udp"')
    end)
  end)

  describe("targets", function()
    local function targets(action)
      return compiled(with_action(action)).targets
    end

    it("come as targets, as target, and with several hosts", function()
      local list = targets {
        targets = { { host = { "a", "b" }, port = 1 }, { host = "c", port = 2 } } }
      assert.same({ "a", "b", "c" }, { list[1].host, list[2].host, list[3].host })
      assert.same({ 1, 1, 2 }, { list[1].port, list[2].port, list[3].port })
      assert.equal("a", targets { target = { host = "a", port = 1 } }[1].host)
    end)

    it("may keep the port, or be a Unix socket", function()
      assert.equal(0, targets { targets = { { host = "a", port = "preserve" } } }[1].port)
      local socket = targets { targets = { { unix = "/run/app.sock" } } }[1]
      assert.equal("/run/app.sock", socket.unix)
      assert.is_nil(socket.port)
    end)

    it("take an IPv6 address with or without brackets", function()
      assert.equal("::1", targets { targets = { { host = "[::1]", port = 1 } } }[1].host)
      assert.equal("::1", targets { targets = { { host = "::1", port = 1 } } }[1].host)
    end)

    it("have a match, a priority and a weight of their own", function()
      local target = targets { targets = { {
        host = "a", port = 1, priority = 5, weight = 3,
        match = { path = "/api/", method = { "GET", "HEAD" } } } } }[1]
      assert.same({ "/api/", { "GET", "HEAD" }, 5, 3 },
        { target.path, target.methods, target.priority, target.weight })
    end)

    it("use TLS when the route encrypts again, unverified unless told", function()
      local tls = { mode = "terminate-and-reencrypt", certificate = "self-signed" }
      local target = targets { tls = tls }[1]
      assert.same({ true, false }, { target.tls, target.verify })
      tls.verify = true
      assert.is_true(targets { tls = tls }[1].verify)
    end)

    it("are refused with their place", function()
      for target, expected in pairs {
        [{ host = "a", port = 70000 }] = "port: 70000 is not a port (1 to 65535)",
        [{ host = "a" }] =
          'port: is missing: a number, or "preserve" for the port of the connection',
        [{ port = 1 }] = "host: is missing",
        [{ host = "http://a", port = 1 }] = 'host: "http://a" is not a host name or address',
        [{ host = {}, port = 1 }] = "host: is empty",
        [{ host = { "a", 5 }, port = 1 }] = "host[1]: must be a string, not 5",
        [{ host = "a", port = 1, tls = {} }] =
          "tls: is not supported on a single target; set it on the action",
        [{ host = "a", port = 1, weight = 0 }] = "weight: 0 is not a weight (1 to 1000)",
        [{ host = "a", port = 1, match = { method = { "GET", 1 } } }] =
          "match.method[1]: must be a string, not 1",
        [{ host = "a", port = 1, match = { path = "x" } }] =
          'match.path: "x" does not begin with "/"',
      } do
        refused(with_target(target), "routes[1].action.targets[0]." .. expected)
      end
      refused(with_action { target = { port = 1 } }, "routes[1].action.target.host: is missing")
      refused(with_action { target = { host = { "a", "" }, port = 1 } },
        "routes[1].action.target.host[1]: is empty")
      refused(with_action { targets = {} },
        "routes[1].action.targets: is empty: say where to forward to")
      refused(route { action = { type = "forward" } },
        "routes[1].action.targets: is missing: say where to forward to")
      refused(route { action = { type = "forward", target = {}, targets = {} } },
        "routes[1].action.target: stands beside targets; use one of the two")
    end)
  end)

  describe("tls", function()
    local cert = "-----BEGIN CERTIFICATE-----\nxyz\n-----END CERTIFICATE-----\n"
    local key = "-----BEGIN PRIVATE KEY-----\nxyz\n-----END PRIVATE KEY-----\n"

    it("takes PEM text, also with its line breaks escaped twice", function()
      local pair = { cert = cert, key = key }
      assert.same(pair, compiled(with_tls { mode = "terminate", certificate = pair }).cert)
      local escaped = { cert = cert:gsub("\n", "\\n"), key = key:gsub("\n", "\\r\\n") }
      assert.same(pair, compiled(with_tls { mode = "terminate", certificate = escaped }).cert)
    end)

    it("takes self-signed", function()
      local spec = compiled(with_tls { mode = "terminate", certificate = "self-signed" })
      assert.same({ "terminate", "self-signed" }, { spec.tls, spec.cert })
    end)

    it("takes auto, and notes the names that are to get a certificate", function()
      local auto = { mode = "terminate", certificate = "auto" }
      local one, another = with_tls(auto), with_tls(auto)
      one.match.domains = { "a.example.com", "*.example.com", "192.0.2.1", "b.example.com" }
      another.match = { ports = { 8443, { from = 9000, to = 9001 } }, domains = "a.example.com" }
      local specs, notes = routes.compile { one, another }
      assert.same({ "terminate", nil, { "a.example.com", "b.example.com" } },
        { specs[1].tls, specs[1].cert, specs[1].auto })
      assert.same({ ["a.example.com"] = { 443, 8443, 9000, 9001 }, ["b.example.com"] = { 443 } },
        notes.auto)
      assert.matches('%*.example.com" gets no certificate', notes.warnings[1])
      another.match.ports = { from = 1000, to = 2000 }
      specs, notes = routes.compile { one, another }
      assert.same({ 2, true }, { #specs, notes.auto["a.example.com"] })
    end)

    it("leaves certificates to on_hello, whatever the name", function()
      local hooked = with_tls { mode = "terminate", certificate = "hook" }
      hooked.match.domains = nil
      local spec = compiled(hooked)
      assert.same({ "terminate", nil, nil }, { spec.tls, spec.cert, spec.auto })
    end)

    it("needs no certificate to pass through, and says that one is ignored", function()
      local spec, notes = compiled(with_tls { mode = "passthrough", certificate = "auto" })
      assert.equal("passthrough", spec.tls)
      assert.is_nil(spec.cert)
      assert.matches("certificate: ignored", notes.warnings[1])
    end)

    it("is refused with its place", function()
      local wanted = ': give key and cert as PEM text, "auto" or "self-signed"'
      for tls, expected in pairs {
        [{}] = ".mode: is missing: passthrough, terminate or terminate-and-reencrypt",
        [{ mode = "x" }] = '.mode: "x" is not one of "passthrough", "terminate", '
          .. '"terminate-and-reencrypt"',
        [{ mode = "terminate" }] = ".certificate: is missing" .. wanted,
        [{ mode = "terminate", certificate = "x" }] =
          '.certificate: "x" is not a certificate' .. wanted,
        [{ mode = "terminate", certificate = { key = key } }] = ".certificate.cert: is missing",
        [{ mode = "terminate", certificate = { cert = key, key = key } }] =
          ".certificate.cert: holds no PEM block BEGIN CERTIFICATE-----",
        [{ mode = "terminate", certificate = { cert = cert, key = "secret" } }] =
          ".certificate.key: holds no PEM block PRIVATE KEY-----",
        [{ mode = "terminate", certificate = { cert = cert, key = key, ca = "x" } }] =
          ".certificate.ca: append the chain to cert",
        [{ mode = "terminate", versions = { "TLSv1.3" } }] =
          ".versions: the versions are TLS 1.2 and 1.3 and cannot be chosen",
      } do
        refused(with_tls(tls), "routes[1].action.tls" .. expected)
      end
    end)
  end)

  describe("actions", function()
    it("redirect", function()
      local spec = compiled(with_action {
        type = "redirect", location = "https://{domain}{path}", statusCode = 301 })
      assert.same({ "redirect", "https://{domain}{path}", 301 },
        { spec.action, spec.location, spec.status })
      refused(with_action { type = "redirect", location = "/x", statusCode = 304 },
        "routes[1].action.statusCode: 304 is not one of 301, 302, 303, 307, 308")
    end)

    it("reply", function()
      local spec = compiled(with_action {
        type = "reply", statusCode = 503, body = "later\n", contentType = "text/plain" })
      assert.same({ "reply", 503, "later\n", "text/plain" },
        { spec.action, spec.status, spec.body, spec.content_type })
    end)

    it("take options", function()
      local spec = compiled(with_action {
        loadBalancing = { algorithm = "ip-hash" },
        options = { rewriteHostHeader = true, backendProtocol = "auto" },
        websocket = { enabled = false },
        advanced = { timeout = 5000, connectTimeout = 100 },
        sendProxyProtocol = true,
      })
      assert.same({ "ip-hash", true, "auto", false, 5000, 100, 1 }, {
        spec.balance, spec.rewrite_host, spec.backend, spec.websocket, spec.response_timeout,
        spec.connect_timeout, spec.send_proxy })
    end)

    it("are refused by name when they are gone or not there yet", function()
      for action, expected in pairs {
        [{ type = "block" }] =
          'type: "block": was removed from SmartProxy; use security.ipBlockList',
        [{ type = "socket-handler" }] =
          'type: "socket-handler": socket handlers are code; use a policy script',
        [{ forwardingEngine = "nftables" }] =
          'forwardingEngine: "nftables": forwarding in the kernel is not supported',
        [{ loadBalancing = { healthCheck = { path = "/" } } }] = "loadBalancing.healthCheck: "
          .. "health checks are not supported; a target that refuses is skipped",
        [{ location = "/x" }] = 'location: has no meaning with type "forward"',
        [{ type = "redirect", location = "/", targets = {} }] =
          'targets: has no meaning with type "redirect"',
        [{ websocket = { allowedOrigins = {} } }] =
          "websocket.allowedOrigins: check the Origin header in a policy script",
        [{ advanced = { timeout = 0 } }] =
          "advanced.timeout: 0 is not a time in milliseconds (1 to 2147483647)",
      } do
        refused(with_action(action), "routes[1].action." .. expected)
      end
      refused(route { action = {} },
        'routes[1].action.type: is missing; "forward" is the usual one')
      refused({ match = { ports = 1 } }, "routes[1].action: is missing")
    end)
  end)

  describe("security", function()
    local function with_security(security)
      return route { security = security }
    end

    it("takes lists, a limit and users", function()
      local spec = compiled(with_security {
        ipAllowList = { "10.0.0.0/8" }, ipBlockList = { "10.0.0.9" }, maxConnections = 50,
        basicAuth = { users = { { username = "a", password = "b:c" } }, realm = "here" } })
      assert.same({ { "10.0.0.0/8" }, { "10.0.0.9" }, 50, { { "a", "b:c" } }, "here" },
        { spec.allow, spec.block, spec.max_connections, spec.users, spec.realm })
    end)

    it("asks for no password when that is switched off", function()
      assert.is_nil(compiled(with_security { basicAuth = { enabled = false } }).users)
      assert.is_nil(compiled(with_security { rateLimit = { enabled = false } }).users)
    end)

    it("is refused with its place, and without the password", function()
      for security, expected in pairs {
        [{ ipAllowList = { { ip = "x" } } }] =
          "ipAllowList[0]: must be a string, not an object",
        [{ maxConnections = 0 }] =
          "maxConnections: 0 is not a number of connections (1 to 1000000000)",
        [{ rateLimit = { enabled = true } }] = "rateLimit: rate limits are not supported yet",
        [{ jwtAuth = { secret = "x" } }] =
          "jwtAuth: JWT is not supported; check tokens in a policy script",
        [{ basicAuth = {} }] = "basicAuth.users: is missing: nobody could come in",
        [{ basicAuth = { users = { { username = "a:b", password = "x" } } } }] =
          "basicAuth.users[0].username: holds a colon, "
          .. "which ends a name in basic authentication",
        [{ basicAuth = { users = { { username = "a", password = 5 } } } }] =
          "basicAuth.users[0].password: must be a string that is not empty",
        [{ basicAuth = { users = { { username = "a", password = "b" } }, realm = 'a"b' } }] =
          "basicAuth.realm: holds a quote or a backslash",
      } do
        refused(with_security(security), "routes[1].security." .. expected)
      end
    end)
  end)

  describe("headers", function()
    it("are set, removed, and sorted", function()
      local spec = compiled(route { headers = {
        request = { ["x-b"] = "{domain}", ["X-A"] = json.null },
        response = { server = false } } })
      assert.same({ { "X-A", false }, { "x-b", "{domain}" } }, spec.request_headers)
      assert.same({ { "server", false } }, spec.response_headers)
    end)

    it("are refused where they would break messages", function()
      for request, expected in pairs {
        [{ ["x y"] = "a" }] = ': "x y" is not a header name',
        [{ x = "a\r\nb" }] = ".x: must be a string without line breaks, "
          .. 'or null to remove the header, not "a\\x0d\\x0ab"',
        [{ ["Content-Length"] = "5" }] = ': "Content-Length" is set by the proxy itself',
        [{ "a" }] = ": must be an object, not an array",
      } do
        refused(route { headers = { request = request } },
          "routes[1].headers.request" .. expected)
      end
    end)
  end)

  it("does not believe that a password guards what it cannot see", function()
    local r = with_tls { mode = "passthrough" }
    r.security = { basicAuth = { users = { { username = "a", password = "b" } } } }
    refused(r, "routes[1].security.basicAuth: cannot be used with tls.mode passthrough, "
      .. "where requests are not seen")
    refused(with_match { protocol = "tcp", path = "/x" },
      "routes[1].match.path: cannot be used with match.protocol tcp, where requests are not seen")
  end)

  it("checks 10,000 routes in far less than a second", function()
    local list = {}
    for i = 1, 10000 do
      list[i] = route {
        name = "app-" .. i,
        match = { ports = 443, domains = ("app-%d.example.com"):format(i) },
      }
    end
    local before = os.clock()
    assert.equal(10000, #routes.compile(list))
    assert.is_true(os.clock() - before < 0.5)
  end)
end)

describe("routes.publish", function()
  before_each(testing.reset)

  it("hands specs and the policy to the data plane", function()
    local result = routes.publish({ route() }, { policy = { blockedIps = { "10.0.0.9" } } })
    assert.equal(1, result.routes)
    assert.equal("app", testing.world.published[1].specs[1].name)
    assert.same({ block = { "10.0.0.9" } }, testing.world.published[1].policy)
  end)

  it("publishes nothing when one route of many is bad", function()
    local list = {}
    for i = 1, 1000 do
      list[i] = route { name = "r" .. i }
    end
    list[500].action.targets[1].port = 70000
    assert.same({
      nil, "routes[499].action.targets[0].port: 70000 is not a port (1 to 65535)", "invalid",
    }, { routes.publish(list) })
    assert.same({}, testing.world.published)
  end)

  it("refuses a bad policy", function()
    assert.same({ nil, 'blockedIp: unknown key (did you mean "blockedIps"?)', "invalid" },
      { routes.publish({}, { policy = { blockedIp = {} } }) })
  end)

  it("names the route that the data plane refuses", function()
    testing.fake("publish", function()
      return nil, "action.tls.certificate: the key does not belong to the certificate", 1
    end)
    local _, err, kind = routes.publish { route { enabled = false }, route() }
    assert.equal(
      "routes[1].action.tls.certificate: the key does not belong to the certificate", err)
    assert.equal("invalid", kind)
  end)

  it("tells a failure of the world from a bad route", function()
    testing.fake("publish", function() return nil, "port 80: permission denied" end)
    assert.same({ nil, "port 80: permission denied", "failed" }, { routes.publish { route() } })
  end)
end)
