local admin = require "sluice.hub.admin"
local edges = require "sluice.hub.edges"
local hub = require "sluice.hub"
local settings = require "sluice.hub.settings"
local sluice = require "sluice"
local testing = require "sluice.testing"
local token = require "sluice.token"

local world = testing.world
local path = "/state/edges.json"

local function logged(text)
  for _, entry in ipairs(world.logged) do
    if entry.message:find(text, 1, true) then
      return true
    end
  end
  return false
end

-- Runs fn as a task that does not have to wait.
local function now(fn)
  local results
  sluice.spawn(function() results = { fn() } end)
  assert.is_table(results, "the task waits")
  return unpack(results, 1, 3)
end

describe("the list of edges", function()
  before_each(testing.reset)

  it("is complete after it was read", function()
    assert.same({
      { id = "a", secret = "s 1", listenPorts = { 80, 443 }, listenPortsUdp = {},
        stunIntervalSecs = 300 },
      { id = "b", secret = "s", listenPorts = {}, listenPortsUdp = { 53 },
        stunIntervalSecs = 60 },
    }, edges.parse [[[{"id":"a","secret":"s 1","listenPorts":[443,80,443]},
      {"id":"b","secret":"s","listenPortsUdp":[53],"stunIntervalSecs":60}] ]])
    assert.equal("c", edges.parse('{"edges":[{"id":"c","secret":"s"}]}')[1].id)
    assert.same({}, edges.parse "[]")
  end)

  it("comes back from its own text", function()
    local list = assert(edges.parse '[{"id":"a\\"","secret":"s\\\\","listenPorts":[1]}]')
    assert.same(list, edges.parse(edges.text(list)))
    assert.same({}, edges.parse(edges.text {}))
  end)

  it("is refused with the path of what is wrong", function()
    for text, expected in pairs {
      ["{"] = "not JSON: ",
      ["1"] = "edges: must be an array of edges, not 1",
      ['{"id":"a"}'] = "edges: must be an array of edges, not an object",
      ["[1]"] = "edges[0]: must be an object, not 1",
      ['[{"secret":"s"}]'] = "edges[0].id: is missing",
      ['[{"id":"a"}]'] = "edges[0].secret: is missing",
      ['[{"id":"a b","secret":"s"}]'] = "edges[0].id: must not contain a space",
      ['[{"id":"a","secret":"s\\n"}]'] = "edges[0].secret: holds a control character",
      ['[{"id":"a","secret":"s"},{"id":"a","secret":"t"}]'] =
        "edges[1].id: is also that of edges[0]",
      ['[{"id":"a","secret":"s","listenPorts":[80,0]}]'] =
        "edges[0].listenPorts[1]: 0 is not a port (1 to 65535)",
      ['[{"id":"a","secret":"s","listenPorts":80}]'] =
        "edges[0].listenPorts: must be an array of ports, not 80",
      ['[{"id":"a","secret":"s","listenPort":[80]}]'] =
        'edges[0].listenPort: unknown key (did you mean "listenPorts"?)',
      ['[{"id":"a","secret":"s","stunIntervalSecs":0}]'] =
        "edges[0].stunIntervalSecs: 0 is not a number of seconds (1 to 86400)",
    } do
      local list, err = edges.parse(text)
      assert.is_nil(list, text)
      assert.matches(expected, err, 1, true)
    end
    local _, err = edges.compile { { id = "a", secret = ("x"):rep(1025) } }
    assert.equal("edges[0].secret: is longer than 1024 bytes", err)
  end)

  it("keeps the secrets that who sends it cannot know", function()
    local before = { { id = "a", secret = "s" } }
    assert.equal("s", edges.compile({ { id = "a" } }, before)[1].secret)
    assert.equal("t", edges.compile({ { id = "a", secret = "t" } }, before)[1].secret)
    assert.is_nil((edges.compile({ { id = "b" } }, before)))
  end)
end)

