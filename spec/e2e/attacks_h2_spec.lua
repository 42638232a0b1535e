-- Group H2 of the attacks, as far as it takes a client from outside: floods and bombs. The rest is
-- in the C tests beside the code. Whatever comes, the next client is served, memory comes back, and
-- the log says who was sent away and why.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local process = require "support.process"
local sluice = require "support.sluice"

local slack_mib = 24 -- of what an allocator may keep

describe("a client of HTTP/2 that", function()
  local program, origin, origin_port, port

  setup(function()
    origin, origin_port = sluice.origin("app")
  end)

  teardown(function()
    origin:stop()
  end)

  before_each(function()
    port = http.free_port()
  end)

  after_each(function()
    mux.stop(program)
  end)

  local function start(limits)
    program = mux.start { workers = 1, limits = limits,
      routes = { mux.route("app", port, origin_port, "app.example") } }
  end

  local function is_served()
    local client = mux.connect("h2", { port = port, host = "app.example" })
    assert.equal(200, client:ask({ path = "/" }).status)
    client:close()
  end

  -- What the attack met; the program is as it was before.
  local function attack(name, ...)
    is_served()
    local before = sluice.memory_mib(program)
    local attacker = process.start { "python3", "spec/support/h2_attacks.py", tostring(port),
      "app.example", name, ... }
    local code = attacker:wait(sluice.patience * 2)
    assert.equal(0, code, attacker:text("stderr"))
    is_served()
    local grown = sluice.memory_mib(program) - before
    assert.is_true(sluice.is_sanitized or grown < slack_mib, grown .. " MiB more")
    return dkjson.decode(attacker:text("stdout"):match("({.*})"))
  end

  -- The connection was ended by us, and the log says so.
  local function is_sent_away(said, code)
    assert.is_not.equal("alive", said["end"])
    if said.code then -- it may not come through when much is on its way
      assert.equal(code, said.code)
    end
    local line = sluice.logged(program, "request refused")
    assert.equal("127.0.0.1", line.client)
    assert.matches("%w", line.why)
  end

  local floods = {
    rapid_reset = { "H2-21 opens and resets streams", "ENHANCE_YOUR_CALM" },
    made_you_reset = { "H2-22 makes us reset streams", "ENHANCE_YOUR_CALM" },
    continuation = { "H2-23 never ends its head", "ENHANCE_YOUR_CALM" },
    empty_continuation = { "H2-23 never ends its head, with nothing", "ENHANCE_YOUR_CALM" },
    ping = { "sends pings", "ENHANCE_YOUR_CALM" },
    settings = { "sends settings", "ENHANCE_YOUR_CALM" },
    empty_data = { "sends frames without data", "ENHANCE_YOUR_CALM" },
    priority = { "sends priorities", "ENHANCE_YOUR_CALM" },
  }
  for name, flood in pairs(floods) do
    it(flood[1] .. " without end is sent away", function()
      start()
      is_sent_away(attack(name), flood[2])
    end)
  end

  it("H2-26 sends a small head that is large inside gets 431", function()
    start()
    local said = attack("hpack_bomb")
    assert.equal("alive", said["end"])
    assert.equal(20, said.statuses["431"])
    assert.equal(431, sluice.logged(program, "request refused").status)
  end)

  it("H2-25 reads byte by byte is cut off and costs little meanwhile", function()
    start { write_timeout = 2000 }
    local before = sluice.memory_mib(program)
    local attacker = process.start { "python3", "spec/support/h2_attacks.py", tostring(port),
      "app.example", "dribble", "5" }
    attacker:wait_for("stdout", "^dribbling$", sluice.patience)
    local deadline, most = process.now() + 3, 0
    while process.now() < deadline do
      is_served()
      most = math.max(most, sluice.memory_mib(program) - before)
    end
    assert.is_true(sluice.is_sanitized or most < 64, most .. " MiB more")
    assert.equal(0, attacker:wait(sluice.patience))
    is_served()
  end)
end)
