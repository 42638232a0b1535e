local coreflow = require "sluice.coreflow"
local fake_websocket = require "support.fake_websocket"
local settings = require "sluice.coreflow.settings"
local sluice = require "sluice"
local testing = require "sluice.testing"

local json = sluice.json
local world = testing.world

local cert = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"
local key = "-----BEGIN PRIVATE KEY-----\nMIIBSECRET\n-----END PRIVATE KEY-----\n"

local function entry(host, changes)
  local e = { hostName = host, destinationIps = { "10.0.0.10" }, destinationPorts = { 3000 },
    publicKey = cert, privateKey = key }
  for name, value in pairs(changes or {}) do
    e[name] = value
  end
  return e
end

describe("the settings of Coreflow mode", function()
  local function read(env, ...)
    return settings.read(function(name) return env[name] end, { ... })
  end

  it("are those of the original when nothing is said", function()
    assert.same({ url = "http://coreflow:3000", http_port = 7999, https_port = 8000,
      alt_svc_port = 443 }, read {})
  end)

  it("come from the environment, and before that from options", function()
    local env = { COREFLOW_URL = "https://other:1", CORETRAFFIC_HTTP_PORT = "80",
      CORETRAFFIC_HTTPS_PORT = " 8443 ", CORETRAFFIC_ALT_SVC_PORT = "444" }
    assert.same({ url = "https://other:1", http_port = 80, https_port = 8443,
      alt_svc_port = 444 }, read(env))
    assert.same({ url = "http://third", http_port = 81, https_port = 82, alt_svc_port = 83 },
      read(env, "--coreflow-url", "http://third", "--http-port=81", "--https-port", "82",
        "--alt-svc-port=83"))
  end)

  it("are refused when they are wrong", function()
    local function refuses(expected, env, ...)
      local result, err = read(env, ...)
      assert.is_nil(result)
      assert.equal(expected, err)
    end
    refuses("COREFLOW_URL: not a URL like http://coreflow:3000", { COREFLOW_URL = "coreflow" })
    refuses("--http-port: not a port (1 to 65535)", {}, "--http-port")
    refuses("--https-port: not a port (1 to 65535)", {}, "--https-port=65536")
    refuses("CORETRAFFIC_ALT_SVC_PORT: not a port (1 to 65535)",
      { CORETRAFFIC_ALT_SVC_PORT = "0" })
    refuses("port 8000 cannot serve HTTP and HTTPS: set CORETRAFFIC_HTTP_PORT or "
      .. "CORETRAFFIC_HTTPS_PORT", { CORETRAFFIC_HTTP_PORT = "8000" })
  end)
end)