describe("the settings of a hub", function()
  before_each(testing.reset)

  it("have defaults", function()
    local s = assert(settings.compile {})
    assert.same({ 8443, "127.0.0.1", true, "/var/lib/sluice", "/var/lib/sluice/edges.json" },
      { s.port, s.target_host, s.quic, s.state_dir, s.edges_file })
  end)

  it("come from the environment", function()
    local env = { HUB_TUNNEL_PORT = "0", HUB_TARGET_HOST = "10.0.0.1", HUB_QUIC = "off" }
    local given = assert(settings.read(function(name) return env[name] end,
      { "--state-dir=/s", "--target-host", "10.0.0.2" }))
    local s = assert(settings.compile(given))
    assert.same({ 0, "10.0.0.2", false, "/s/edges.json" },
      { s.port, s.target_host, s.quic, s.edges_file })
    env.HUB_TUNNEL_PORT = "x"
    assert.same({ nil, "HUB_TUNNEL_PORT: not a port (0 to 65535)" },
      { settings.read(function(name) return env[name] end, {}) })
  end)

  it("say what is wrong, and where", function()
    for expected, given in pairs {
      ["tunnelPort: 70000 is not a port"] = { tunnelPort = 70000 },
      ["targetHost: is empty"] = { targetHost = "" },
      ["key: is missing beside cert"] = { cert = "x" },
      ["keyFile: is missing beside certFile"] = { certFile = "x" },
      ["certFile: stands beside cert"] =
        { cert = "x", key = "y", certFile = "x", keyFile = "y" },
      ["edges: stands beside edgesFile"] = { edges = {}, edgesFile = "x" },
      ["edges[0].id: is missing"] = { edges = { {} } },
      ["routes[0].match: is missing"] = { routes = { {} } },
      ['unknown key (did you mean "targetHost"?)'] = { tragetHost = "x" },
    } do
      local s, err = settings.compile(given)
      assert.is_nil(s)
      assert.matches(expected, err, 1, true)
    end
  end)
end)

