-- One sluice takes over from another: nobody who asks notices.

local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"
local stat = require "posix.sys.stat"

local path, port, running

before_each(function()
  path, port, running = os.tmpname(), http.free_port(), {}
  os.remove(path)
end)

after_each(function()
  for _, program in ipairs(running) do
    if not program.code then
      program:stop()
    end
  end
  os.remove(path)
end)

local function start(name, changes)
  local given = { name = name, path = path, port = port }
  for key, value in pairs(changes or {}) do
    given[key] = value
  end
  local argv = { sluice.binary, "run", "spec/fixtures/takeover.lua", "--workers",
    tostring(given.workers or 2), dkjson.encode(given) }
  if given.is_alone then
    table.insert(argv, 4, "--no-supervisor")
  end
  local program = process.start(argv)
  table.insert(running, program)
  return program
end

local function in_charge(name, changes)
  local program = start(name, changes)
  program:wait_for("stderr", '"msg":"in charge"', sluice.patience)
  return program
end

local function ends_well(program)
  assert.equal(0, program:wait(sluice.patience))
  assert.is_nil(program:text("stderr"):find("after the drain timeout", 1, true))
end

-- Who answers.
local function ask(at)
  local response, err = http.request { port = at or port, path = "/" }
  return response and response.body:match("%S+") or err
end

local function load_with(kept, fresh)
  local client = process.start({ "python3", "spec/support/steady_load.py", tostring(port),
    tostring(kept), tostring(fresh) }, nil, true)
  table.insert(running, client)
  client:wait_for("stdout", "^asking$", sluice.patience)
  return client
end

local function result_of(client)
  client:say("enough")
  return (dkjson.decode(client:wait_for("stdout", "^{.*", sluice.patience)))
end

describe("a takeover", function()
  it("fails no request, whatever the number of workers", function()
    local before = in_charge("g0", { workers = 1 })
    local client = load_with(16, 8)
    for i, workers in ipairs { 2, 1, 3, 1 } do
      local after = in_charge("g" .. i, { workers = workers })
      ends_well(before)
      before = after
    end
    local result = result_of(client)
    assert.same({}, result.failures)
    for _, kind in ipairs { "kept", "fresh" } do
      for i = 0, 4 do
        assert.is_true((result[kind]["g" .. i] or 0) > 0, kind .. " never met g" .. i)
      end
    end
    assert.equal(0, before:stop())
  end)

  it("changes nothing when the newcomer dies before it has said that it is live", function()
    local before = in_charge("g0")
    local client = load_with(8, 4)
    for _ = 1, 2 do
      local newcomer = start("g1", { waits = "before routes", is_alone = true })
      assert.equal("true", sluice.logged(newcomer, "from").taken)
      newcomer:kill(signal.SIGKILL)
      newcomer:wait(sluice.patience)
      sluice.logged(before, "nobody takes over, going on")
    end
    local result = result_of(client)
    assert.same({}, result.failures)
    assert.is_nil(result.kept.g1)
    local newcomer = start("g1", { waits = "before done", is_alone = true })
    sluice.logged(newcomer, "waiting")
    newcomer:kill(signal.SIGKILL)
    newcomer:wait(sluice.patience)
    for _ = 1, 20 do
      assert.equal("g0", ask())
    end
    in_charge("g2")
    ends_well(before)
    assert.equal("g2", ask())
  end)

  it("goes on with the sockets of one that has died before it was told", function()
    local gate, more_port = peer.listen(), http.free_port()
    local before = in_charge("g0", { is_alone = true, more_port = more_port })
    local after = start("g1", { gate = ("http://127.0.0.1:%d/"):format(gate.port) })
    local inner = assert(gate:accept(), "it has not begun")
    inner:read()
    before:kill(signal.SIGKILL)
    before:wait(sluice.patience)
    local waiting = peer.connect { port = port } -- in the queue of a socket, where nobody accepts
    waiting:send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
    sluice.logged(after, "the sluice to take over from has gone")
    inner:send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    assert.equal("the other one has gone", sluice.logged(after, "done").error)
    assert.equal("g1 /", waiting:read().body)
    assert.matches("refused", ask(more_port))
    inner:close()
    gate:close()
    in_charge("g2")
    ends_well(after)
  end)

  it("answers on an idle connection once more, which is closed then", function()
    local before = in_charge("g0")
    local kept, fresh = peer.connect { port = port }, peer.connect { port = port }
    local request = "GET / HTTP/1.1\r\nHost: app\r\n\r\n"
    kept:send(request)
    assert.is_nil(kept:read().headers.connection)
    in_charge("g1")
    for _, client in ipairs { kept, fresh } do
      client:send(request)
      local response = client:read()
      assert.same({ "g0 /", "close" }, { response.body, response.headers.connection })
      client:close()
    end
    ends_well(before)
  end)

  it("leaves the file of the socket to the newcomer", function()
    local before = in_charge("g0")
    local after = in_charge("g1")
    ends_well(before)
    assert.equal(tonumber("600", 8), stat.stat(path).st_mode % 512)
    assert.equal(0, after:stop())
    assert.is_nil(stat.stat(path))
  end)

  it("begins anew where somebody has died", function()
    local dead = in_charge("g0", { is_alone = true })
    dead:kill(signal.SIGKILL)
    dead:wait(sluice.patience)
    assert.is_table(stat.stat(path))
    local program = in_charge("g1")
    assert.matches("nobody is there", program:text("stderr"))
    assert.equal("g1", ask())
  end)

  it("frees the ports that are not wanted, the servers of the script, and UDP", function()
    local pair = sluice.certificate("own.example")
    local changes = { own_port = http.free_port(), more_port = http.free_port(),
      h3_port = http.free_port(), cert = pair.cert, key = pair.key }
    local before = in_charge("g0", changes)
    assert.equal("g0", ask(changes.more_port))
    local more_port = changes.more_port
    changes.more_port = nil
    local busy = peer.connect { port = port } -- keeps the first one for a while
    busy:send("GET / HTTP/1.1\r\nHost: app\r\n\r\n")
    busy:read()
    local after = in_charge("g1", changes)
    assert.equal("g1", ask(changes.own_port))
    assert.matches("refused", ask(more_port))
    busy:close()
    ends_well(before)
    after:wait_for("stderr", '"listening".*"port":' .. changes.h3_port .. ',"transport":"udp"',
      sluice.patience)
  end)

  it("is not for who does not speak the protocol", function()
    local before = in_charge("g0")
    local liar = process.start { "python3", "spec/support/takeover_peer.py", path, "garbage", "60" }
    assert.equal(0, liar:wait(sluice.patience))
    local _, n = liar:text("stdout"):gsub("it does not speak the protocol of takeovers\n", "")
    assert.equal(60, n)
    local silent = process.start({ "python3", "spec/support/takeover_peer.py", path, "silent" },
      nil, true)
    table.insert(running, silent)
    silent:wait_for("stdout", "^connected$", sluice.patience)
    local refused = start("g1")
    assert.equal("another takeover is under way", sluice.logged(refused, "from").error)
    refused:stop()
    assert.equal("g0", ask())
    silent:say("enough")
    silent:wait(sluice.patience)
    in_charge("g2")
    ends_well(before)
  end)
end)
