local coreserver = require "sluice.coreserver"
local hooks = require "sluice.coreserver.hooks"
local settings = require "sluice.coreserver.settings"
local sluice = require "sluice"
local testing = require "sluice.testing"
local udp = require "sluice.testing.udp"

local world = testing.world

local function env(given)
  return function(name)
    return given[name]
  end
end

local function read(given, args)
  return settings.read(env(given or {}), args or {})
end

local function logged(text)
  local n = 0
  for _, entry in ipairs(world.logged) do
    n = n + (entry.message:find(text, 1, true) and 1 or 0)
  end
  return n
end

describe("the settings of a core-server", function()
  it("are those of the original when nobody says anything", function()
    local s = assert(read { HOME = "/h" })
    assert.same({ 80, 443, 40608, true, false, "local" },
      { s.http_port, s.https_port, s.command_port, s.udp, s.is_release, s.mode })
    assert.same({ "/h/.config/core-web-server", "certs", "mkcert" },
      { s.folder, s.certs, s.mkcert })
  end)

  it("know release mode by either way", function()
    for _, s in ipairs { assert(read({ HOME = "/h" }, { "--release" })),
      assert(read { HOME = "/h", CORE_SERVER_MODE = "release" }) } do
      assert.same({ true, "release", "/h/certs" }, { s.is_release, s.mode, s.certs })
    end
  end)

  it("say what is wrong", function()
    for expected, given in pairs {
      ["CORE_SERVER_MODE: must be local or release"] = { CORE_SERVER_MODE = "prod" },
      ["CORE_SERVER_HTTP_PORT: not a port"] = { CORE_SERVER_HTTP_PORT = "0" },
      ["port 443 cannot serve HTTP and HTTPS"] = { CORE_SERVER_HTTP_PORT = "443" },
      ["CORE_SERVER_ACME_CHALLENGES: must be"] = { CORE_SERVER_ACME_CHALLENGES = "dns-01" },
      ["belong together"] = { CORE_SERVER_ACME_EAB_KID = "k" },
      ["CORE_SERVER_UDP: neither"] = { CORE_SERVER_UDP = "maybe" },
    } do
      local s, err = read(given)
      assert.is_nil(s)
      assert.matches(expected, err, 1, true)
    end
  end)

  it("refuse a word that they do not know", function()
    for word, expected in pairs {
      ["--relase"] = '--relase: unknown option (did you mean "--release"?)',
      ["--release=yes"] = "--release=yes: unknown option",
      release = "release: unknown option",
      ["--port=80"] = "--port=80: unknown option",
    } do
      local s, err = read({}, { word })
      assert.is_nil(s, word)
      assert.matches(expected, err, 1, true)
    end
    local s = assert(read({}, { "--http-port", "8080", "--https-port=8443", "--release" }))
    assert.same({ 8080, 8443, "release" }, { s.http_port, s.https_port, s.mode })
  end)

  it("are limits, too", function()
    assert.equal("127.0.0.1",
      settings.limits(env { CORE_SERVER_BIND_ADDRESS = "127.0.0.1" }).bind_address)
    assert.is_nil(settings.limits(env {}).bind_address)
  end)
end)

describe("the hooks of a core-server", function()
  before_each(testing.reset)

  local function down(is_release)
    return hooks.new { is_release = is_release }:on_failure(testing.request {},
      { status = 502, route = "a.test", target = "[::1]:5173", error = "no target" })
  end

  it("mark what goes out, and know it when it comes back", function()
    local own = hooks.new {}
    local first = testing.request { host = "a.test" }
    assert.is_nil(own:on_request(first))
    local mark = first:header "cdn-loop"
    assert.matches("^sluice%-%x+$", mark)
    local other = testing.request { host = "a.test", headers = { ["cdn-loop"] = "other; x=1" } }
    assert.is_nil(hooks.new({}):on_request(other))
    assert.equal("other; x=1, " .. mark, other:header "cdn-loop")
    local back = testing.request { host = "a.test", headers = { ["cdn-loop"] = "b, " .. mark } }
    local verb = own:on_request(back)
    assert.equal(508, verb.status)
    assert.matches("a.test is a loop", verb.body, 1, true)
  end)

  it("say which service does not answer, to strangers without its port", function()
    local verb = down(false)
    assert.equal(502, verb.status)
    assert.matches("a.test: the service on localhost:5173 does not answer", verb.body, 1, true)
    assert.equal("a.test does not answer\n", down(true).body)
    assert.is_nil(hooks.new({}):on_failure(testing.request {}, { status = 502, error = "x" }))
  end)

  it("tell the control thread once a second", function()
    local told, own = 0, hooks.new {}
    sluice.bus.subscribe(hooks.topic, function()
      told = told + 1
    end)
    local failure = { status = 502, route = "a.test", target = "127.0.0.1:1", error = "x" }
    for _ = 1, 10 do
      own:on_failure(testing.request {}, failure)
    end
    assert.equal(1, told)
    testing.clock():advance(1.1)
    own:on_failure(testing.request {}, failure)
    assert.equal(2, told)
  end)
end)

