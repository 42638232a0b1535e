local api = require "sluice.api"
local sluice = require "sluice"
local testing = require "sluice.testing"

local function write_script(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

describe("the fake core", function()
  before_each(testing.reset)

  it("has every function of the contract", function()
    local core = require "sluice.testing.core"
    for _, row in ipairs(api.functions) do
      local name = row.name:match("^sluice%.(.+)$")
      local at = name and (row.internal and core or sluice)
      for part in (name or ""):gmatch("[^.]+") do
        at = at[part]
        assert.is_not_nil(at, row.name)
      end
    end
  end)

  it("has every method of the handles", function()
    local handles = {
      conn = testing.conn(), hello = testing.hello(), req = testing.request(),
      res = testing.response(),
    }
    for _, row in ipairs(api.functions) do
      local kind, method = row.name:match("^(%a+):(.+)$")
      if handles[kind] then
        assert.is_function(handles[kind][method], row.name)
      end
    end
  end)

  describe("time", function()
    it("stands still until the spec moves it", function()
      local fired = {}
      sluice.timer(2, function() table.insert(fired, "two") end)
      sluice.timer(1, function() table.insert(fired, "one") end)
      assert.same({}, fired)
      testing.clock():advance(1.5)
      assert.same({ "one" }, fired)
      testing.clock():advance(1)
      assert.same({ "one", "two" }, fired)
    end)

    it("wakes a task that sleeps", function()
      local woke
      sluice.spawn(function()
        sluice.sleep(3)
        woke = sluice.now()
      end)
      testing.clock():advance(10)
      assert.equal(3, woke)
    end)

    it("moves by itself when the body of a spec sleeps", function()
      sluice.sleep(5)
      assert.equal(5, sluice.now())
    end)

    it("repeats every() until it is cancelled", function()
      local count = 0
      local timer = sluice.every(1, function() count = count + 1 end)
      testing.clock():advance(3)
      timer:cancel()
      testing.clock():advance(3)
      assert.equal(3, count)
    end)
  end)

  describe("tasks", function()
    it("give their results to whoever waits", function()
      local task = sluice.spawn(function()
        sluice.sleep(1)
        return "a", nil, "c"
      end)
      local first, second
      sluice.spawn(function() first = { task:wait() } end)
      sluice.spawn(function() second = { task:wait() } end)
      testing.clock():advance(1)
      assert.equal("c", first[3])
      assert.equal("a", second[1])
    end)

    it("start after the task that spawned them", function()
      local order = {}
      sluice.spawn(function()
        sluice.spawn(function() table.insert(order, "inner") end)
        table.insert(order, "outer")
      end)
      assert.same({ "outer", "inner" }, order)
    end)

    it("tell nobody but the spec when they throw", function()
      assert.error_matches(function()
        sluice.spawn(function() error("broken") end)
      end, "broken")
    end)

    it("can be cancelled", function()
      local reached = false
      local task = sluice.spawn(function()
        sluice.sleep(1)
        reached = true
      end)
      task:cancel()
      testing.clock():advance(2)
      assert.is_false(reached)
      assert.same({ nil, "cancelled" }, { task:wait() })
    end)

    it("cannot wait inside a coroutine of their own", function()
      local err
      sluice.spawn(function()
        local _
        _, err = coroutine.resume(coroutine.create(function() sluice.sleep(1) end))
      end)
      assert.matches("cannot wait inside a coroutine", err)
    end)
  end)

  it("reaches a server of the same process with fetch", function()
    local server = sluice.serve { port = 0, handler = function(req)
      return sluice.reply(201, req:method() .. " " .. req:target(), { ["X-Seen"] = "yes" })
    end }
    local url = "http://127.0.0.1:" .. server:port() .. "/a?b"
    assert.same({ status = 201, headers = { ["x-seen"] = "yes" },
      pairs = { { "X-Seen", "yes" } }, body = "PUT /a?b" },
      sluice.fetch(url, { method = "PUT" }))
    server:close()
    assert.same({ nil, "connection refused" }, { sluice.fetch(url) })
  end)

  it("answers with a replacement until the reset", function()
    testing.fake("fetch", function() return nil, "timed out" end)
    assert.same({ nil, "timed out" }, { sluice.fetch("http://x/") })
    testing.fake("file.read", function() return "content" end)
    assert.equal("content", sluice.file.read("/etc/x"))
    testing.reset()
    assert.same({ nil, "not found" }, { sluice.file.read("/etc/x") })
    assert.error_matches(function() testing.fake("fecth", print) end, "fecth is not a function")
  end)

  it("keeps shared values with their time to live", function()
    local dict = sluice.shared("x")
    dict:set("a", 1, 10)
    assert.equal(3, dict:incr("a", 2))
    assert.equal(5, dict:incr("n", 1, 4))
    assert.same({ nil, "exists" }, { dict:add("a", 9) })
    testing.clock():advance(11)
    assert.is_nil(dict:get("a"))
    assert.same({ false, true, false }, { dict:delete("a"), dict:delete("n"), dict:delete("n") })
  end)

  it("delivers what is published to those who subscribed", function()
    local got = {}
    local subscription = sluice.bus.subscribe("t", function(m) table.insert(got, m) end)
    sluice.bus.publish("t", "one")
    subscription:cancel()
    sluice.bus.publish("t", "two")
    assert.same({ "one" }, got)
  end)

  it("writes and reads JSON as the runtime does", function()
    assert.equal('{"a":[],"b":{},"c":null,"d":[1,"x"]}', sluice.json.encode {
      a = sluice.json.array {}, b = {}, c = sluice.json.null, d = { 1, "x" } })
    local text = '{"list":[],"map":{},"none":null}'
    assert.equal(text, sluice.json.encode(sluice.json.decode(text)))
    assert.is_nil((sluice.json.decode('{"a":')))
    assert.is_nil((sluice.json.decode("1 2")))
  end)

  it("digests as the runtime does", function()
    local crypto = sluice.crypto
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      crypto.hex(crypto.sha256("abc")))
    assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      crypto.hex(crypto.hmac_sha256("Jefe", "what do ya want for nothing?")))
    for n = 0, 10 do
      local bytes = ("\255\0\254"):rep(n):sub(1, n)
      assert.equal(bytes, crypto.unbase64(crypto.base64(bytes)))
      assert.equal(bytes, crypto.unbase64url(crypto.base64url(bytes)))
    end
    assert.same({ nil, "not base64" }, { crypto.unbase64("*") })
  end)

  it("has somebody to take over from when the spec says so", function()
    local takeover = sluice.takeover
    assert.same({ nil, "nobody is there" }, { takeover.from("a.sock") })
    assert.same({ nil, "there is nobody to take over from" }, { takeover.done() })
    testing.world.offers["a.sock"] = true
    assert.is_true(takeover.from("a.sock") and takeover.done() and takeover.offer("a.sock"))
    assert.is_nil(testing.world.offers["a.sock"])
    assert.equal("a.sock", testing.world.offered)
  end)

  it("names the nearest function when one does not exist", function()
    assert.error_matches(function() return sluice.spwan end, 'did you mean "spawn"')
  end)
