local http = require "support.http"
local signal = require "posix.signal"
local sluice = require "support.sluice"

local function temporary(text)
  local path = os.tmpname()
  sluice.write(path, text)
  return path
end

describe("the library of scripts", function()
  local cert_path, key_path

  setup(function()
    local pair = sluice.certificate("localhost")
    cert_path, key_path = temporary(pair.cert), temporary(pair.key)
  end)

  teardown(function()
    os.remove(cert_path)
    os.remove(key_path)
  end)

  -- Each fixture is a script that checks one part of the library from inside the running program
  -- and ends with the code 0 when all is well; what failed is on its stdout.
  for _, name in ipairs { "time", "event", "tcp", "tls", "http", "data", "shared", "publish",
    "hooks" } do
    it("does what it says: " .. name, function()
      local code, out, err = sluice.run({
        "run", ("spec/fixtures/library/%s.lua"):format(name), "--workers", "2",
        "--no-supervisor", "--", "one", "--two",
      }, { LIBRARY_SPEC = "there", LIBRARY_CERT = cert_path, LIBRARY_KEY = key_path })
      assert.equal(0, code, out .. err)
      assert.matches("%d+ cases, 0 failed\n$", out)
    end)
  end
end)

describe("a storm of cancelled tasks", function()
  local function open_files(pid)
    local listing = io.popen(("ls /proc/%d/fd | wc -l"):format(pid))
    local count = listing:read("*n")
    listing:close()
    return count
  end

  it("leaves nothing open", function()
    local program = sluice.start { script = "spec/fixtures/library/storm.lua" }
    local pid = program:text("stderr"):match('"msg":"ready".-"pid":(%d+)')
    program:wait_for("stdout", "^before$", sluice.patience)
    local before = open_files(pid)
    program:wait_for("stdout", "^after$", sluice.patience)
    local after = open_files(pid)
    assert.equal(0, program:stop())
    assert.is_true(after <= before + 8, ("%d open before, %d after"):format(before, after))
  end)
end)

describe("a script that is replaced", function()
  local program, env, port

  before_each(function()
    port = sluice.free_port()
    env = {
      GENERATION_FILE = temporary("1"),
      SOCKET = os.tmpname() .. ".sock",
      PORT = tostring(port),
      REPORT = "yes",
    }
    program = sluice.start { script = "spec/fixtures/reload.lua", env = env }
  end)

  after_each(function()
    os.remove(env.GENERATION_FILE)
    os.remove((env.SOCKET:gsub("%.sock$", "")))
    local stopping = program
    program = nil
    assert.equal(0, stopping:stop())
  end)

  local function get(path)
    local response, err = http.request { port = port, path = path }
    assert.is_table(response, err)
    return response.body
  end

  local function reload()
    sluice.write(env.GENERATION_FILE, "2")
    program:kill(signal.SIGHUP)
    program:wait_for("stderr", '"generation":"2"', sluice.patience)
  end

  it("gives up its servers, timers, subscriptions and tasks to the next", function()
    assert.equal("1", get("/"))
    assert.equal("1", get("/publish"))
    reload()
    assert.equal("2", get("/"))
    assert.equal("1", get("/publish"))
    local ticks, loops = program:wait_for("stdout", "^2 (%d+) (%d+)$", 10)
    for _ = 1, 5 do
      assert.same({ ticks, loops }, { program:wait_for("stdout", "^2 (%d+) (%d+)$", 10) })
    end
  end)

  it("still answers the request that was in its hands", function()
    local connection = http.connect { port = port }
    connection:send(http.request_text { path = "/slow" })
    program:wait_for("stderr", "slow request begun", 10)
    reload()
    local response = assert(http.parse(connection:receive("*a")))
    connection:close()
    assert.equal("1", response.body)
    assert.equal("2", get("/"))
  end)

  it("goes on when the next one cannot be loaded", function()
    os.remove(env.GENERATION_FILE)
    program:kill(signal.SIGHUP)
    program:wait_for("stderr", "reload failed", sluice.patience)
    assert.equal("1", get("/"))
  end)
end)