describe("a core-server", function()
  local service, answers

  before_each(function()
    testing.reset()
    answers = {}
    testing.fake("udp.bind", function(options)
      if options.host == "::1" then
        return nil, "cannot bind UDP [::1]:40608: Cannot assign requested address"
      end
      return udp.bind(options)
    end)
  end)

  local function start(given)
    given = given or {}
    given.CORE_SERVER_MKCERT = given.CORE_SERVER_MKCERT or "off"
    service = coreserver.new(assert(read(given)))
    local results
    sluice.spawn(function()
      results = { service:start() }
    end)
    testing.clock():advance(0)
    return results
  end

  local function say(bytes, from)
    testing.clock():advance(1)
    udp.deliver(40608, bytes, from or "127.0.0.1", 9999)
    testing.clock():advance(0)
  end

  -- Binds the port that the commands come from, to see what is answered.
  local function listen()
    local own = udp.bind { port = 9999, max_datagram = 65507 }
    sluice.spawn(function()
      while true do
        local bytes = own:receive()
        if not bytes then
          return
        end
        table.insert(answers, bytes)
      end
    end)
  end

  local function route_names()
    local found = {}
    for _, spec in ipairs(world.published[#world.published].specs) do
      if not spec.name:find(" ", 1, true) then
        table.insert(found, spec.name)
      end
    end
    return found
  end

  it("serves what it is told, and answers only what the original did not know", function()
    assert.same({ true }, start())
    listen()
    say "add a.test 5173"
    assert.same({ "a.test" }, route_names())
    say "add a.test"
    say "nonsense"
    assert.same({}, answers)
    say "list"
    say "remove a.test"
    say "remove a.test"
    assert.same({ "a.test 5173\nok\n", "ok\n", "error: a.test is not known\n" }, answers)
    assert.same({}, route_names())
    assert.equal(2, logged "a command was ignored")
  end)

  it("takes commands from this machine alone", function()
    start()
    for _, ip in ipairs { "192.0.2.1", "10.127.0.1", "::2", "0.0.0.0" } do
      say("add a.test 5173", ip)
    end
    assert.equal(4, logged "a command from elsewhere was dropped")
    assert.same({}, route_names())
    for i, ip in ipairs { "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1" } do
      say(("add n%d.test 5173"):format(i), ip)
    end
    testing.clock():advance(1)
    assert.equal(4, #route_names())
  end)

  it("refuses its own ports, since that would be a loop", function()
    start()
    say "add a.test 80"
    assert.same({}, route_names())
    say "add a.test 443" -- nothing is served there without certificates
    assert.same({ "a.test" }, route_names())
  end)

  it("makes a thousand names live in a few steps, the first at once", function()
    start()
    local before = #world.published
    say "add first.test 1000"
    assert.equal(before + 1, #world.published)
    for i = 1, 1000 do
      udp.deliver(40608, ("add n%d.test 1000"):format(i), "127.0.0.1", 9999)
    end
    testing.clock():advance(1)
    assert.equal(1001, #route_names())
    assert.is_true(#world.published <= before + 4)
    local _, lines = sluice.shared("sluice.coreserver"):get("state"):gsub("[^\n]+", "")
    assert.equal(1001, lines)
  end)

  it("keeps the log readable when somebody floods it", function()
    start()
    for _ = 1, 1000 do
      udp.deliver(40608, "add x", "127.0.0.1", 9999)
    end
    assert.equal(20, logged "a command was ignored")
    testing.clock():advance(1)
    say "add x"
    assert.equal(1, logged "more commands were ignored")
  end)

  it("keeps tables of routes that have not changed", function()
    start()
    say "add a.test 1000"
    local before = world.published[#world.published].specs[1]
    testing.clock():advance(1)
    say "add b.test 1000"
    assert.equal(before, world.published[#world.published].specs[1])
    testing.clock():advance(1)
    say "add a.test 1001"
    local after = world.published[#world.published].specs[1]
    assert.are_not.equal(before, after)
    assert.equal(1001, after.targets[1].port)
  end)

  it("knows which services are down, until something listens there", function()
    start()
    listen()
    say "add a.test 5173"
    sluice.bus.publish(hooks.topic, "a.test")
    sluice.bus.publish(hooks.topic, "unknown.test")
    testing.clock():advance(0)
    local status = service:status()
    assert.same({ 1, true }, { status.stale, status.names[1].stale })
    assert.equal("number", type(status.names[1].staleSince))
    testing.clock():advance(3)
    assert.equal(1, service:status().stale)
    testing.fake("tcp.connect", function(_, port)
      assert.equal(5173, port)
      return { close = function() end }
    end)
    testing.clock():advance(3)
    assert.equal(0, service:status().stale)
    sluice.bus.publish(hooks.topic, "a.test")
    say "add a.test 5173"
    assert.equal(0, service:status().stale)
  end)

  it("says in JSON how it is", function()
    start()
    listen()
    say "add a.test 5173"
    say "status"
    local status = sluice.json.decode((answers[1]:gsub("ok\n$", "")))
    assert.same({ "local", false, 80, "a.test", 5173, false }, { status.mode, status.https,
      status.httpPort, status.names[1].domain, status.names[1].port, status.names[1].stale })
  end)

  it("says where to ask when an answer fits no datagram", function()
    start()
    listen()
    for i = 1, 3000 do
      udp.deliver(40608, ("add a-rather-long-name-number-%d.test 1000"):format(i), "127.0.0.1", 1)
    end
    testing.clock():advance(1)
    say "list"
    assert.matches("^error: the answer does not fit a datagram", answers[1])
  end)

  it("leaves a state file alone that it could not read", function()
    testing.fake("file.read", function()
      return nil, "permission denied"
    end)
    assert.same({ true }, start { HOME = "/h" })
    say "add a.test 5173"
    assert.same({ "a.test" }, route_names())
    assert.same({}, world.files)
    assert.equal(1, logged "the state file cannot be read")
  end)

  it("goes when it is told to", function()
    start()
    say "shutdown now"
    assert.equal(0, world.exit_code)
    assert.is_nil(world.sockets[40608])
  end)

  it("says how to get HTTPS when there is no mkcert", function()
    start { CORE_SERVER_MKCERT = "mkcert" }
    assert.equal(1, logged "names are served over HTTP only")
    assert.same({}, route_names())
  end)
end)