describe("a hub", function()
  local tunnels

  before_each(function()
    testing.reset()
    tunnels = testing.hub "hub"
    world.files[path] =
      '[{"id":"a","secret":"s1","listenPorts":[443,80],"listenPortsUdp":[53]}]'
  end)

  local function new(changes)
    local given = { stateDir = "/state" }
    for name, value in pairs(changes or {}) do
      given[name] = value
    end
    return hub.new(assert(settings.compile(given)))
  end

  local function started(changes)
    local service = new(changes)
    assert(now(function() return service:start() end))
    return service
  end

  local function last()
    return world.published[#world.published].specs
  end

  local function names()
    local list = {}
    for i, spec in ipairs(last()) do
      list[i] = spec.name
    end
    table.sort(list)
    return list
  end

  it("lets in the edges of its file, and tells them what to open", function()
    started { tunnelPort = 9000, quic = false, resumeTimeout = 30 }
    assert.same({ { id = "a", secret = "s1",
      config = '{"listenPorts":[80,443],"listenPortsUdp":[53],"stunIntervalSecs":300}' } },
      tunnels.edges)
    assert.same({ 9000, false, 30 },
      { tunnels.options.port, tunnels.options.quic, tunnels.options.resume_timeout })
  end)

  it("starts with nobody when there is no file", function()
    world.files[path] = nil
    started()
    assert.same({ {} }, tunnels.lists)
  end)

  it("does not start with a file that is wrong", function()
    world.files[path] = '[{"id":"a"}]'
    local service = new()
    assert.same({ nil, path .. ": edges[0].secret: is missing" },
      { now(function() return service:start() end) })
    assert.same({}, tunnels.lists)
  end)

  it("goes on with the list that it had when the file is wrong after a reload", function()
    started()
    world.files[path] = "{"
    started()
    assert.equal("a", tunnels.edges[1].id)
    assert.is_true(logged "the list of edges is wrong")
  end)

  it("serves what comes through tunnels, after the operator's routes", function()
    started { targetHost = "10.0.0.1", routes = { { name = "own",
      match = { ports = 443, via = "tunnel", protocol = "tcp" },
      action = { type = "forward", targets = { { host = "a", port = 1 } } } } } }
    assert.same({ "own", "tunnel-tcp-443", "tunnel-tcp-80", "tunnel-udp-53" }, names())
    for _, spec in ipairs(last()) do
      if spec.name ~= "own" then
        assert.same({ true, "tcp", 1, "10.0.0.1", 0, true }, { spec.tunnelled, spec.protocol,
          spec.send_proxy, spec.targets[1].host, spec.targets[1].port, spec.priority < 0 })
      end
    end
  end)

  describe("has a certificate", function()
    it("that it makes once and keeps", function()
      local first = started()
      local cert, key = tunnels.options.cert, tunnels.options.key
      assert.equal(cert .. key, world.files["/state/hub.pem"])
      assert.equal(cert, world.files["/state/hub.crt"])
      assert.is_nil(cert:find("KEY", 1, true))
      testing.fake("crypto.self_signed", function() error("not again") end)
      local second = started()
      assert.equal(cert, tunnels.options.cert)
      assert.equal(key, tunnels.options.key)
      assert.equal(first:fingerprint(), second:fingerprint())
    end)

    it("or one of the operator", function()
      local cert, key = sluice.crypto.self_signed("x")
      world.files["/c"], world.files["/k"] = cert, key
      started { certFile = "/c", keyFile = "/k" }
      assert.same({ cert, key }, { tunnels.options.cert, tunnels.options.key })
      assert.is_nil(world.files["/state/hub.pem"])
    end)

    it("which it does not replace when it is broken", function()
      world.files["/state/hub.pem"] = "x"
      local service = new()
      local ok, err = now(function() return service:start() end)
      assert.is_nil(ok)
      assert.matches("/state/hub.pem: does not hold a certificate and its key", err, 1, true)
      assert.equal("x", world.files["/state/hub.pem"])
    end)

    it("and does not start without", function()
      testing.fake("file.write", function() return nil, "permission denied" end)
      local service = new()
      assert.same({ nil, "the certificate of the hub cannot be kept in /state: permission denied" },
        { now(function() return service:start() end) })
    end)
  end)

  it("replaces its list: the file, the routes, the edges", function()
    local service = started()
    assert.is_true((now(function()
      return service:replace { { id = "a" }, { id = "b", secret = "s2", listenPorts = { 25 } } }
    end)))
    assert.same({ "s1", "s2" }, { tunnels.edges[1].secret, tunnels.edges[2].secret })
    assert.same({ "tunnel-tcp-25" }, names())
    assert.equal("b", edges.parse(world.files[path])[2].id)
  end)

  it("changes nothing when the list is wrong", function()
    local service, text = started(), world.files[path]
    assert.same({ nil, "edges[0].id: is missing", "invalid" },
      { now(function() return service:replace { {} } end) })
    assert.same({ text, 1 }, { world.files[path], #tunnels.lists })
  end)

  it("changes nothing when the file cannot be written", function()
    local service = started()
    testing.fake("file.write", function() return nil, "the disk is full" end)
    assert.same({ nil, path .. ": the disk is full", "failed" },
      { now(function() return service:replace {} end) })
    assert.equal(1, #tunnels.lists)
  end)

  it("takes the file back when the routes do not come up", function()
    local service = started()
    testing.fake("publish", function() return nil, "no" end)
    assert.same({ nil, "no", "failed" }, { now(function() return service:replace {} end) })
    assert.equal("a", edges.parse(world.files[path])[1].id)
    assert.equal(1, #tunnels.lists)
  end)

  it("keeps the edges of its script", function()
    local service = started { edges = { { id = "x", secret = "s" } } }
    assert.equal("x", tunnels.edges[1].id)
    assert.same({ nil, "the edges are those of the script", "invalid" },
      { now(function() return service:replace {} end) })
  end)

  it("makes tokens", function()
    local service = started { publicHost = "hub.example" }
    local made = token.decode(assert(service:token("a")))
    assert.same({ "hub.example", 8443, "a", "s1" },
      { made.host, made.port, made.id, made.secret })
    assert.equal(service:fingerprint(),
      sluice.crypto.hex(sluice.crypto.unbase64url(made.fingerprint)))
    made = token.decode(assert(service:token("a", "other", 1)))
    assert.same({ "other", 1 }, { made.host, made.port })
    assert.same({ nil, "there is no such edge", "not found" }, { service:token("b") })
    assert.same({ nil, "host: must not contain a space", "invalid" }, { service:token("a", "x y") })
    assert.matches("HUB_PUBLIC_HOST", select(2, started():token("a")), 1, true)
  end)

  it("shows who is connected", function()
    local service = started()
    tunnels.states.a = { connected = true, connected_at = 1700000000, active_streams = 2,
      transport = "quic", rtt_ms = 1.5 }
    tunnels.status = { accepted = 3, refused = 2, dropped = 1, edges_up = 1 }
    local shown = now(function() return service:status() end)
    assert.same({ true, 8443, 3, 2, 1, 1 }, { shown.running, shown.tunnelPort, shown.accepted,
      shown.refused, shown.dropped, shown.edgesUp })
    local one = shown.connectedEdges[1]
    assert.same({ "a", 1700000000, 2, "quic", 1.5 },
      { one.edgeId, one.connectedAt, one.activeStreams, one.transport, one.rttMs })
    tunnels.states.a.connected = false
    assert.matches('"connectedEdges":%[%]',
      sluice.json.encode(now(function() return service:status() end)))
  end)

  describe("has an admin API", function()
    local service, api

    before_each(function()
      service = started { publicHost = "hub.example" }
      api = { host = "127.0.0.1", port = 3000, max_body = 1000, prefix = "ADMIN" }
    end)

    local function ask(method, where, body, headers)
      local verb = now(function()
        return admin.new(service, api):handle(testing.request {
          method = method, path = where, body = body or "", headers = headers,
          host = "127.0.0.1", scheme = "http", tls = false,
        })
      end)
      return verb.status, sluice.json.decode(verb.body), verb
    end

    it("that shows the edges without their secrets", function()
      local status, body, verb = ask("GET", "/edges")
      assert.equal(200, status)
      assert.same({ { id = "a", listenPorts = { 80, 443 }, listenPortsUdp = { 53 },
        stunIntervalSecs = 300 } }, body.edges)
      assert.is_nil(verb.body:find("s1", 1, true))
      verb = select(3, ask("GET", "/status"))
      assert.is_nil(verb.body:find("s1", 1, true))
    end)

    it("that replaces them", function()
      local status, body = ask("PUT", "/edges", '[{"id":"b","secret":"s","listenPorts":[1]}]')
      assert.same({ 200, { ok = true, edges = 1 } }, { status, body })
      assert.equal("b", tunnels.edges[1].id)
      assert.equal(200, (ask("PUT", "/edges", '{"edges":[]}')))
      assert.same({}, tunnels.edges)
    end)

    it("that says what is wrong with a list", function()
      for body, expected in pairs {
        ['[{"id":"a"},{"id":"b"}]'] = "edges[1].secret: is missing",
        ['{"id":"a"}'] = "the body must be an array of edges",
        ['{"edges":[],"x":1}'] = "the body must be an array of edges",
        ['{"edges":{"a":1}}'] = "edges: must be an array of edges, not an object",
        ["{}"] = "the body must be an array of edges",
        ["x"] = "the body is not JSON",
        [""] = "the body is not JSON",
      } do
        local status, answer = ask("PUT", "/edges", body)
        assert.equal(400, status, body)
        assert.matches(expected, answer.error, 1, true)
      end
      assert.equal(413, (ask("PUT", "/edges", (" "):rep(2000))))
      assert.equal(1, #tunnels.lists)
      testing.fake("file.write", function() return nil, "the disk is full" end)
      assert.equal(500, (ask("PUT", "/edges", "[]")))
    end)

    it("that makes tokens", function()
      local status, body = ask("POST", "/edges/a/token")
      assert.equal(200, status)
      assert.equal("hub.example", token.decode(body.token).host)
      body = select(2, ask("POST", "/edges/%61/token", '{"hubHost":"h","hubPort":7}'))
      assert.same({ "h", 7 }, { token.decode(body.token).host, token.decode(body.token).port })
      assert.equal(404, (ask("POST", "/edges/b/token")))
      assert.equal(405, (ask("GET", "/edges/a/token")))
      assert.equal(400, (ask("POST", "/edges/a/token", '{"hubHost":1}')))
      assert.equal(400, (ask("POST", "/edges/a/token", "[1]")))
    end)

    it("that is guarded", function()
      api.token = "t0ken"
      for where, method in pairs { ["/edges"] = "GET", ["/status"] = "GET",
        ["/edges/a/token"] = "POST" } do
        local status, body = ask(method, where)
        assert.equal(401, status)
        assert.matches("ADMIN_TOKEN", body.error, 1, true)
        assert.equal(200, (ask(method, where, "", { authorization = "Bearer t0ken" })))
      end
      assert.equal(200, (ask("GET", "/health")))
      assert.equal(403, (ask("GET", "/edges", "", { origin = "http://evil.example" })))
    end)

    it("that knows when it is ready", function()
      assert.equal(200, (ask("GET", "/ready")))
      service = new()
      assert.equal(503, (ask("GET", "/ready")))
      assert.equal(200, (ask("GET", "/status")))
      assert.equal(500, (ask("PUT", "/edges", "[]")))
      assert.equal(404, (ask("POST", "/edges/a/token")))
    end)
  end)
end)

describe("the scripts of tunnels", function()
  before_each(testing.reset)

  local function run(script, name)
    return now(function() return script[name]() end)
  end

  it("start a hub with its admin API", function()
    world.env = { HUB_STATE_DIR = "/state", HUB_TUNNEL_PORT = "9000", ADMIN_PORT = "3100" }
    local script = testing.load "scripts/hub.lua"
    assert.is_true((run(script, "start")))
    assert.equal(200, now(function()
      return sluice.fetch("http://127.0.0.1:3100/ready").status
    end))
    assert.equal(9000, testing.hub("hub").port)
  end)

  it("check a hub and change nothing", function()
    world.env = { HUB_EDGES_FILE = path }
    world.files[path] = '[{"id":"a","secret":"s"}]'
    local script = testing.load "scripts/hub.lua"
    sluice.check = true
    finally(function() sluice.check = false end)
    assert.is_true((run(script, "check")))
    assert.same({ "would listen on port 8443, edges: 1" }, world.printed)
    assert.is_nil(testing.hub("hub").options)
    assert.is_nil(world.files["/var/lib/sluice/hub.pem"])
    world.files[path] = "{"
    assert.matches(path .. ": not JSON", select(2, run(script, "check")), 1, true)
  end)

  it("start an edge with its status endpoint", function()
    world.env = { EDGE_HUB_HOST = "h", EDGE_ID = "e", EDGE_SECRET = "s", EDGE_STUN = "off",
      ADMIN_PORT = "3200", EDGE_LISTEN_PORTS = "80,3200" }
    local script = testing.load "scripts/edge.lua"
    sluice.spawn(script.start)
    testing.clock():advance(0)
    assert.equal("h", testing.edge("main").connects[1].host)
    assert.equal(503, now(function()
      return sluice.fetch("http://127.0.0.1:3200/ready").status
    end))
    assert.same({ "tunnel-tcp-80" }, { world.published[1].specs[1].name,
      world.published[1].specs[2] })
  end)

  it("say what is wrong", function()
    local script = testing.load "scripts/edge.lua"
    assert.matches("say where the hub is", select(2, run(script, "check")), 1, true)
    world.env = { EDGE_TOKEN = "x" }
    assert.same({ nil, "token: not a connection token" }, { run(script, "start") })
    world.env = { ADMIN_HOST = "0.0.0.0" }
    assert.matches("set ADMIN_TOKEN", select(2, run(testing.load "scripts/hub.lua", "start")), 1,
      true)
    assert.same({}, world.servers)
  end)

  it("check an edge", function()
    world.env = { EDGE_TOKEN = token.encode { host = "h", id = "e", secret = "s" } }
    assert.is_true((run(testing.load "scripts/edge.lua", "check")))
    assert.same({ "would connect to h:8443 as e" }, world.printed)
  end)
end)
