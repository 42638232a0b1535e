local board = require "sluice.certificates.board"
local budget = require "sluice.certificates.budget"
local certificates = require "sluice.certificates"
local fakes = require "support.certificates"
local challenges = require "sluice.acme.challenges"
local keys = require "sluice.testing.keys"
local queue = require "sluice.certificates.queue"
local recent = require "sluice.certificates.recent"
local sluice = require "sluice"
local testing = require "sluice.testing"

local fake_issuer, kept = fakes.issuer, fakes.kept
local world = testing.world
local clock = testing.clock()
local day = 86400

local function counted(issuer, name)
  local n = 0
  for _, call in ipairs(issuer.calls) do
    n = n + (call.name == name and 1 or 0)
  end
  return n
end

-- A handshake; its verb is in the table that is returned once there is one.
local hooks

local function reset()
  testing.reset()
  hooks = certificates.hooks()
end

local function handshake(name, options)
  local result = {}
  options = options or {}
  sluice.spawn(function()
    result.verb = hooks.on_hello(testing.hello {
      sni = name, alpn = options.alpn, ip = options.ip, local_port = options.port,
    })
    result.is_over = true
  end)
  return result
end

local function names_of(verb)
  return verb and sluice.crypto.certificate(verb.cert).names
end

local function logged(level, text)
  local n = 0
  for _, entry in ipairs(world.logged) do
    if entry.level == level and entry.message:find(text, 1, true) then
      n = n + 1
    end
  end
  return n
end

