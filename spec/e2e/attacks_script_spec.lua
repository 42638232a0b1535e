-- Group L of the attacks: scripts that loop, hoard, inject, or hold on to what is gone. The request
-- fails, the others are answered, the program lives.

local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

local program, origin, port

local function start()
  local origin_port
  origin, origin_port = sluice.origin("app")
  port = http.free_port()
  program = sluice.start { script = "spec/fixtures/attacks.lua", workers = 1,
    args = { tostring(port), tostring(origin_port) } }
end

local function stop()
  assert.equal(0, program:stop())
  origin:stop()
  assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
end

describe("a script that", function()
  -- A program logs twenty failed scripts a second at most, and all of these together cause more.
  before_each(start)
  after_each(stop)

  local function get(path)
    local response, err = http.request { port = port, path = path }
    assert.is_table(response, err)
    return response
  end

  local function send(path)
    local client = assert(peer.connect { port = port })
    client:send(("GET %s HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"):format(path))
    return client
  end

  local function logs(path, pattern)
    local client = send(path)
    assert.equal(500, client:read().status)
    client:close()
    program:wait_for("stderr", '"msg":"the script failed".-' .. pattern, sluice.patience)
  end

  describe("L-01, L-02 uses its CPU time up", function()
    -- The thread sanitizer holds signals back until the program calls into the system, which a loop
    -- never does: the budget cannot work there.
    local it = os.getenv("SLUICE_FLAVOUR") == "tsan" and pending or it

    for _, name in ipairs { "loop", "pcall", "xpcall", "coroutine", "tostring", "sort", "gsub",
      "many-patterns", "json" } do
      it("in " .. name .. " is stopped", function()
        logs("/" .. name, "used up") -- its CPU time, or its memory where that ends first
        assert.equal(200, get("/").status)
      end)
    end

    it("does not keep others from being answered", function()
      local attackers = {}
      for i = 1, 10 do
        attackers[i] = send(i % 2 == 0 and "/loop" or "/pcall")
        assert.equal(200, get("/").status)
      end
      for _, client in ipairs(attackers) do
        assert.equal(500, client:read().status)
        client:close()
      end
    end)

    it("in on_response is stopped", function()
      assert.equal(502, get("/response/loop").status)
      program:wait_for("stderr", '"in":"on_response".-CPU budget', sluice.patience)
      assert.equal(200, get("/").status)
    end)

    it("in on_done is stopped", function()
      assert.equal(200, get("/done/loop").status)
      program:wait_for("stderr", '"in":"on_done".-CPU budget', sluice.patience)
      assert.equal(200, get("/").status)
    end)
  end)

  describe("L-04 has a pattern that takes for ever", function()
    for _, name in ipairs { "pattern", "pattern-gsub" } do
      it("is stopped: " .. name, function()
        logs("/" .. name, "pattern too complex")
        assert.equal(200, get("/").status)
      end)
    end
  end)

  describe("L-05 goes too deep", function()
    for _, name in ipairs { "recursion", "recursion-c", "recursion-load", "recursion-sort",
      "index" } do
      it("is stopped: " .. name, function()
        logs("/" .. name, "stack overflow")
        assert.equal(200, get("/").status)
      end)
    end
  end)

  it("L-07 looks for a way out of the sandbox finds none", function()
    assert.equal("", get("/sandbox").body)
  end)

  it("L-07 poisons its libraries hurts itself alone", function()
    assert.equal("true true", get("/poison").body)
    logs("/redirect", "must be a string without line breaks")
  end)

  describe("L-08 injects a header is told where:", function()
    local lines = {}
    local number = 0
    for line in io.lines("spec/fixtures/attacks.lua") do
      number = number + 1
      local path = line:match('^attacks%["(/[^"]+)"%]')
      if path then
        lines[path] = number + 1
      end
    end
    for _, path in ipairs { "/header-crlf", "/header-lf", "/header-nul", "/header-name",
      "/header-framing", "/host", "/path", "/reply", "/redirect" } do
      it(path, function()
        logs(path, ('"error":"[^"]*attacks.lua:%d: '):format(lines[path]))
      end)
    end

    it("also with verbs made by hand", function()
      logs("/plain-reply", "line break")
      logs("/plain-redirect", "line break")
    end)

    it("also in on_response", function()
      for _, path in ipairs { "/response/header", "/response/framing" } do
        assert.equal(502, get(path).status)
        program:wait_for("stderr", '"in":"on_response".-attacks.lua:%d+: ', sluice.patience)
      end
    end)
  end)

  describe("L-10 keeps a handle", function()
    it("gets an error with a sentence", function()
      get("/keep")
      get("/") -- leaves a response behind
      local said = get("/use").body
      assert.matches("header: false .-this request has ended\n", said)
      assert.matches("set_header: false .-this request has ended\n", said)
      assert.matches("body: false .-this request has ended\n", said)
      assert.matches("ctx: false .-this request has ended\n", said)
      assert.matches("status: false .-this response has ended\n", said)
      assert.matches("set_status: false ", said)
      assert.matches("ip: false .- has ended\n", said)
      assert.matches("status: false .-not a method of a request\n$", said)
    end)

    it("does not see those of others with it, however many come", function()
      get("/keep")
      get("/") -- leaves a response behind
      local open = {}
      for i = 1, 50 do
        open[i] = send("/x")
      end
      local said = get("/use").body
      assert.matches("header: false .-this request has ended\n", said)
      for _, client in ipairs(open) do
        assert.equal(200, client:read().status)
        client:close()
      end
    end)

    it("in a task gets it, too", function()
      assert.equal(200, get("/keep-in-task").status)
      local line = sluice.logged(program, "the task is over")
      assert.is_false(line.ok)
      assert.matches("this request has ended", line.err)
    end)
  end)
end)