end)

describe("fake handles", function()
  it("read like a request", function()
    local req = testing.request {
      method = "POST", path = "/a?b=c", headers = { Cookie = "x=1; y=2" }, ip = "203.0.113.9" }
    assert.equal("/a", req:path())
    assert.equal("b=c", req:query())
    assert.equal("/a?b=c", req:target())
    assert.equal("2", req:cookie("y"))
    assert.equal("localhost", req:header("HOST"))
    assert.equal("203.0.113.9", req:ip())
    assert.is_nil(req:sni())
  end)

  it("show what a hook changed", function()
    local req = testing.request { headers = { { "X-A", "1" }, { "x-a", "2" } } }
    assert.equal("1, 2", req:header("x-a"))
    req:set_header("X-A", "3")
    req:add_header("x-a", "4")
    assert.equal("3, 4", req:header("X-a"))
    req:set_header("x-a", nil)
    assert.is_nil(req:header("x-a"))
    req:set_path("/new?q")
    assert.equal("q", req:query())
  end)

  it("refuse a line break in a header value", function()
    local req = testing.request()
    assert.error_matches(function() req:set_header("x", "a\r\nb") end, "without line breaks")
    assert.error_matches(function() req:set_header("x y", "a") end, "not a header name")
    assert.error_matches(function() req:set_header("Content-Length", "5") end, "set by sluice")
  end)

  it("refuse a method of another kind", function()
    assert.error_matches(function() testing.request():status() end,
      "req:status: not a method of a request")
    assert.error_matches(function() testing.response():set_staus(1) end,
      'did you mean "set_status"')
  end)

  it("refuse a field that they do not know", function()
    assert.error_matches(function() testing.request { methode = "GET" } end,
      'unknown field methode %(did you mean "method"')
  end)

  it("give the body unless it is too large", function()
    local req = testing.request { body = "12345" }
    assert.equal("12345", req:body())
    assert.same({ nil, "too large" }, { req:body(4) })
  end)
end)

describe("testing.load", function()
  local function load(text)
    local path = write_script(text)
    finally(function() os.remove(path) end)
    return testing.load(path)
  end

  it("returns the table of a script", function()
    assert.is_function(load("return { on_request = function() end, budget_ms = 5 }").on_request)
  end)

  it("refuses what the runtime would refuse", function()
    for text, message in pairs {
      ["return { on_reqest = print }"] = 'unknown key on_reqest %(did you mean "on_request"%?%)',
      ["return { on_request = 1 }"] = "on_request must be a function, not a number",
      ["return { on_error = 'ignore' }"] = 'on_error must be "reject" or "continue"',
      ["return 5"] = "a script must return a table",
      ["return {"] = "expected",
    } do
      assert.error_matches(function() load(text) end, message)
    end
  end)
end)