describe("coreflow", function()
  local service, server

  local function make(changes)
    local with = { connect = server.connect }
    for name, value in pairs(changes or {}) do
      with[name] = value
    end
    return coreflow.new({ url = "http://coreflow:3000", http_port = 7999, https_port = 8000,
      alt_svc_port = 443 }, with)
  end

  before_each(function()
    testing.reset()
    server = fake_websocket.server()
    service = make()
  end)

  -- Pushes and waits for the answer.
  local function push(list)
    local answer
    sluice.spawn(function() answer = service:update { reverseConfigs = list } end)
    testing.clock():advance(1)
    return answer
  end

  local function last()
    return world.published[#world.published].specs
  end

  local function names()
    local list = {}
    for i, spec in ipairs(last()) do
      list[i] = spec.name
    end
    return list
  end

  -- The data plane refuses certificates with BAD in them.
  local function refuse_bad()
    testing.fake("publish", function(specs, policy, tolerant)
      assert.is_true(tolerant)
      local refused, good = {}, {}
      for i, spec in ipairs(specs) do
        if spec.cert and spec.cert.cert:find "BAD" then
          table.insert(refused, { index = i, error = "action.tls.certificate.key: wrong key" })
        else
          table.insert(good, spec)
        end
      end
      table.insert(world.published, { specs = good, policy = policy })
      return { routes = #good, compiled = #good, refused = refused }
    end)
  end

  local bad_cert = cert:gsub("MIIC", "BAD")

  local function warnings()
    local list = {}
    for _, line in ipairs(world.logged) do
      if line.level == "warn" then
        table.insert(list, line)
      end
    end
    return list
  end

  it("makes one route of each entry, and the redirect", function()
    assert.same({ status = "ok", errorText = "" }, push { entry "a.test", entry "*.b.test" })
    assert.same({ "http-to-https-redirect", "https-a.test", "https-*.b.test" }, names())
    local redirect, a = last()[1], last()[2]
    assert.same({ { 7999, 7999 } }, redirect.ports)
    assert.equal("https://{domain}{path}", redirect.location)
    assert.equal(301, redirect.status)
    assert.same({ { 8000, 8000 } }, a.ports)
    assert.same({ "a.test" }, a.domains)
    assert.equal("terminate", a.tls)
    assert.same({ cert = cert, key = key }, a.cert)
    assert.equal("round-robin", a.balance)
    for _, spec in ipairs(last()) do
      assert.same({ { "servezone_coretraffic_version", sluice.version } }, spec.response_headers)
    end
  end)

  it("forwards to each address with each port, in order", function()
    push { entry("a.test", { destinationIps = { "10.0.0.1", "fd00::1" },
      destinationPorts = { 80, 81 } }) }
    local targets = {}
    for i, target in ipairs(last()[2].targets) do
      targets[i] = target.host .. " " .. target.port
      assert.is_false(target.tls)
    end
    assert.same({ "10.0.0.1 80", "10.0.0.1 81", "fd00::1 80", "fd00::1 81" }, targets)
  end)

  it("takes the singular fields of old senders, and ignores what it does not know", function()
    local e = entry("a.test", { destinationIp = "10.0.0.7", destinationPort = "3001", more = {} })
    e.destinationIps, e.destinationPorts = nil, nil
    assert.equal("ok", push { e }.status)
    assert.same({ "10.0.0.7", 3001 }, { last()[2].targets[1].host, last()[2].targets[1].port })
  end)

  it("asks for a password where one is pushed", function()
    push { entry("a.test", { authentication = { type = "Basic", user = "u", pass = "p" } }),
      entry("b.test", { authentication = json.null }) }
    assert.same({ { "u", "p" } }, last()[2].users)
    assert.equal("a.test", last()[2].realm)
    assert.is_nil(last()[3].users)
  end)

  it("serves HTTP/3, too, and announces it on the outer port", function()
    push { entry "a.test" }
    assert.same({ "all", 443, 86400 },
      { last()[2].transport, last()[2].alt_svc_port, last()[2].alt_svc_max_age })
    assert.equal("tcp", last()[1].transport)
    assert.is_nil(last()[1].alt_svc_max_age)
  end)

  it("takes an empty push for what it is", function()
    push { entry "a.test" }
    assert.equal("ok", push {}.status)
    assert.same({ "http-to-https-redirect" }, names())
  end)

  it("leaves a bad entry out and says which and why", function()
    local rows = {
      [{ destinationPorts = {} }] = "destinationPorts: is empty: there is nowhere to forward to",
      [{ destinationPorts = { 0 } }] = "destinationPorts[0]: 0 is not a port (1 to 65535)",
      [{ destinationPorts = { "x" } }] = 'destinationPorts[0]: "x" is not a port (1 to 65535)',
      [{ destinationPorts = { 1, 2.5 } }] = "destinationPorts[1]: 2.5 is not a port (1 to 65535)",
      [{ destinationPorts = json.null }] = "destinationPorts: is missing",
      [{ destinationIps = {} }] = "destinationIps: is empty: there is nowhere to forward to",
      [{ destinationIps = { "a b" } }] =
        'destinationIps[0]: "a b" is not a host name or address',
      [{ destinationIps = { 7 } }] = "destinationIps[0]: must be a string, not 7",
      [{ destinationIps = "10.0.0.1" }] =
        'destinationIps: must be an array of addresses, not "10.0.0.1"',
      [{ publicKey = json.null }] = "publicKey: is missing",
      [{ privateKey = 7 }] = "privateKey: must be PEM text",
      [{ publicKey = key }] = "publicKey: holds no PEM block BEGIN CERTIFICATE-----",
      [{ privateKey = "x" }] = "privateKey: holds no PEM block PRIVATE KEY-----",
      [{ authentication = { type = "Digest" } }] = 'authentication: must be of the type "Basic"',
      [{ authentication = true }] = 'authentication: must be of the type "Basic"',
      [{ authentication = { type = "Basic", user = "a:b", pass = "p" } }] =
        "authentication.user: holds a colon, which ends a name in basic authentication",
      [{ authentication = { type = "Basic", user = "a" } }] =
        "authentication.pass: must be a string that is not empty",
    }
    for changes, expected in pairs(rows) do
      service = make()
      assert.same({ status = "error", errorText = "bad.test: " .. expected },
        push { entry "a.test", entry("bad.test", changes), entry "c.test" })
      assert.same({ "http-to-https-redirect", "https-a.test", "https-c.test" }, names())
    end
  end)

  it("names entries by their place when they have no name", function()
    assert.equal("reverseConfigs[0]: must be an object; reverseConfigs[1]: hostName: is missing; "
      .. 'reverseConfigs[2]: hostName: "a b" is not a domain name or pattern; '
      .. "reverseConfigs[3]: hostName: is not a domain name",
      push { 7, {}, entry "a b", entry(key), entry "a.test" }.errorText)
    assert.same({ "http-to-https-redirect", "https-a.test" }, names())
  end)

  it("does not make a million targets of one entry", function()
    local many = {}
    for i = 1, 1001 do
      many[i] = i
    end
    assert.equal("a.test: destinationIps: makes more than 1000 targets",
      push { entry("a.test", { destinationPorts = many }) }.errorText)
  end)

  it("leaves out what only the data plane can see to be wrong", function()
    refuse_bad()
    assert.same({ status = "error", errorText = "bad.test: privateKey: wrong key" },
      push { entry "a.test", entry("bad.test", { publicKey = bad_cert }), entry "c.test" })
    assert.same({ "http-to-https-redirect", "https-a.test", "https-c.test" }, names())
  end)

  it("goes on with what a host had before its entry was bad", function()
    refuse_bad()
    push { entry "a.test", entry "b.test" }
    for _, changes in ipairs { { publicKey = bad_cert }, { destinationPorts = {} } } do
      local answer = push { entry("a.test", changes), entry "c.test" }
      assert.equal("error", answer.status)
      local all = names()
      table.sort(all)
      assert.same({ "http-to-https-redirect", "https-a.test", "https-c.test" }, all)
    end
    push { entry "c.test" }
    assert.same({ "http-to-https-redirect", "https-c.test" }, names())
  end)

  it("takes the first of two entries for a host, and says so in the log alone", function()
    local second = entry("a.test", { destinationPorts = { 9 } })
    assert.equal("ok", push { entry "a.test", second }.status)
    assert.same({ "http-to-https-redirect", "https-a.test" }, names())
    assert.equal(3000, last()[2].targets[1].port)
    assert.equal("ignored", warnings()[1].fields.result)
  end)

  it("sees each field that changes", function()
    local authentication = { type = "Basic", user = "u", pass = "p" }
    local versions = { {}, { destinationPorts = { 3001 } }, { destinationPorts = { 3001, 3002 } },
      { destinationIps = { "10.0.0.11" } }, { publicKey = cert .. "\n" },
      { privateKey = key .. "\n" }, { authentication = authentication },
      { authentication = { type = "Basic", user = "u", pass = "q" } }, {} }
    local before
    for _, changes in ipairs(versions) do
      push { entry("a.test", changes) }
      local spec = last()[2]
      push { entry("a.test", changes) }
      assert.equal(spec, last()[2]) -- the same table: nothing was compiled
      if before then
        assert.not_same(before, spec)
      end
      before = spec
    end
  end)

  it("logs a bad entry once, until it changes", function()
    local bad = entry("bad.test", { destinationPorts = {} })
    push { bad }
    push { bad }
    assert.equal(1, #warnings())
    assert.equal("bad.test", warnings()[1].fields.host)
    push { entry "bad.test" }
    push { bad }
    assert.equal(2, #warnings())
    assert.equal("as it was before", warnings()[2].fields.result)
  end)

  it("says and logs a bounded part of a thousand bad entries", function()
    local list = {}
    for i = 1, 1000 do
      list[i] = entry("h" .. i .. ".test", { destinationPorts = {} })
    end
    local answer = push(list)
    assert.is_true(#answer.errorText < 8000)
    assert.matches("; and 980 more$", answer.errorText)
    assert.equal(101, #warnings())
  end)

  it("keeps everything when the whole cannot be applied", function()
    push { entry "a.test" }
    testing.fake("publish", function() return nil, "port 8000: address in use" end)
    assert.same({ status = "error", errorText = "port 8000: address in use" },
      push { entry "b.test" })
    testing.fake("publish", nil)
    assert.same({ "http-to-https-redirect", "https-a.test" }, names())
  end)

  it("says that a port is taken, and serves the others", function()
    testing.fake("publish", function(specs)
      return { routes = #specs - 1, compiled = 0,
        refused = { { index = 1, error = "port 7999: address in use" } } }
    end)
    assert.same({ nil, "port 7999: address in use" }, { service:start() })
    assert.same({ status = "error",
      errorText = "the redirect to HTTPS: port 7999: address in use" }, push { entry "a.test" })
    assert.equal("not served", warnings()[1].fields.result)
  end)

  it("refuses what is no list", function()
    for _, request in ipairs { 7, {}, { reverseConfigs = "x" }, { reverseConfigs = { a = 1 } },
      { reverseConfigs = json.null } } do
      local answer = service:update(request)
      assert.same({ status = "error", errorText = "reverseConfigs must be an array" }, answer)
    end
    assert.same({}, world.published)
  end)

  it("applies a hundred pushes of one second three times, the last one included", function()
    local answers = 0
    for i = 1, 100 do
      sluice.timer(i / 100, function()
        local answer = service:update { reverseConfigs = { entry("p" .. i .. ".test") } }
        answers = answers + (answer.status == "ok" and 1 or 0)
      end)
    end
    testing.clock():advance(3)
    assert.is_true(#world.published <= 3)
    assert.same({ "http-to-https-redirect", "https-p100.test" }, names())
    assert.equal(100, answers)
  end)

  it("serves the redirect before the first push, but never takes away what is there", function()
    sluice.spawn(function() assert.is_true(service:start()) end)
    assert.same({ "http-to-https-redirect" }, names())
    testing.reset()
    world.stats = { routes_count = 5 }
    sluice.spawn(function() assert.is_true(service:start()) end)
    assert.same({}, world.published)
  end)

  it("answers Coreflow over the connection, and keeps the routes when it is lost", function()
    sluice.spawn(service.run, service)
    local connection = server:last()
    connection:say(json.encode { method = "updateRouting",
      request = { reverseConfigs = { entry "a.test" } }, response = json.null,
      correlation = { id = "uni_1", phase = "request" } })
    local answer = json.decode(connection.sent[2])
    assert.same({ status = "ok", errorText = "" }, answer.response)
    connection:drop("closed")
    testing.clock():advance(5)
    assert.equal(1, #world.published)
    service:close()
  end)

  it("never logs or answers a key", function()
    refuse_bad()
    local texts = { push({ entry "a.test", entry("b.test", { publicKey = bad_cert }), entry(key),
      entry("c.test", { publicKey = key, privateKey = cert }),
      entry("d.test", { destinationIps = { key } }),
      entry("e.test", { authentication = { type = "Basic", user = key, pass = key } }),
    }).errorText }
    for _, line in ipairs(world.logged) do
      table.insert(texts, json.encode { line.message, line.fields })
    end
    assert.is_nil(table.concat(texts):find("SECRET", 1, true))
  end)
end)