describe("L-05 a script that takes too much memory", function()
  setup(start)
  teardown(stop)

  -- While its memory is full every hook fails closed; a collection may take a moment to come.
  local function recovers()
    local deadline = process.now() + sluice.patience
    repeat
      assert(process.now() < deadline, "it stays without memory")
      local response = http.request { port = port, path = "/memory" }
    until response and response.status == 200 and tonumber(response.body) < 8 * 1024
  end

  for _, name in ipairs { "strings", "rep", "tables", "swallowed-memory", "coroutines", "nested",
    "recursion-coroutines" } do
    it("is stopped: " .. name, function()
      local response = http.request { port = port, path = "/" .. name }
      assert.equal(500, response.status)
      recovers()
    end)
  end
end)

describe("L-11 a script that is reloaded while a hook waits", function()
  local gate, path

  local function version(name)
    sluice.write(path, ([[
      local sluice = require "sluice"
      local routes = require "sluice.routes"
      local script = {}
      function script.on_request(req)
        if req:path() == "/wait" then
          assert(sluice.fetch("http://127.0.0.1:%d/"))
        end
        return sluice.reply(200, "%s")
      end
      function script.start()
        return routes.publish { { name = "app", match = { ports = %d },
          action = { type = "forward", targets = { { host = "127.0.0.1", port = 1 } } } } }
      end
      return script
    ]]):format(gate.port, name, port))
  end

  before_each(function()
    gate, port, path = peer.listen(), http.free_port(), os.tmpname()
    version("old")
    program = sluice.start { script = path }
  end)

  after_each(function()
    assert.equal(0, program:stop())
    gate:close()
    os.remove(path)
  end)

  local function send(target)
    local client = assert(peer.connect { port = port })
    client:send(("GET %s HTTP/1.1\r\nHost: app\r\n\r\n"):format(target))
    return client
  end

  local function reload()
    version("new")
    program:kill(signal.SIGHUP)
    program:wait_for("stderr", '"msg":"script reloaded"', sluice.patience)
  end

  -- The workers have heard of it when the control thread says so, or a moment later.
  local function is_new()
    local deadline = process.now() + sluice.patience
    repeat
      local client = send("/")
      local body = client:read().body
      client:close()
      assert(process.now() < deadline, "the old one still answers")
    until body == "new"
  end

  local function answer(inner)
    inner:read()
    inner:send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    inner:close()
  end

  it("ends what it began, and the new one takes what comes", function()
    local waiting = {}
    for i = 1, 8 do
      waiting[i] = send("/wait")
      waiting[i].gate = gate:accept()
    end
    reload()
    is_new()
    for _, client in ipairs(waiting) do
      answer(client.gate)
      assert.equal("old", client:read().body)
      client:send("GET / HTTP/1.1\r\nHost: app\r\n\r\n") -- on the same connection
      assert.equal("new", client:read().body)
      client:close()
    end
  end)

  it("forgets those that have gone meanwhile", function()
    local client = send("/wait")
    local inner = gate:accept()
    reload()
    client:reset()
    local _, how = inner:read_all()
    assert.is_not.equal("timeout", how) -- its fetch was cancelled
    inner:close()
    is_new()
  end)
end)

describe("L-01 a compiled loop without end", function()
  it("makes the runtime start again", function()
    local path = os.tmpname()
    port = http.free_port()
    finally(function() os.remove(path) end)
    sluice.write(path, ([[
      local sluice = require "sluice"
      local script = { jit = true }
      function script.on_request(req)
        local n = 0
        if req:path() == "/compiled" then
          while true do n = n + 1 end
        end
        return sluice.reply(200, "ok")
      end
      function script.start()
        return require("sluice.routes").publish { { name = "app", match = { ports = %d },
          action = { type = "forward", targets = { { host = "127.0.0.1", port = 1 } } } } }
      end
      return script
    ]]):format(port))
    program = sluice.start { script = path, workers = 1 }
    assert.equal("ok", http.request({ port = port }).body)
    local client = assert(peer.connect { port = port })
    client:send("GET /compiled HTTP/1.1\r\nHost: app\r\n\r\n")
    program:wait_for("stderr", "a script did not return to the runtime", sluice.patience)
    program:wait_for("stderr", '"msg":"ready"', sluice.patience)
    assert.equal("ok", http.request({ port = port }).body)
    client:close()
    assert.equal(0, program:stop())
  end)
end)
