local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

describe("other programs", function()
  it("run, are limited and leave nothing behind", function()
    local code, out, err = sluice.run({
      "run", "spec/fixtures/library/exec.lua", "--workers", "1", "--no-supervisor",
    }, { LIBRARY_SPEC = "there" })
    assert.equal(0, code, out .. err)
    assert.matches("%d+ cases, 0 failed\n$", out)
  end)
end)

describe("a program with children", function()
  local program, port, seconds

  before_each(function()
    port = http.free_port()
    seconds = tostring(1000000 + port) -- so that our sleep is found among others
    program = sluice.start { script = "spec/fixtures/exec.lua", args = { tostring(port), seconds },
      prefix = { "python3", "spec/support/subreaper.py", "--be" } }
  end)

  after_each(function()
    assert.equal(0, program:stop())
  end)

  local function count(command)
    local pipe = io.popen(command)
    local n = tonumber(pipe:read("*a"):match("%d+"))
    pipe:close()
    return n
  end

  local function wait_until(what, done)
    local deadline = process.now() + sluice.patience
    while not done() do
      assert(process.now() < deadline, what)
    end
  end

  local function sleepers()
    return count("pgrep -c -x -f 'sleep " .. seconds .. "'")
  end

  local function sleeper_id()
    return count("pgrep -x -f 'sleep " .. seconds .. "'")
  end

  local function zombies_of(pid)
    return count(("ps -o stat= --ppid %d | grep -c '^Z'"):format(pid))
  end

  local function run(text)
    return http.request { port = port, method = "POST", body = text }
  end

  it("runs them on workers", function()
    assert.equal("hello\n", run("echo hello").body)
    wait_until("no sleep runs", function() return sleepers() == 1 end)
  end)

  it("lets them go when the script is loaded anew, and when it ends", function()
    wait_until("no sleep runs", function() return sleepers() == 1 end)
    local first = sleeper_id()
    local client = peer.connect { port = port }
    client:send(http.request_text { method = "POST",
      body = ("while [ ! -e /tmp/exec-%d ]; do sleep 0.01; done; echo end"):format(port) })
    wait_until("the request does not run", function()
      return count("pgrep -c -f 'while.*exec-" .. port .. "'") > 0
    end)
    signal.kill(program.pid, signal.SIGHUP)
    wait_until("the old sleep stays", function()
      return sleepers() == 1 and sleeper_id() ~= first
    end)
    sluice.write("/tmp/exec-" .. port, "")
    assert.matches("\r\n\r\n.*end\n", client:read_all()) -- what was under way goes on
    os.remove("/tmp/exec-" .. port)
    client:close()
    wait_until("a zombie stays", function()
      return zombies_of(sluice.runtime_of(program)) == 0
    end)
    program:stop()
    wait_until("a sleep stays", function() return sleepers() == 0 end)
  end)

  it("loses none of them to its supervisor, which waits for what they leave behind", function()
    -- A session of its own is out of the reach of whoever kills a group.
    local orphan = run("setsid sh -c 'sleep 0.1 >&- 2>&- & echo $!'; exit").body:match("%d+")
    wait_until("nobody waits for an orphan", function()
      return not io.open("/proc/" .. orphan .. "/stat")
    end)
    for i = 1, 20 do
      assert.equal(i .. "\n", run("echo " .. i).body)
    end
    wait_until("no sleep runs", function() return sleepers() == 1 end)
    local sleeper, runtime = sleeper_id(), sluice.runtime_of(program)
    signal.kill(runtime, signal.SIGKILL)
    sluice.logged(program, "the runtime was killed, starting it again")
    wait_until("it does not come again", function()
      local answer = run("echo again")
      return answer and answer.body == "again\n"
    end)
    signal.kill(sleeper, signal.SIGTERM) -- which its runtime could not do any more
  end)
end)
