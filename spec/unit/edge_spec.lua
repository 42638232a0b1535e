local admin = require "sluice.edge.admin"
local edge = require "sluice.edge"
local link = require "sluice.edge.link"
local settings = require "sluice.edge.settings"
local sluice = require "sluice"
local testing = require "sluice.testing"
local token = require "sluice.token"

local world = testing.world

local hub = { hubHost = "hub.example", edgeId = "e1", secret = "s3cret", stun = false }
local pin = ("\1\2\3\4"):rep(8)

local function with(changes)
  local copy = {}
  for _, source in ipairs { hub, changes or {} } do
    for name, value in pairs(source) do
      copy[name] = value
    end
  end
  return copy
end

local function logged(text)
  local n = 0
  for _, entry in ipairs(world.logged) do
    if (entry.level ~= "debug") and entry.message:find(text, 1, true) then
      n = n + 1
    end
  end
  return n
end

describe("the settings of an edge", function()
  before_each(testing.reset)

  local function refused(changes)
    local ok, err = settings.compile(with(changes))
    assert.is_nil(ok)
    return err
  end

  it("have defaults", function()
    local s = assert(settings.compile { hubHost = "h", edgeId = "e", secret = "s" })
    assert.same({ "quic", "tls" }, s.transports)
    assert.same({ "order", 10, 60 }, { s.mode, s.hold, s.give_up })
    assert.same({ "stun.cloudflare.com", 3478 }, { s.stun.host, s.stun.port })
    assert.same({ 8443, false }, { s.hubs[1].port, s.hubs[1].verify })
    assert.is_nil(s.bind_address)
  end)

  it("come from a token, with the key of the hub", function()
    local text = token.encode { host = "h", port = 9, id = "e", secret = "s",
      fingerprint = sluice.crypto.base64url(pin) }
    local s = assert(settings.compile { token = text })
    assert.same({ "h", 9, "e", "s", pin },
      { s.hubs[1].host, s.hubs[1].port, s.hubs[1].id, s.hubs[1].secret, s.hubs[1].pin })
    local other = sluice.crypto.hex(("\9"):rep(32))
    s = assert(settings.compile { token = text, hubPort = 10, fingerprint = other })
    assert.same({ 10, ("\9"):rep(32) }, { s.hubs[1].port, s.hubs[1].pin })
  end)

  it("verify the hub when there is something to verify it by", function()
    local s = assert(settings.compile(with { caFile = "/ca.pem" }))
    assert.same({ true, "/ca.pem" }, { s.hubs[1].verify, s.hubs[1].ca_file })
    assert.is_true(assert(settings.compile(with { verify = true })).hubs[1].verify)
  end)

  it("say what is wrong, and where", function()
    for expected, changes in pairs {
      ["hubPort: 70000 is not a port (1 to 65535)"] = { hubPort = 70000 },
      ["edgeId: must not contain a space"] = { edgeId = "a b" },
      ["secret: is empty"] = { secret = "" },
      ['transport: "x" is not one of "quic", "quicWithFallback", "tcpTls", "tls"'] =
        { transport = "x" },
      ["listenPorts[1]: 0 is not a port (1 to 65535)"] = { listenPorts = { 80, 0 } },
      ['bindAddress: "eth0" is not an IP address'] = { bindAddress = "eth0" },
      ['unknown key (did you mean "transport"?)'] = { transprot = "quic" },
      ["fingerprint: not a SHA-256"] = { fingerprint = "12" },
      ["token: not a connection token"] = { token = "x" },
      ["stands beside hubs; put it into the hubs"] = { hubs = { {} } },
      ["routes[0].match: is missing"] = { routes = { {} } },
      ["security.ipAllowList[0]"] = { security = { ipAllowList = { "x" } } },
      ['stun: "a b" is not a server'] = { stun = "a b" },
    } do
      assert.matches(expected, refused(changes), 1, true)
    end
    local _, err = settings.compile { hubs = { { hubHost = "a" } } }
    assert.equal("hubs[0].edgeId: is missing", err)
    assert.is_nil(refused({ secret = "hid\nden" }):find("hid", 1, true))
  end)

  it("come from the environment", function()
    local env = { EDGE_HUB_HOST = "h", EDGE_ID = "e", EDGE_SECRET = "s", EDGE_STUN = "off",
      EDGE_LISTEN_PORTS = "80, 8000-8002", EDGE_HUB_PORT = "9", EDGE_TRANSPORT = "tls" }
    local function read(args)
      return settings.read(function(name) return env[name] end, args or {})
    end
    local s = assert(settings.compile(assert(read { "--hub-port", "10" })))
    assert.same({ 80, 8000, 8001, 8002 }, s.listen.tcp)
    assert.same({ 10, { "tls" } }, { s.hubs[1].port, s.transports })
    assert.is_nil(s.stun)
    env.EDGE_LISTEN_PORTS = "9-8"
    assert.same({ nil, "EDGE_LISTEN_PORTS: not a list of ports like 443,8000-8010" }, { read() })
    env = {}
    assert.matches("say where the hub is: EDGE_TOKEN", select(2, read()), 1, true)
  end)

  it("take several tokens for several hubs", function()
    local one = token.encode { host = "a", id = "e", secret = "s" }
    local two = token.encode { host = "b", id = "e", secret = "s" }
    local env = { EDGE_TOKEN = one .. ", " .. two, EDGE_MODE = "all" }
    local s = assert(settings.compile(assert(settings.read(function(n) return env[n] end, {}))))
    assert.same({ "a:8443", "b:8443", "all" }, { s.hubs[1].label, s.hubs[2].label, s.mode })
  end)

  it("keep hubs on this machine from having their port taken", function()
    assert.is_string(assert(settings.compile(with { hubHost = "127.0.0.1" })).reserved[8443])
    assert.is_nil(assert(settings.compile(with())).reserved[8443])
  end)
end)