describe("certificates", function()
  local issuer, manager

  local function begin(options)
    options = options or {}
    issuer = options.issuer or fake_issuer()
    options.issuer, options.storage = issuer, options.storage or certificates.disk "/certs"
    manager = certificates.new(options)
    return manager
  end

  before_each(reset)
  after_each(function()
    manager:close()
  end)

  it("are ordered for names on the list, and put into service", function()
    begin():set_names { ["app.example.com"] = true }
    clock:advance(5)
    local shake = handshake "app.example.com"
    assert.same({ "app.example.com" }, names_of(shake.verb))
    assert.equal(1, #issuer.calls)
    assert.matches("^%-%-%-%-%-BEGIN EC PRIVATE KEY.*BEGIN CERTIFICATE",
      world.files["/certs/app.example.com"])
  end)

  it("are ordered although time goes on while it is looked what is due", function()
    local passed = 0
    testing.fake("now", function()
      passed = passed + 1e-6
      return world.scheduler:now() + passed
    end)
    world.files["/certs/old.example.com"] = kept("old.example.com", 90, sluice.time() - 80 * day)
    begin():set_names { ["new.example.com"] = true, ["old.example.com"] = true }
    clock:advance(5)
    assert.equal(2, #issuer.calls)
  end)

  it("make handshakes wait, for one order however many they are", function()
    begin():set_names { ["app.example.com"] = true }
    local shakes = {}
    for i = 1, 50 do
      shakes[i] = handshake "app.example.com"
    end
    assert.is_nil(shakes[50].is_over)
    clock:advance(5)
    for i = 1, 50 do
      assert.same({ "app.example.com" }, names_of(shakes[i].verb))
    end
    assert.equal(1, #issuer.calls)
  end)

  it("of strangers' names are not ordered, nor is anybody asked about them", function()
    local asked = 0
    testing.fake("bus.publish", function() asked = asked + 1 return 0 end)
    begin():set_names { ["app.example.com"] = true }
    clock:advance(5)
    asked = 0
    for i = 1, 10000 do
      assert.is_nil(handshake(("x%d.example.net"):format(i)).verb)
    end
    assert.same({ 0, 1 }, { asked, #issuer.calls })
  end)

  it("of strangers' names cause no storm of questions to allow()", function()
    local asked = 0
    begin { allow = function() asked = asked + 1 return false end }
    for i = 1, 10000 do
      assert.is_nil(handshake(("x%d.example.net"):format(i)).verb)
      if i % 1000 == 0 then
        clock:advance(0.1)
      end
    end
    assert.equal(0, #issuer.calls)
    assert.is_true(asked > 0 and asked <= 40, asked .. " questions in a second")
    assert.is_true(manager:status().names == 0)
  end)

  it("are ordered for whom allow() lets in, and allow() learns who asks", function()
    local asked = {}
    begin { allow = function(name, ip)
      table.insert(asked, name .. " " .. tostring(ip))
      return name == "tenant.example.com"
    end }
    local welcome = handshake("tenant.example.com", { ip = "203.0.113.9" })
    local refused = handshake("other.example.com", { ip = "203.0.113.8" })
    clock:advance(5)
    assert.same({ "tenant.example.com" }, names_of(welcome.verb))
    assert.is_true(refused.is_over and refused.verb == nil)
    handshake "other.example.com"
    assert.same({ "tenant.example.com 203.0.113.9", "other.example.com 203.0.113.8" }, asked)
  end)

  it("of tenants who have gone are not renewed", function()
    local is_tenant = true
    begin { allow = function() return is_tenant end }
    handshake "tenant.example.com"
    clock:advance(5)
    is_tenant = false
    clock:advance(70 * day)
    assert.equal(1, #issuer.calls)
    assert.is_nil(board.get "tenant.example.com")
  end)

  it("are taken from the storage after a restart", function()
    world.files["/certs/app.example.com"] = kept "app.example.com"
    begin():set_names { ["app.example.com"] = true }
    clock:advance(1)
    assert.same({ "app.example.com" }, names_of(handshake("app.example.com").verb))
    assert.equal(0, #issuer.calls)
  end)

  it("are there for everybody who comes at once after a restart", function()
    local list, shakes = {}, {}
    for i = 1, 200 do
      local name = ("x%d.example.com"):format(i)
      world.files["/certs/" .. name], list[name] = kept(name), true
    end
    testing.fake("file.read", function(path)
      sluice.sleep(0.001)
      return world.files[path]
    end)
    begin()
    manager:set_names(list)
    for name in pairs(list) do
      shakes[name] = handshake(name)
    end
    clock:advance(3)
    for name, shake in pairs(shakes) do
      assert.same({ name }, names_of(shake.verb))
    end
    assert.equal(0, #issuer.calls)
  end)

  it("that are no certificates, or somebody else's, are not taken from the storage", function()
    world.files["/certs/a.example.com"] = "rubbish"
    world.files["/certs/b.example.com"] = kept "evil.example.com"
    world.files["/certs/c.example.com"] = keys.new_key():pem "sec1"
      .. keys.fake_certificate(keys.new_key(), { "c.example.com" })
    begin():set_names { ["a.example.com"] = true, ["b.example.com"] = true,
      ["c.example.com"] = true }
    clock:advance(5)
    assert.same({ 1, 1, 1 }, { counted(issuer, "a.example.com"), counted(issuer, "b.example.com"),
      counted(issuer, "c.example.com") })
    assert.equal(3, logged("warn", "is not used"))
  end)

  it("are loaded whatever is wrong with the loading of another", function()
    local storage = certificates.disk "/certs"
    local read = storage.read
    function storage:read(name)
      assert(name ~= "bad.example.com", "a mistake")
      return read(self, name)
    end
    begin { storage = storage }
    local list = { ["bad.example.com"] = true }
    for i = 1, 20 do
      list[("x%d.example.com"):format(i)] = true
    end
    manager:set_names(list)
    clock:advance(20)
    assert.equal(20, manager:status().live)
  end)

  it("are not ordered while the storage does not answer", function()
    local is_broken = true
    local storage = certificates.disk "/certs"
    storage.read = function() return nil, is_broken and "no such device" or "not found" end
    begin { storage = storage }
    manager:set_names { ["app.example.com"] = true }
    clock:advance(60)
    assert.equal(0, #issuer.calls)
    is_broken = false
    clock:advance(120)
    assert.equal(1, #issuer.calls)
  end)

  it("stay in service when they cannot be kept", function()
    local storage = certificates.disk "/certs"
    storage.write = function() return nil, "no space left on device" end
    begin { storage = storage }
    manager:set_names { ["app.example.com"] = true }
    clock:advance(5)
    assert.same({ "app.example.com" }, names_of(handshake("app.example.com").verb))
    assert.same({ 1, 1 }, { manager:status().not_stored, logged("error", "cannot be kept") })
    clock:advance(3600)
    assert.equal(1, #issuer.calls)
  end)

  describe("are renewed", function()
    it("when a third of their life is left", function()
      begin():set_names { ["app.example.com"] = true }
      clock:advance(58 * day)
      assert.equal(1, #issuer.calls)
      clock:advance(2 * day + 120)
      assert.equal(2, #issuer.calls)
      assert.matches("BEGIN CERTIFICATE", issuer.calls[2].before)
      assert.equal(1, manager:status().renewed)
    end)

    it("some days before their end, if the operator likes", function()
      begin { renew_before = 10 * day }
      manager:set_names { ["app.example.com"] = true }
      clock:advance(78 * day)
      assert.equal(1, #issuer.calls)
      clock:advance(2 * day + 120)
      assert.equal(2, #issuer.calls)
    end)

    it("at half of their life at the earliest, however short it is", function()
      issuer = fake_issuer()
      issuer.days = 6
      begin { issuer = issuer, renew_before = 30 * day }
      manager:set_names { ["app.example.com"] = true }
      clock:advance(2.5 * day)
      assert.equal(1, #issuer.calls)
      clock:advance(day)
      assert.equal(2, #issuer.calls)
    end)

    it("not at all, if the operator likes", function()
      begin { renew = false }
      manager:set_names { ["app.example.com"] = true }
      clock:advance(100 * day)
      assert.equal(1, #issuer.calls)
    end)

    it("when the CA says so, and not later than makes sense", function()
      issuer = fake_issuer()
      local at = sluice.time() + 20 * day
      function issuer.renewal()
        return { at = at, from = at - 100, to = at + 100, ask_after = 3600 }
      end
      begin { issuer = issuer }
      manager:set_names { ["app.example.com"] = true }
      clock:advance(20 * day - 60)
      assert.equal(1, #issuer.calls)
      at = at + 365 * day -- for the next one, long after its end
      clock:advance(300)
      assert.equal(2, #issuer.calls)
      clock:advance(80 * day)
      assert.equal(2, #issuer.calls)
      clock:advance(2 * day)
      assert.equal(3, #issuer.calls)
    end)

    it("before new names get theirs", function()
      for i = 1, 10 do
        world.files[("/certs/old%d.example.com"):format(i)] =
          kept(("old%d.example.com"):format(i), 90, sluice.time() - 80 * day)
      end
      local list = {}
      for i = 1, 10 do
        list[("old%d.example.com"):format(i)] = true
        list[("new%d.example.com"):format(i)] = true
      end
      begin():set_names(list)
      clock:advance(10)
      assert.equal(20, #issuer.calls)
      for i = 1, 10 do
        assert.matches("^old", issuer.calls[i].name)
      end
      assert.equal(4, issuer.most)
    end)

    it("while the old one is shown", function()
      issuer = fake_issuer()
      issuer.takes = 100
      world.files["/certs/app.example.com"] = kept("app.example.com", 90, sluice.time() - 80 * day)
      begin { issuer = issuer }
      manager:set_names { ["app.example.com"] = true }
      clock:advance(5)
      assert.equal(1, #issuer.calls)
      assert.same({ "app.example.com" }, names_of(handshake("app.example.com").verb))
    end)

    it("from the storage when another instance was faster", function()
      begin():set_names { ["app.example.com"] = true }
      clock:advance(50 * day)
      world.files["/certs/app.example.com"] = kept "app.example.com"
      clock:advance(20 * day)
      assert.equal(1, #issuer.calls)
    end)
  end)

  describe("of a CA that fails", function()
    local function failing(...)
      local problem = { ... }
      issuer = fake_issuer()
      issuer.problem = function() return problem end
      begin { issuer = issuer }
    end

    it("stay in service, even past their end", function()
      failing("https://ca.example: status 500", nil, "ca")
      world.files["/certs/app.example.com"] = kept("app.example.com", 90, sluice.time() - 80 * day)
      manager:set_names { ["app.example.com"] = true }
      clock:advance(5 * day)
      assert.same({ "app.example.com" }, names_of(handshake("app.example.com").verb))
      assert.is_true(logged("error", "about to expire") > 0)
      clock:advance(10 * day)
      assert.same({ "app.example.com" }, names_of(handshake("app.example.com").verb))
      local status = manager:status()
      assert.same({ 1, true, "app.example.com: https://ca.example: status 500" },
        { status.expiring, status.failed > 0, status.last_error })
    end)

    it("are asked for more and more seldom", function()
      failing("no A record", nil, "name")
      manager:set_names { ["app.example.com"] = true }
      clock:advance(day)
      local pauses = {}
      for i = 2, #issuer.calls do
        pauses[i - 1] = issuer.calls[i].at - issuer.calls[i - 1].at
      end
      assert.is_true(#issuer.calls <= 12, #issuer.calls .. " orders in a day")
      assert.is_true(pauses[1] >= 45 and pauses[1] <= 80)
      assert.is_true(pauses[#pauses] > 3 * 3600)
    end)

    it("are not asked for before the CA wants to be asked again", function()
      failing("rateLimited", 7200, "limit")
      manager:set_names { ["app.example.com"] = true }
      clock:advance(7000)
      assert.equal(1, #issuer.calls)
      clock:advance(400)
      assert.equal(2, #issuer.calls)
    end)

    it("are asked for by one name at a time, not by all", function()
      failing("connection refused", nil, "ca")
      local list = {}
      for i = 1, 1000 do
        list[("x%d.example.com"):format(i)] = true
      end
      manager:set_names(list)
      clock:advance(3600)
      assert.is_true(#issuer.calls < 80, #issuer.calls .. " orders in an hour")
      assert.is_true(manager:status().paused_for > 0)
    end)

    it("are refused to handshakes at once, without another order", function()
      failing("no A record", nil, "name")
      manager:set_names { ["app.example.com"] = true }
      clock:advance(5)
      for _ = 1, 100 do
        assert.is_true(handshake("app.example.com").is_over)
      end
      assert.equal(1, #issuer.calls)
    end)

    it("come back by themselves when it is well again", function()
      failing("connection refused", nil, "ca")
      manager:set_names { ["app.example.com"] = true }
      clock:advance(600)
      issuer.problem = nil
      clock:advance(1200)
      assert.same({ "app.example.com" }, names_of(handshake("app.example.com").verb))
      assert.equal(0, manager:status().paused_for)
    end)

    it("that throws are tried again", function()
      failing()
      issuer.problem = function() error "a mistake" end
      manager:set_names { ["app.example.com"] = true }
      clock:advance(600)
      assert.is_true(#issuer.calls < 6)
      issuer.problem = nil
      clock:advance(3600)
      assert.same({ "app.example.com" }, names_of(handshake("app.example.com").verb))
    end)
  end)

  describe("and a clock that is wrong:", function()
    it("they are not all renewed because it is ahead", function()
      issuer = fake_issuer()
      function issuer.offset() return -365 * day end
      world.files["/certs/app.example.com"] = kept("app.example.com", 90, sluice.time() - 370 * day)
      begin { issuer = issuer }
      manager:set_names { ["app.example.com"] = true }
      clock:advance(600)
      assert.equal(0, #issuer.calls)
      assert.equal(1, logged("error", "the clock of this machine is wrong"))
      assert.equal(-365 * day, manager:status().clock_is_off_by)
      assert.same({ "app.example.com" }, names_of(handshake("app.example.com").verb))
    end)
  end)

  describe("have budgets:", function()
    it("a name cannot use up that of the others", function()
      issuer = fake_issuer()
      issuer.days = 0.001 -- wants to be renewed every minute
      begin { issuer = issuer }
      manager:set_names { ["app.example.com"] = true }
      clock:advance(3500)
      assert.equal(5, #issuer.calls)
    end)

    it("new names leave a quarter for renewals", function()
      begin { budget = { orders = 20, seconds = 3600, per_name = 5, per_name_seconds = 3600 } }
      local list = {}
      for i = 1, 30 do
        list[("x%d.example.com"):format(i)] = true
      end
      manager:set_names(list)
      clock:advance(60)
      assert.equal(15, #issuer.calls)
      for i = 1, 10 do
        local name = ("old%d.example.com"):format(i)
        world.files["/certs/" .. name] = kept(name, 90, sluice.time() - 80 * day)
        manager:add(name)
      end
      clock:advance(60)
      assert.equal(20, #issuer.calls)
      assert.equal(5, manager:status().renewed)
      clock:advance(3600)
      assert.is_true(#issuer.calls > 20)
    end)
  end)

  it("go out of service with their name, and what is kept stays", function()
    begin():set_names { ["a.example.com"] = true, ["b.example.com"] = true }
    clock:advance(5)
    manager:set_names { ["b.example.com"] = true }
    assert.is_nil(handshake("a.example.com").verb)
    assert.is_not_nil(handshake("b.example.com").verb)
    assert.is_not_nil(world.files["/certs/a.example.com"])
    manager:add "a.example.com"
    clock:advance(1)
    assert.is_not_nil(handshake("a.example.com").verb)
    assert.equal(2, #issuer.calls)
  end)

  it("are only for the ports of their routes", function()
    begin():set_names { ["app.example.com"] = { 443, 8443 } }
    clock:advance(5)
    assert.is_not_nil(handshake("app.example.com", { port = 8443 }).verb)
    assert.is_nil(handshake("app.example.com", { port = 44 }).verb)
  end)

  it("go on with a newer manager, whenever the older one ends", function()
    local older = begin()
    older:set_names { ["a.example.com"] = true, ["gone.example.com"] = true }
    clock:advance(5)
    begin() -- that has no names yet
    assert.is_not_nil(handshake("a.example.com").verb)
    manager:set_names { ["a.example.com"] = true, ["new.example.com"] = true }
    local shake = handshake "new.example.com" -- of which the older one knows nothing
    clock:advance(5)
    assert.is_not_nil(shake.verb)
    assert.is_nil(handshake("gone.example.com").verb)
    older:close()
    assert.is_not_nil(handshake("a.example.com").verb)
    assert.equal(1, #issuer.calls)
    manager:close()
    assert.is_not_nil(handshake("a.example.com").verb)
  end)

  it("are ordered when somebody comes, not before, if the operator likes", function()
    begin { eager = false }
    manager:set_names { ["app.example.com"] = true }
    clock:advance(100)
    assert.equal(0, #issuer.calls)
    local shake = handshake "app.example.com"
    clock:advance(2)
    assert.is_not_nil(shake.verb)
  end)

  it("of an issuer that keeps them itself need no storage", function()
    issuer = fake_issuer()
    manager = certificates.new { issuer = issuer }
    manager:set_names { ["app.localhost"] = true }
    clock:advance(5)
    assert.is_not_nil(handshake("app.localhost").verb)
    board.unwant "app.localhost" -- as if memory had been full
    manager:add "app.localhost"
    local shake = handshake "app.localhost"
    clock:advance(5)
    assert.is_not_nil(shake.verb)
  end)

  it("are not for clients without a name, nor for names that are none", function()
    begin { allow = function() return true end }
    for _, name in ipairs { "", "a..b", "../etc/passwd", "a b", ("x"):rep(300) } do
      assert.is_nil(handshake(name).verb)
    end
    assert.is_nil(handshake(false).verb)
    clock:advance(5)
    assert.equal(0, #issuer.calls)
  end)

  it("refuse options that are wrong", function()
    assert.has_error(function() certificates.new {} end, "certificates: option issuer is missing")
    assert.has_error(function() certificates.new { issuer = {}, alow = print } end,
      'certificates: unknown option alow (did you mean "allow"?)')
    assert.has_error(function() certificates.new { issuer = {}, budget = { orders = "many" } } end,
      "certificates: budget orders must be a number")
    begin()
  end)
end)

describe("challenges", function()
  before_each(reset)

  it("are answered by the workers while they are shown", function()
    local shown = challenges.new()
    local hide = assert(shown:show("tls-alpn-01", "app.example.com", "token", "token.thumb"))
    local verb = handshake("app.example.com", { alpn = { "acme-tls/1" } }).verb
    assert.same({ "acme-tls/1", { "app.example.com" } }, { verb.alpn, names_of(verb) })
    assert.is_nil(handshake("app.example.com", { alpn = { "h2", "acme-tls/1" } }).verb)
    hide()
    assert.is_nil(handshake("app.example.com", { alpn = { "acme-tls/1" } }).verb)
  end)

  it("of http-01 are answered by on_request", function()
    local hide = assert(challenges.new():show("http-01", "a.example.com", "to_ken", "to_ken.thumb"))
    local function ask(path)
      return hooks.on_request(testing.request { path = path, scheme = "http" })
    end
    assert.equal("to_ken.thumb", ask("/.well-known/acme-challenge/to_ken").body)
    for _, path in ipairs { "/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/x",
      "/.well-known/acme-challenge/../to_ken" } do
      assert.is_nil(ask(path))
    end
    hide()
    assert.is_nil(ask("/.well-known/acme-challenge/to_ken"))
  end)

  it("with a token that is none are not answered", function()
    for _, token in ipairs { "", "../../etc/passwd", "a\nb", ("x"):rep(1000) } do
      assert.is_nil(challenges.new():show("http-01", "app.example.com", token, "x"))
    end
  end)
end)

describe("a queue", function()
  before_each(reset)

  it("takes each piece once, urgent ones first, some at a time, whatever happens", function()
    local done = {}
    local line = queue.new(2, function(key)
      sluice.sleep(1)
      table.insert(done, key)
      assert(key ~= "b", "a mistake")
    end)
    for _, key in ipairs { "a", "b", "c", "c", "d" } do
      line:add(key, false)
    end
    line:add("now", true)
    clock:advance(1)
    assert.equal(2, #done)
    clock:advance(10)
    assert.same({ "a", "b", "now", "c", "d" }, done)
    line:add("a", false)
    clock:advance(2)
    assert.equal(6, #done)
  end)
end)

describe("a budget", function()
  before_each(reset)

  it("is so many in so long", function()
    local b = budget.new(3, 10)
    for _ = 1, 3 do
      assert.equal(0, b:wait())
      b:take()
      clock:advance(1)
    end
    assert.equal(7, b:wait())
    assert.equal(8, b:wait(2 / 3))
    clock:advance(7)
    assert.equal(0, b:wait())
  end)
end)

describe("what was learned lately", function()
  before_each(reset)

  it("is forgotten in time, and never takes more than its room", function()
    local r = recent.new(100)
    r:note("a", 10)
    assert.equal(10, r:left "a")
    clock:advance(11)
    assert.is_nil(r:left "a")
    for i = 1, 10000 do
      r:note("x" .. i, 1000)
    end
    local n = 0
    for i = 1, 10000 do
      n = n + (r:left("x" .. i) and 1 or 0)
    end
    assert.is_true(n >= 50 and n <= 100)
  end)
end)
