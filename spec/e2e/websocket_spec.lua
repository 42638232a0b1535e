-- WebSockets of scripts against the websockets library of Python, and against peers that break the
-- rules. The cases of the client are in spec/fixtures/library/websocket.lua.

local process = require "support.process"
local sluice = require "support.sluice"

local peer = { "python3", "spec/support/websocket_peer.py" }

local function run_peer(...)
  local child = process.start { peer[1], peer[2], ... }
  local code = child:wait(sluice.patience * 3)
  return code, child:text("stdout") .. child:text("stderr")
end

local function temporary(text)
  local path = os.tmpname()
  sluice.write(path, text)
  return path
end

describe("a WebSocket", function()
  it("of a client does what it says", function()
    local pair = sluice.certificate("localhost")
    local cert, key = temporary(pair.cert), temporary(pair.key)
    local server = process.start { peer[1], peer[2], "serve", cert, key }
    finally(function()
      server:stop()
      os.remove(cert)
      os.remove(key)
    end)
    local good, bad, secure = server:wait_for("stdout", "^(%d+) (%d+) (%d+)$", sluice.patience)
    local code, out, err = sluice.run({
      "run", "spec/fixtures/library/websocket.lua", "--workers", "1", "--no-supervisor",
    }, { WEBSOCKET_GOOD = good, WEBSOCKET_BAD = bad, WEBSOCKET_SECURE = secure,
      WEBSOCKET_UNIX = cert .. ".sock", LIBRARY_CERT = cert })
    assert.equal(0, code, out .. err)
    assert.matches("%d+ cases, 0 failed\n$", out)
  end)

  describe("of a server", function()
    local program, url

    setup(function()
      program = sluice.start { script = "spec/fixtures/websocket.lua" }
      url = "ws://127.0.0.1:" .. program:wait_for("stdout", "^(%d+)$", sluice.patience)
    end)

    teardown(function()
      assert.equal(0, program:stop())
    end)

    it("talks to a client that behaves", function()
      local code, text = run_peer("client", url)
      assert.equal(0, code, text)
    end)

    it("closes on one that does not, with the right code", function()
      local code, text = run_peer("attack", url)
      assert.equal(0, code, text)
    end)
  end)
end)