describe("an edge", function()
  local service, main, events

  before_each(function()
    testing.reset()
    events = {}
    sluice.bus.subscribe("tunnel", function(message)
      table.insert(events, sluice.json.decode(message))
    end)
    main = testing.edge "main"
    main.on_connect = function()
      return '{"listenPorts":[443,80],"listenPortsUdp":[443],"stunIntervalSecs":300}'
    end
  end)

  local function start(changes)
    service = edge.new(assert(settings.compile(with(changes))), {
      random = function() return 0.5 end,
    })
    sluice.spawn(function()
      assert(service:start())
      service:run()
    end)
    testing.clock():advance(0)
  end

  local function advance(seconds)
    testing.clock():advance(seconds)
  end

  -- The routes that were published last: "tcp 443 -> main".
  local function live()
    local list = {}
    for i, spec in ipairs(world.published[#world.published].specs) do
      local names = {}
      for j, target in ipairs(spec.targets) do
        names[j] = target.tunnel
      end
      list[i] = ("%s %d -> %s"):format(spec.transport, spec.ports[1][1], table.concat(names, " "))
    end
    return list
  end

  local function transports()
    local list = {}
    for i, attempt in ipairs(main.connects) do
      list[i] = attempt.transport
    end
    return list
  end

  local function status()
    local result
    sluice.spawn(function() result = service:status() end)
    return result
  end

  it("opens what the hub assigns", function()
    start()
    assert.same({ "tcp 80 -> main", "tcp 443 -> main", "udp 443 -> main" }, live())
    local attempt = main.connects[1]
    assert.same({ "hub.example", 8443, "e1", "s3cret", "quic", 5 }, { attempt.host,
      attempt.port, attempt.id, attempt.secret, attempt.transport, attempt.timeout })
    assert.same({ { event = "portsAssigned", listenPorts = { 80, 443 },
      listenPortsUdp = { 443 } } }, events)
  end)

  it("has the routes of the operator first", function()
    start { routes = { { name = "own", match = { ports = 443, protocol = "tcp" },
      action = { type = "forward", targets = { { host = "a", port = 1 } } } } } }
    local specs = world.published[#world.published].specs
    assert.same({ "own", 0 }, { specs[1].name, specs[1].priority })
    assert.equal("tunnel-tcp-80", specs[2].name)
    assert.is_true(specs[2].priority < 0)
  end)

  it("guards the assigned ports with the access lists of its settings", function()
    start { security = { ipBlockList = { "203.0.113.9" } } }
    assert.same({ "203.0.113.9" }, world.published[#world.published].specs[1].block)
  end)

  it("hands its limits on to the tunnel", function()
    start { hold = 3, deadAfter = 4, maxStreams = 5, maxSessions = 6 }
    assert.same({ name = "main", hold = 3, dead_after = 4, max_streams = 5, max_sessions = 6 },
      main.options)
  end)

  it("binds to the address that it is told", function()
    start { bindAddress = "192.0.2.1" }
    assert.same({ bind_address = "192.0.2.1" }, world.settings)
  end)

  it("hands the ticket of a sluice on, and none of another hub", function()
    main.on_connect = function()
      return '{"listenPorts":[],"sluice":{"ticket":"' .. ("0a"):rep(16) .. '"}}'
    end
    start()
    assert.same({ ticket = ("\10"):rep(16) }, main.accepts[1])
    main.on_connect = function() return "{}" end
    main:event("down", "reset")
    advance(2)
    assert.same({}, main.accepts[2])
  end)

  it("opens other ports when the hub says so, and keeps the routes of those that stay", function()
    start()
    local before = world.published[#world.published].specs
    main:event("config", '{"listenPorts":[443,8080]}')
    advance(1)
    assert.same({ "tcp 443 -> main", "tcp 8080 -> main" }, live())
    assert.equal(before[2], world.published[#world.published].specs[1])
    assert.equal("portsUpdated", events[#events].event)
    assert.same({ 443, 8080 }, events[#events].listenPorts)
    local n = #events
    main:event("config", '{"listenPorts":[8080,443,443],"firewallConfig":{"x":1}}')
    advance(1)
    assert.equal(n, #events)
  end)

  it("reads what a hub says with tolerance", function()
    main.on_connect = function()
      return '{"listenPorts":[443,"x",0,70000,1.5,443,null],"listenPortsUdp":null,"new":{}}'
    end
    start()
    assert.same({ "tcp 443 -> main" }, live())
    assert.equal(1, logged("assigns what is no port"))
    main:event("config", '{"firewallConfig":{}}')
    advance(1)
    assert.same({ "tcp 443 -> main" }, live())
    for i, nonsense in ipairs { "nonsense", "null", "[]", "7", "" } do
      main:event("config", nonsense)
      advance(1)
      assert.equal(i, logged("means nothing"))
    end
    main:event("config", '{"listenPorts":7,"listenPortsUdp":"x"}')
    advance(1)
    assert.equal(2, logged("assigns what is no port"))
    assert.same({ "tcp 443 -> main" }, live())
  end)

  it("hears a hub that changes its mind all the time ten times a second", function()
    start()
    local n = #world.published
    for i = 1, 100 do
      main:event("config", ('{"listenPorts":[%d]}'):format(i))
      advance(0.01)
    end
    advance(1)
    assert.same({ "tcp 100 -> main" }, live())
    assert.is_true(#world.published - n <= 12)
  end)

  it("changes nothing when the hub says the same again", function()
    start()
    local n = #world.published
    main:event("config", '{"listenPorts":[443,80],"listenPortsUdp":[443]}')
    main:event("down", "reset")
    advance(10)
    assert.same({ 2, n }, { #main.connects, #world.published })
  end)

  it("does not repeat a reason at any length", function()
    main.on_connect = function() return nil, ("x"):rep(100000), "refused" end
    start()
    assert.equal(1, logged("cannot connect"))
    assert.is_true(#world.logged[#world.logged].fields.error < 400)
  end)

  it("takes the OK of an old hub, and opens its own ports", function()
    main.on_connect = function() return "OK" end
    start { listenPorts = { 80 }, listenPortsUdp = { 53 } }
    assert.same({ "tcp 80 -> main", "udp 53 -> main" }, live())
  end)

  it("opens ports of its own before there is a hub", function()
    main.on_connect = function() return nil, "connection refused", "failed" end
    start { listenPorts = { 80 } }
    assert.same({ "tcp 80 -> main" }, live())
  end)

  it("does not give its own ports away", function()
    start { reservedPorts = { 80 } }
    assert.same({ "tcp 443 -> main", "udp 443 -> main" }, live())
    assert.equal(1, logged("a port is refused"))
    main:event("config", '{"listenPorts":[80,443]}')
    advance(1)
    assert.equal(1, logged("a port is refused"))
    assert.same({ 443 }, events[#events].listenPorts)
  end)

  it("goes on without a port that is taken, and tries it again", function()
    local is_taken = true
    testing.fake("publish", function(specs)
      table.insert(world.published, { specs = specs })
      return { routes = #specs, compiled = 0, refused = is_taken and #specs > 0
        and { { index = 1, error = "port 80: address in use" } } or {} }
    end)
    start()
    assert.equal(1, logged("cannot be served"))
    assert.same({ { what = "tcp port 80 (main)", error = "port 80: address in use" } },
      status().failed)
    local n = #world.published
    advance(29)
    assert.equal(n, #world.published)
    advance(2)
    assert.equal(n + 1, #world.published)
    assert.equal(1, logged("cannot be served"))
    is_taken = false
    advance(30)
    assert.equal(1, logged("is served now"))
    assert.same({}, status().failed)
    n = #world.published
    advance(300)
    assert.equal(n, #world.published)
  end)

  it("keeps its ports open while the tunnel is down", function()
    start()
    local n = #world.published
    main.on_connect = function() return nil, "timed out", "timed out" end
    main:event("down", "reset by peer")
    advance(3600)
    assert.equal(n, #world.published)
    assert.is_false(status().connected)
    assert.same({ 80, 443 }, status().listenPorts)
  end)

  it("connects again, later and later", function()
    start()
    main.on_connect = function() return nil, "connection refused", "refused" end
    advance(30)
    main:event("down", "reset by peer")
    local times, before = {}, #main.connects
    for second = 1, 130 do
      advance(1)
      if #main.connects > before then
        table.insert(times, second)
        before = #main.connects
      end
    end
    assert.same({ 1, 3, 7, 15, 31, 61, 91, 121 }, times)
  end)

  it("waits a little more or less than others", function()
    assert.equal(0.8, link.backoff(0, function() return 0 end))
    assert.is_true(link.backoff(0, function() return 0.999 end) < 1.2)
    assert.equal(30, link.backoff(50, function() return 0.5 end))
  end)

  it("is patient again after half a minute of health, and not before", function()
    start { transport = "tls" }
    local function next_attempt()
      local n, seconds = #main.connects, 0
      main:event("down", "reset")
      repeat
        advance(0.5)
        seconds = seconds + 0.5
      until #main.connects > n
      return seconds
    end
    advance(1)
    assert.same({ 1, 2, 4 }, { next_attempt(), next_attempt(), next_attempt() })
    advance(31)
    assert.equal(1, next_attempt())
  end)

  it("tells the same reason once", function()
    main.on_connect = function() return nil, "unknown edge", "refused" end
    start()
    advance(300)
    assert.equal(1, logged("cannot connect to the hub"))
    main.on_connect = function() return nil, "timed out", "timed out" end
    advance(100)
    assert.equal(2, logged("cannot connect to the hub"))
  end)

  it("does not ask a hub twice that has refused it", function()
    main.on_connect = function() return nil, "unknown edge", "refused" end
    start()
    assert.same({ "quic" }, transports())
  end)

  it("goes over TLS where QUIC does not pass, and leaves QUIC alone for a while", function()
    main.on_connect = function(options)
      if options.transport == "quic" then
        return nil, "timed out", "timed out"
      end
      return '{"listenPorts":[1]}'
    end
    start()
    assert.same({ "quic", "tls" }, transports())
    advance(60)
    main:event("down", "reset")
    advance(2)
    assert.same({ "quic", "tls", "tls" }, transports())
    advance(300)
    main:event("down", "reset")
    advance(2)
    assert.same({ "quic", "tls", "tls", "quic", "tls" }, transports())
  end)

  it("uses one transport when it is told to", function()
    start { transport = "tls" }
    main:event("down", "reset")
    advance(2)
    assert.same({ "tls", "tls" }, transports())
  end)

  it("ends the streams of a tunnel that does not come back", function()
    start()
    main.on_connect = function() return nil, "timed out", "timed out" end
    main:event("down", "reset")
    local function gave_up()
      local n = 0
      for _, call in ipairs(main.calls) do
        n = n + (call == "give_up" and 1 or 0)
      end
      return n
    end
    advance(59)
    assert.equal(0, gave_up())
    advance(600)
    assert.equal(1, gave_up())
  end)

  it("keeps them when it comes back in time", function()
    start()
    main:event("down", "reset")
    advance(600)
    for _, call in ipairs(main.calls) do
      assert.not_equal("give_up", call)
    end
  end)

  it("warns when nothing proves who the hub is", function()
    start()
    assert.equal(1, logged("nothing proves that the hub is the right one"))
    testing.reset()
    start { fingerprint = sluice.crypto.hex(pin) }
    assert.equal(0, logged("nothing proves"))
    assert.equal(pin, testing.edge("main").connects[1].pin)
  end)

  it("hangs up on what is no hub", function()
    main.on_connect = function() return "HTTP/1.1 400 Bad Request" end
    start { transport = "tls" }
    assert.same({ "connect", "hang_up" }, { main.calls[#main.calls - 1], main.calls[#main.calls] })
    assert.equal(1, logged("cannot connect"))
  end)

  it("shows how it is", function()
    testing.fake("stun", function() return "203.0.113.7", 1234 end)
    main.status = { active_streams = 3, transport = "quic", answer = "ticket",
      queue = { data = 1 } }
    start { stun = "stun.example:3478" }
    local shown = status()
    assert.same({ true, true, "203.0.113.7", 3 }, { shown.running, shown.connected,
      shown.publicIp, shown.activeStreams })
    assert.same({ "main", "hub.example:8443", 1 }, { shown.tunnels[1].name,
      shown.tunnels[1].hub, shown.tunnels[1].queue.data })
    assert.is_nil(sluice.json.encode(shown):find("ticket", 1, true))
  end)

  it("asks for its address as often as the hub says, and tells when it has changed", function()
    local asked, ip = {}, "203.0.113.7"
    testing.fake("stun", function(host, port)
      table.insert(asked, host .. ":" .. port)
      return ip, 1
    end)
    main.on_connect = function() return '{"stunIntervalSecs":100}' end
    start { stun = "[2001:db8::1]:99" }
    advance(250)
    assert.same({ "2001:db8::1:99", "2001:db8::1:99", "2001:db8::1:99" }, asked)
    ip = "203.0.113.8"
    advance(100)
    local seen = {}
    for _, event in ipairs(events) do
      table.insert(seen, event.event == "publicIpDiscovered" and event.ip or nil)
    end
    assert.same({ "203.0.113.7", "203.0.113.8" }, seen)
  end)

  it("does not care when nobody knows its address", function()
    start { stun = "stun.example" }
    advance(600)
    assert.equal(1, logged("the public address is not known"))
    assert.is_true(status().connected)
  end)

  describe("with several hubs", function()
    local hubs = {
      { hubHost = "a", edgeId = "e", secret = "s" }, { hubHost = "b", edgeId = "e", secret = "s" },
    }
    local down

    local function start_with(mode)
      down = {}
      service = edge.new(assert(settings.compile {
        hubs = hubs, mode = mode, transport = "tls", stun = false, listenPorts = { 9 },
      }), { random = function() return 0.5 end })
      for _, name in ipairs { "main", "hub-2" } do
        testing.edge(name).on_connect = function(options)
          if down[options.host] then
            return nil, "connection refused", "failed"
          end
          return ('{"listenPorts":[%s]}'):format(options.host == "a" and "1,2" or "2,3")
        end
      end
      sluice.spawn(function()
        assert(service:start())
        service:run()
      end)
      advance(0)
    end

    local function hosts()
      local list = {}
      for i, attempt in ipairs(main.connects) do
        list[i] = attempt.host
      end
      return table.concat(list, " ")
    end

    it("goes to the next when one fails, and comes back to the one that it had", function()
      start_with "order"
      assert.equal("a", hosts())
      down.a = true
      main:event("down", "reset")
      advance(2)
      assert.equal("a a b", hosts())
      down.a = nil
      main:event("down", "reset")
      advance(3)
      assert.equal("a a b b", hosts())
      assert.same({ "tcp 2 -> main", "tcp 3 -> main", "tcp 9 -> main" }, live())
    end)

    it("waits when all have failed", function()
      start_with "order"
      down = { a = true, b = true }
      main:event("down", "reset")
      advance(0.9)
      assert.equal("a", hosts())
      advance(0.2)
      assert.equal("a a b", hosts())
      advance(1)
      assert.equal("a a b", hosts())
    end)

    it("has tunnels to all of them", function()
      start_with "all"
      assert.same({ "tcp 1 -> main", "tcp 2 -> main hub-2", "tcp 3 -> hub-2",
        "tcp 9 -> main hub-2" }, live())
      testing.edge("hub-2"):event("down", "reset")
      assert.is_true(status().connected)
      assert.same({ 1, 2, 3, 9 }, status().listenPorts)
    end)
  end)

  describe("after a reload of the script", function()
    it("goes on with the tunnel that is up", function()
      start()
      main.status = { connected = true, transport = "quic",
        answer = '{"listenPorts":[443,80],"listenPortsUdp":[443]}', config = '{"listenPorts":[7]}' }
      local n = #main.connects
      start()
      assert.equal(n, #main.connects)
      assert.same({ "tcp 7 -> main" }, live())
      assert.is_true(status().connected)
    end)

    it("keeps the ports while the tunnel is down", function()
      start()
      main:event("down", "reset")
      main.on_connect = function() return nil, "timed out", "timed out" end
      start()
      assert.same({ "tcp 80 -> main", "tcp 443 -> main", "udp 443 -> main" }, live())
    end)

    it("goes to another hub when it is told to", function()
      start()
      main.status = { connected = true, answer = "{}" }
      start { hubHost = "other.example" }
      assert.equal("other.example", main.connects[#main.connects].host)
    end)
  end)

  describe("has a status endpoint", function()
    local function ask(path)
      local verb
      local api = { host = "127.0.0.1", port = 3000, max_body = 1000, prefix = "ADMIN" }
      sluice.spawn(function()
        verb = admin.new(service, api):handle(testing.request { path = path,
          host = "127.0.0.1", scheme = "http", tls = false })
      end)
      return verb.status, sluice.json.decode(verb.body)
    end

    it("with what a probe asks", function()
      start()
      assert.equal(200, (ask "/health"))
      assert.equal(200, (ask "/ready"))
      assert.is_true(select(2, ask "/status").connected)
      main.on_connect = function() return nil, "timed out" end
      main:event("down", "reset")
      assert.equal(200, (ask "/health"))
      assert.equal(503, (ask "/ready"))
      assert.equal(404, (ask "/edges"))
    end)
  end)

  it("ends its tunnel when it is closed", function()
    start()
    service:close()
    assert.is_true(main.is_closed)
    local n = #main.connects
    advance(600)
    assert.equal(n, #main.connects)
  end)
end)
