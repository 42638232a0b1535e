-- HTTP/3 over a bad network: 25 ms in each direction and 2 % of the packets lost. What arrives is
-- what was sent.
--
-- Needs root, namespaces and /dev/net/tun. SLUICE_LOSS_MB says how many megabytes: at this loss
-- CUBIC needs six seconds for each, so that fifty are for those who are in no hurry.

local http = require "support.http"
local mux = require "support.mux"
local process = require "support.process"
local sluice = require "support.sluice"

local size = (tonumber(os.getenv("SLUICE_LOSS_MB")) or 2) * 1000000

local function make_lab()
  local lab = process.start { "python3", "spec/support/netlab.py", "25", "2" }
  local ok, a, b = pcall(lab.wait_for, lab, "stdout", "^(%d+) (%d+)$", 10)
  if not ok then
    lab:stop()
    return nil, lab:text("stderr")
  end
  return lab, a, b
end

describe("HTTP/3 over a bad network", function()
  local lab, inside, outside = make_lab()
  if not lab then
    pending("needs root and namespaces: " .. inside)
    return
  end

  local program, origin, origin_port, port

  local function on(side, argv)
    return { "nsenter", "--net=/proc/" .. side .. "/ns/net", unpack(argv) }
  end

  setup(function()
    origin = process.start(on(inside, { "python3", "spec/support/origin.py", "app" }))
    origin_port = tonumber((origin:wait_for("stdout", "^(%d+)$", sluice.patience)))
    port = http.free_port()
    program = sluice.start { prefix = on(inside, {}), config = {
      routes = { mux.route("app", port, origin_port, "app.example") } } }
  end)

  teardown(function()
    mux.stop(program)
    origin:stop()
    lab:kill()
    lab:wait(10)
  end)

  local function shell(side, text)
    local child = process.start(on(side, { "sh", "-c", text }))
    local code = child:wait(sluice.patience * 5 + size / 50000)
    assert.equal(0, code, child:text("stderr"))
    return child:text("stdout")
  end

  local function hash()
    return shell(inside, ("curl -sS http://127.0.0.1:%d/sha256/%d"):format(origin_port, size))
      :match("%x+")
  end

  local curl = "curl -sSk --http3-only --resolve app.example:%d:10.99.0.1 "
    .. "https://app.example:%d%s"

  it("carries bytes down", function()
    local got = shell(outside, curl:format(port, port, "/bytes/" .. size) .. " | sha256sum")
    assert.equal(hash(), got:match("^%x+"))
  end)

  it("carries bytes up", function()
    local body = os.tmpname()
    finally(function() os.remove(body) end)
    shell(inside, ("curl -sS -o %s http://127.0.0.1:%d/bytes/%d"):format(body, origin_port, size))
    local said = shell(outside, curl:format(port, port, "/upload") .. " -T " .. body)
    assert.equal(hash(), said:match('"sha256": "(%x+)"'))
  end)
end)
