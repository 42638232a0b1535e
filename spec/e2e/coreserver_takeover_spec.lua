-- A second core-server takes the place of the first: of another sluice without a lost request, of
-- the original and for the original as that does it.

local core_server = require "support.core_server"
local dkjson = require "dkjson"
local process = require "support.process"
local sluice = require "support.sluice"

-- How long the original waits before it takes the ports. It is 10 ms; more where a turn of the
-- machine may take that long.
local patience_ms = "300"

describe("the second core-server", function()
  local running, home

  before_each(function()
    running, home = {}, nil
  end)

  after_each(function()
    for _, child in ipairs(running) do
      child:stop()
    end
    if home then
      os.execute(("rm -rf '%s'"):format(home))
    end
  end)

  local function start(before)
    local server = core_server.start {
      home = before and before.home, http_port = before and before.http_port,
      https_port = before and before.https_port, command_port = before and before.command_port,
    }
    home = server.home
    table.insert(running, server.program)
    return server
  end

  -- Answers "name path" to every request.
  local function start_origin(name)
    local port = sluice.free_port()
    local program = process.start { sluice.binary, "run", "spec/fixtures/takeover.lua",
      "--workers", "1", dkjson.encode { name = name, port = port, path = os.tmpname() .. ".sock" } }
    table.insert(running, program)
    program:wait_for("stderr", '"msg":"in charge"', sluice.patience)
    return port
  end

  local function start_load(port)
    local client = process.start({ "python3", "spec/support/steady_load.py", tostring(port), "12",
      "6" }, nil, true)
    table.insert(running, client)
    client:wait_for("stdout", "^asking$", sluice.patience)
    return client
  end

  local function start_original(server)
    local child = process.start { "python3", "spec/support/original_core_server.py",
      tostring(server.http_port), tostring(server.command_port), patience_ms }
    table.insert(running, child)
    return child
  end

  it("takes over from the first, and fails no request", function()
    local first = start()
    first:add("app", start_origin "origin")
    local client = start_load(first.http_port)
    local last = first
    for _ = 1, 3 do
      local before = last
      last = start(before)
      assert.equal(0, before.program:wait(sluice.patience))
    end
    client:say "enough"
    local result = dkjson.decode(client:wait_for("stdout", "^{.*", sluice.patience))
    assert.same({}, result.failures)
    assert.is_true(result.n > 50)
    last:add("more.test", 1000)
    assert.matches("^app %d+\nmore.test 1000$", last:state())
    assert.is_string(last:ask "list")
  end)

  it("knows what the first was told while it started", function()
    local first = start()
    local port = start_origin "origin"
    -- Datagrams from many ports, before, while and after the other one takes over.
    local child = process.start { "python3", "-c", [[
import socket, sys, time
command_port, port = int(sys.argv[1]), sys.argv[2]
for i in range(300):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(f"add n{i}.test {port}".encode(), ("127.0.0.1", command_port))
    s.close()
    time.sleep(0.005)
    if i == 20:
        print("on its way", flush=True)
]], tostring(first.command_port), tostring(port) }
    table.insert(running, child)
    child:wait_for("stdout", "on its way", sluice.patience)
    local last = start(first)
    assert.equal(0, first.program:wait(sluice.patience))
    assert.equal(0, child:wait(sluice.patience))
    local function n_names()
      local _, n = (last:command "list"):gsub("n%d+%.test", "")
      return n
    end
    assert.is_true(core_server.eventually(function()
      return n_names() == 300
    end), "only " .. n_names())
  end)

  it("may be started at the same moment as the first: one of them stays", function()
    home = core_server.new_home()
    local server = core_server.start { home = home }
    table.insert(running, server.program)
    local both = { server:spawn_program(), server:spawn_program() }
    for _, program in ipairs(both) do
      table.insert(running, program)
    end
    assert.equal(0, server.program:wait(sluice.patience))
    local left = core_server.eventually(function()
      local alive = {}
      for _, program in ipairs(both) do
        if not pcall(program.wait, program, 0.1) then
          table.insert(alive, program)
        end
      end
      return #alive == 1 and alive
    end)
    assert.is_table(left, "not one of them is left")
    server:add("a.test", 1000)
    assert.equal("a.test 1000\nok\n", server:ask "list")
  end)

  it("lets what is open at the first end as it likes", function()
    local first = start()
    local answer = first:hold_request()
    local second = start(first)
    assert.equal(404, second:get("unknown.test").status)
    answer()
    assert.equal(0, first.program:wait(sluice.patience))
  end)

  it("takes over from the original", function()
    local ports = { http_port = sluice.free_port(), command_port = sluice.free_port() }
    local original = start_original(ports)
    original:wait_for("stdout", "^commands$", sluice.patience)
    local server = core_server.start(ports)
    home = server.home
    table.insert(running, server.program)
    assert.equal(0, original:wait(sluice.patience))
    assert.equal(404, server:get("unknown.test").status)
    assert.equal("ok\n", server:ask "list")
  end)

  it("keeps who asks over the socket waiting until it knows its names", function()
    local folder
    home = core_server.new_home()
    folder = home .. "/config/core-web-server"
    assert(os.execute(("mkdir -p '%s'"):format(folder)))
    sluice.write(folder .. "/forward_targets.txt", "kept.test 1000")
    -- Somebody has the port for commands and does not go: the start takes its time.
    local socket = require "socket"
    local holder = socket.udp4()
    assert(holder:setsockname("127.0.0.1", 0))
    local _, port = holder:getsockname()
    local client = process.start { "python3", "-c", [[
import socket, sys, time
while True:
    try:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(sys.argv[1])
        break
    except OSError:
        time.sleep(0.01)
sock.sendall(b"add early.test 1001\n")
print(sock.recv(100).decode())]], folder .. "/control.sock" }
    table.insert(running, client)
    local server = core_server.start { home = home, command_port = tonumber(port) }
    table.insert(running, server.program)
    holder:close()
    assert.equal(0, client:wait(sluice.patience), client:text "stderr")
    assert.matches("^ok\n", client:text "stdout")
    assert.equal("kept.test 1000\nearly.test 1001", server:state())
  end)

  it("may be the original: the first frees its ports and finishes what is open", function()
    local server = start()
    local answer = server:hold_request()
    local original = start_original(server)
    original:wait_for("stdout", "^commands$", sluice.patience)
    assert.equal("original", server:get("anything").body)
    answer()
    assert.equal(0, server.program:wait(sluice.patience))
  end)

  it("of another home tells the first to go", function()
    local first = start()
    local second = core_server.start { http_port = first.http_port, https_port = first.https_port,
      command_port = first.command_port }
    finally(function() second:stop() end)
    assert.equal(0, first.program:wait(sluice.patience))
    second:add("a.test", 1000)
    assert.equal("a.test 1000\nok\n", second:ask "list")
  end)
end)
