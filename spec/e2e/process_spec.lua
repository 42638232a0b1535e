-- The program as its operator sees it: commands, exit codes, signals, reloads, the log.

local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"
local socket = require "socket"

-- Runs to the end: code, lines of stdout, lines of stderr.
local function run(...)
  local code, out, err = sluice.run { ... }
  local function lines(text)
    local list = {}
    for line in text:gmatch("[^\n]+") do
      table.insert(list, line)
    end
    return list
  end
  return code, lines(out), lines(err)
end

local function message(line)
  return assert(dkjson.decode(line), line).msg
end

describe("sluice", function()
  it("version", function()
    local code, out = run("version")
    assert.equal(0, code)
    assert.matches("^sluice %d+%.%d+%.%d+$", out[1])
    assert.same(out, select(2, run("--version")))
  end)

  it("help", function()
    local code, out = run("help")
    assert.equal(0, code)
    assert.matches("^usage: sluice run SCRIPT", out[1])
  end)

  it("without sense", function()
    for expected, words in pairs {
      ["a command is missing"] = {},
      ["unknown command frob"] = { "frob" },
      ["run: a script is missing"] = { "run" },
      ["--workers: x is not a number from 1 to 256"] = { "run", "a.lua", "--workers", "x" },
      ["--workers: a value is missing"] = { "run", "a.lua", "--workers" },
      ["--log-level: loud is not one of debug, info, warn, error"] =
        { "run", "a.lua", "--log-level=loud" },
      ["--log-format: xml is not one of json, human"] = { "run", "a.lua", "--log-format", "xml" },
    } do
      local code, _, err = run(unpack(words))
      assert.equal(2, code)
      assert.equal("sluice: " .. expected, err[1])
      assert.matches("^usage: ", err[2])
    end
  end)

  it("health", function()
    local listener = peer.listen()
    local url = ("http://127.0.0.1:%d/health"):format(listener.port)
    local function health(status)
      local child = process.start { sluice.binary, "health", url }
      local inner = listener:accept()
      assert.equal("GET /health HTTP/1.0", inner:read().line)
      inner:send(("HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        :format(status))
      inner:close()
      return child:wait(sluice.patience), child:text("stderr")
    end
    local function fails(expected, ...)
      local code, _, err = run("health", ...)
      assert.equal(1, code)
      assert.matches(expected, err[1])
    end
    assert.equal(0, (health(200)))
    local code, err = health(503)
    assert.equal(1, code)
    assert.matches("answered 503", err)
    listener:close()
    fails("^sluice health: cannot connect to 127.0.0.1 port %d+$", url)
    fails("is not a URL like http://", "localhost")
  end)
end)

describe("a script", function()
  local path

  before_each(function()
    path = os.tmpname()
  end)

  after_each(function()
    os.remove(path)
  end)

  -- The one line that a run with this text ends with, and its exit code.
  local function refused(command, text)
    sluice.write(path, text)
    local code, _, err = run(command, path)
    assert.equal(1, code, table.concat(err, "\n"))
    assert.equal(1, #err, table.concat(err, "\n"))
    return message(err[1])
  end

  local mistakes = {
    ["a syntax error"] = { "return {\n  on_request = function( end\n}", ":2: " },
    ["an error in its body"] = { "\nerror('no such luck')", ":2: no such luck" },
    ["a global of its own"] = { "\n\nfunction on_request() end", ":3: .-on_request" },
    ["nothing to return"] = { "local x", "returns a table of its hooks" },
    ["a key that is not there"] = { "return { on_reqest = print }",
      'unknown key "on_reqest"; did you mean "on_request"' },
    ["a key of the wrong type"] = { "return { on_request = 5 }",
      "on_request must be a function, not a number" },
    ["an on_error that is not there"] = { "return { on_error = 'ignore' }",
      'on_error must be "reject" or "continue"' },
    ["a grant that is not there"] = { "return { grants = { 'net' } }", "cannot be granted" },
    ["a module that is not there"] = { "require 'nowhere'", ":1: .-nowhere" },
    ["a function that is not there"] = { "local sluice = require 'sluice'\nsluice.slep(1)",
      ":2: .-sluice.slep does not exist.-sleep" },
    ["a budget out of range"] = { "return { budget_ms = 0 }", "budget_ms: .-not a number from 1" },
  }
  for what, mistake in pairs(mistakes) do
    for _, command in ipairs { "run", "check" } do
      it(("with %s is refused by %s, with its place"):format(what, command), function()
        local text = refused(command, mistake[1])
        assert.matches(path, text, 1, true)
        assert.matches(mistake[2], text)
      end)
    end
  end

  it("that is not there is refused", function()
    os.remove(path)
    local code, _, err = run("run", path)
    assert.equal(1, code)
    assert.matches(path, message(err[1]), 1, true)
  end)

  it("with a wrong limit is refused", function()
    sluice.write(path, "return { limits = { head_timeot = 1 } }")
    local code, _, err = run("run", path)
    assert.equal(1, code)
    assert.matches("head_timeot: there is no such limit", err[1])
  end)

  it("whose start() refuses ends the program with its sentence", function()
    assert.equal("the moon is wrong",
      refused("run", "return { start = function() return nil, 'the moon is wrong' end }"))
  end)

  it("whose start() throws is started again", function()
    sluice.write(path, [[
      local sluice = require "sluice"
      return { start = function()
        sluice.log.info("starting")
        error("no such luck")
      end }
    ]])
    local program = process.start { sluice.binary, "run", path, "--workers", "1" }
    sluice.logged(program, "starting")
    assert.matches(":4: no such luck", sluice.logged(program, "the script failed").error)
    sluice.logged(program, "starting")
    assert.equal(0, program:stop())
  end)

  it("that is right passes its check", function()
    sluice.write(path, "return { on_request = function() end }")
    local code, _, err = run("check", path)
    assert.equal(0, code)
    assert.same({}, err)
  end)

  it("that checks more decides", function()
    sluice.write(path, "return { check = function() return nil, 'no moon' end }")
    local code, _, err = run("check", path)
    assert.equal(1, code)
    assert.equal("no moon", message(err[1]))
    sluice.write(path, [[
      local sluice = require "sluice"
      return { check = function()
        sluice.sleep(0.01)
        sluice.print(tostring(sluice.check) .. sluice.args[1])
      end }
    ]])
    local out
    code, out = run("check", path, "--moon")
    assert.equal(0, code)
    assert.equal("true--moon", out[1])
  end)

  it("on a port that is taken ends the program with one line", function()
    local port = http.free_port()
    local listener = assert(require("socket").bind("*", port))
    finally(function() listener:close() end)
    local config = dkjson.encode { routes = { sluice.route("app", port, 1) } }
    local code, _, err = run("run", "spec/fixtures/routes.lua", config)
    assert.equal(1, code)
    assert.equal(1, #err)
    assert.matches("^port " .. port .. ": cannot listen on .-: Address already in use$",
      message(err[1]))
  end)

  it("on the port of another sluice, too", function()
    local port = http.free_port()
    local config = { routes = { sluice.route("app", port, 1) } }
    local first = sluice.start { config = config }
    local code, _, err = run("run", "spec/fixtures/routes.lua", dkjson.encode(config))
    assert.equal(1, code)
    assert.matches("Address already in use", message(err[1]))
    assert.equal(0, first:stop())
  end)
end)

local program, origin, port, path

-- A script with a word of its own; what it forwards goes to our origin.
local function script(word, more, drain_timeout)
  return ([[
    local sluice = require "sluice"
    local script = { limits = { drain_timeout = %d } }
    function script.on_request(req)
      if req:path() == "/word" then
        return sluice.reply(200, "%s")
      end
      req:set_header("x-word", "%s")
    end
    %s
    function script.start()
      return require("sluice.routes").publish { { name = "app", match = { ports = %d },
        action = { type = "forward", targets = { { host = "127.0.0.1", port = %d } } } } }
    end
    return script
  ]]):format(drain_timeout or 60000, word, word, more or "", port, origin.port)
end

local function begin(drain_timeout)
  origin, port, path = peer.listen(), http.free_port(), os.tmpname()
  sluice.write(path, script("old", "", drain_timeout))
  program = sluice.start { script = path }
end

local function finish()
  origin:close()
  os.remove(path)
  program:stop()
end

local function connect()
  return assert(peer.connect { port = port })
end

local function word()
  local response, err = http.request { port = port, path = "/word" }
  return response and response.body or err
end

local get = "GET / HTTP/1.1\r\nHost: app\r\n\r\n"

describe("SIGHUP", function()
  before_each(function() begin() end)
  after_each(finish)

  local function until_new()
    local deadline = process.now() + sluice.patience
    while word() ~= "new" do
      assert(process.now() < deadline, "the old script still answers")
    end
  end

  it("puts the changed script in place", function()
    assert.equal("old", word())
    sluice.write(path, script("new"))
    program:kill(signal.SIGHUP)
    sluice.logged(program, "script reloaded")
    until_new()
  end)

  it("leaves the running one alone when the new one is broken", function()
    for text, expected in pairs {
      ["return {\n on_request = function( end }"] = ":2: ",
      ["error('no such luck')"] = "no such luck",
      ["return { on_reqest = 5 }"] = "did you mean",
      [script("new", "error('late')")] = "late",
    } do
      sluice.write(path, text)
      program:kill(signal.SIGHUP)
      local line = sluice.logged(program, "reload failed, the running script goes on")
      assert.equal("error", line.level)
      assert.matches(path, line.error, 1, true)
      assert.matches(expected, line.error)
      assert.equal("old", word())
    end
    sluice.write(path, script("new"))
    program:kill(signal.SIGHUP)
    until_new()
  end)

  it("drops nothing under load", function()
    local busy, seen = {}, {}
    for i = 1, 16 do
      busy[i] = connect()
      busy[i]:send("GET /word HTTP/1.1\r\nHost: app\r\n\r\n")
    end
    local slow = connect() -- a download that goes on all the time
    slow:send(get)
    local inner = origin:accept()
    assert.equal("old", inner:read().headers["x-word"])
    inner:send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    slow:read_head()
    for round = 1, 20 do
      sluice.write(path, script(round < 20 and "round" .. round or "new"))
      program:kill(signal.SIGHUP)
      for _, client in ipairs(busy) do
        local response = client:read()
        assert.equal(200, response.status)
        seen[response.body] = true
        client:send("GET /word HTTP/1.1\r\nHost: app\r\n\r\n")
      end
      inner:send("1\r\nx\r\n")
      assert.equal("1\r\nx\r\n", slow:receive(6))
      local line = program:wait_for("stderr", '"msg":"(script reloaded)"', sluice.patience)
      assert.is_string(line)
    end
    until_new()
    for _, client in ipairs(busy) do
      client:read()
      client:send("GET /word HTTP/1.1\r\nHost: app\r\n\r\n")
      assert.equal("new", client:read().body) -- on the connection it has had from the start
      client:close()
    end
    inner:send("0\r\n\r\n")
    assert.equal("0\r\n\r\n", slow:receive(5))
    slow:close()
    inner:close()
    assert.is_true(seen.old)
    assert.is_nil(program:text("stderr"):find('"level":"error"', 1, true))
  end)
end)

describe("SIGTERM", function()
  after_each(finish)

  local function download()
    local client = connect()
    client:send(get)
    local inner = origin:accept()
    inner:read()
    inner:send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    client:read_head()
    assert.equal("hello", client:receive(5))
    return client, inner
  end

  local function is_refused()
    local deadline = process.now() + sluice.patience
    while true do
      local client = peer.connect { port = port }
      if not client then
        return
      end
      client:close()
      assert(process.now() < deadline, "it still accepts connections")
    end
  end

  it("lets what is open end and accepts nothing new", function()
    begin()
    local client, inner = download()
    local idle = connect()
    idle:send("GET /word HTTP/1.1\r\nHost: app\r\n\r\n")
    idle:read()
    program:kill(signal.SIGTERM)
    sluice.logged(program, "ending: no new connections, open requests are finished")
    assert.equal("closed", select(2, idle:read_all()))
    is_refused()
    inner:send("world")
    assert.equal("world", client:receive(5))
    assert.equal("closed", select(2, client:read_all()))
    assert.equal(0, program:wait(sluice.patience))
    client:close()
    inner:close()
    idle:close()
  end)

  it("waits for no longer than the operator wants", function()
    begin(300)
    local client, inner = download()
    program:kill(signal.SIGTERM)
    sluice.logged(program, "connections are left after the drain timeout, closing them")
    assert.equal(0, program:wait(sluice.patience))
    assert.equal("reset", select(2, client:read_all()))
    client:close()
    inner:close()
  end)

  it("sent twice ends at once", function()
    begin()
    local client, inner = download()
    program:kill(signal.SIGTERM)
    sluice.logged(program, "ending: no new connections, open requests are finished")
    program:kill(signal.SIGTERM)
    assert.equal(0, program:wait(sluice.patience))
    client:close()
    inner:close()
  end)
end)

describe("a rush of connections", function()
  before_each(function() begin() end)
  after_each(finish)

  it("leaves no memory behind", function()
    local clients = {}
    for i = 1, 300 do
      clients[i] = connect()
      clients[i]:send("GET /word HTTP/1.1\r\nHost: app\r\n\r\n")
    end
    for _, client in ipairs(clients) do
      assert.equal("old", client:read().body)
    end
    socket.sleep(3) -- the number is looked at each second, and nothing shows it
    for _, client in ipairs(clients) do
      client:close()
    end
    assert.is_true(sluice.logged(program, "memory given back after a rush").connections >= 256)
    assert.equal("old", word())
  end)
end)

describe("the supervisor", function()
  before_each(function() begin() end)
  after_each(finish)

  local function runtime_pid()
    return sluice.logged(program, "ready").pid
  end

  it("starts the runtime again when it was killed", function()
    local pid = tonumber(program:text("stderr"):match('"msg":"ready"[^\n]-"pid":(%d+)'))
    assert.is_not.equal(program.pid, pid)
    assert.equal("old", word())
    signal.kill(pid, signal.SIGKILL)
    local line = sluice.logged(program, "the runtime was killed, starting it again")
    assert.same({ pid, 9 }, { line.pid, line.signal })
    local next_pid = runtime_pid()
    assert.is_not.equal(pid, next_pid)
    assert.equal("old", word())
    signal.kill(next_pid, signal.SIGKILL)
    line = sluice.logged(program, "the runtime was killed, starting it again")
    assert.is_true(line.backoff_ms >= 2000) -- it takes its time when that goes on
    program:kill(signal.SIGTERM)
    assert.equal(0, program:wait(sluice.patience))
  end)

  it("takes the runtime with it when it is killed itself", function()
    assert.equal("old", word())
    program:kill(signal.SIGKILL)
    assert.equal(128 + 9, program:wait(sluice.patience)) -- when nobody holds its pipes any more
    assert.is_nil((peer.connect { port = port }))
  end)
end)

describe("the log", function()
  local secrets = { "s3cret-password", "s3cret-bearer", "s3cret-cookie", "s3cret-query",
    "s3cret-body", "PRIVATE KEY" }

  local function requests(tls_port)
    local basic = "Basic dTpzM2NyZXQtcGFzc3dvcmQ=" -- u:s3cret-password
    table.insert(secrets, "dTpzM2NyZXQtcGFzc3dvcmQ=")
    for _, authorization in ipairs { basic, "Bearer s3cret-bearer", "Basic x" } do
      http.request { port = tls_port, tls = true, host = "a.example", method = "POST",
        path = "/?token=s3cret-query", body = "s3cret-body",
        headers = { Authorization = authorization, Cookie = "id=s3cret-cookie" } }
    end
    http.request { port = tls_port, tls = true, host = "a.example",
      path = "/?token=s3cret-query bad", headers = { Authorization = basic } }
    local client = peer.connect { port = tls_port, tls = true, host = "a.example" }
    client:send("GET / HTTP/1.1\r\nHost: a.example\r\nX-A\1: s3cret-cookie\r\n\r\n")
    client:read_all()
    client:close()
    client = peer.connect { port = tls_port }
    client:send("GET /?token=s3cret-query HTTP/1.1\r\n\r\n")
    client:read_all()
    client:close()
  end

  local function start_with(arguments)
    local pair = sluice.certificate("a.example")
    local tls_port = http.free_port()
    local route = sluice.route("app", tls_port, http.free_port(), { security = { basicAuth = {
      users = { { username = "u", password = "s3cret-password" } } } } })
    route.action.tls = { mode = "terminate", certificate = { cert = pair.cert, key = pair.key } }
    local config = { routes = { route } }
    return sluice.start { args = { dkjson.encode(config), unpack(arguments) } }, tls_port
  end

  it("is JSON, line by line, and holds no secrets", function()
    local log, tls_port = start_with { "--log-level", "debug" }
    requests(tls_port)
    assert.equal(0, log:stop())
    local n = 0
    for line in log:text("stderr"):gmatch("[^\n]+") do
      local fields = dkjson.decode(line)
      assert.is_table(fields, line)
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", fields.ts)
      assert.matches("^%a+$", fields.level)
      assert.is_string(fields.msg)
      n = n + 1
    end
    assert.is_true(n > 5)
    for _, secret in ipairs(secrets) do
      assert.is_nil(log:text("stderr"):find(secret, 1, true), secret)
    end
  end)

  -- Starts it, and ends it when it serves.
  local function said_by(...)
    local own_port = http.free_port()
    local child = process.start { sluice.binary, "run", "spec/fixtures/routes.lua",
      dkjson.encode { routes = { sluice.route("app", own_port, 1) } }, ... }
    local deadline = process.now() + sluice.patience
    while not http.request { port = own_port } do
      assert(process.now() < deadline, "it does not serve")
    end
    assert.equal(0, child:stop())
    return child:text("stderr")
  end

  it("is for people, too", function()
    local text = said_by("--log-format", "human")
    assert.matches("target failed", text)
    assert.is_nil(text:find("{", 1, true))
  end)

  it("leaves out what is not wanted", function()
    local text = said_by("--log-level", "warn")
    assert.matches("target failed", text)
    assert.is_nil(text:find("info", 1, true))
  end)
end)
