-- HTTP/2 with clients that are not ours: curl. Messages and the life of connections are in mux_spec
-- and mux_life_spec, attacks in attacks_h2_spec.

local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"

local bulk = sluice.is_sanitized and 20000000 or 100000000

describe("HTTP/2", function()
  local program, origin, origin_port, port, url

  setup(function()
    origin, origin_port = sluice.origin("app")
    port = http.free_port()
    url = "https://app.example:" .. port
    program = mux.start { routes = { mux.route("app", port, origin_port, "app.example") } }
  end)

  teardown(function()
    mux.stop(program)
    origin:stop()
  end)

  local function curl(...)
    local child = process.start { "curl", "-sSk", "--resolve", "app.example:" .. port
      .. ":127.0.0.1", ... }
    local code = child:wait(sluice.patience * 3)
    assert.equal(0, code, child:text("stderr"))
    return child:text("stdout")
  end

  local function shell(text)
    local child = process.start { "sh", "-c", text }
    assert.equal(0, child:wait(sluice.patience * 3), child:text("stderr"))
    return child:text("stdout")
  end

  local function hash_of(n)
    return http.request({ port = origin_port, path = "/sha256/" .. n }).body
  end

  it("is chosen by a client that offers it, and by no other", function()
    for flag, expected in pairs { ["--http2"] = "2", ["--http1.1"] = "1.1",
      ["--no-alpn"] = "1.1" } do
      assert.equal(expected .. " 200\n", curl(flag, "-o", "/dev/null", "-w",
        "%{http_version} %{http_code}\n", url .. "/"))
    end
  end)

  it("carries a hundred megabytes down", function()
    local got = shell(("curl -sSk --http2 --resolve app.example:%d:127.0.0.1 %s/bytes/%d "
      .. "| sha256sum"):format(port, url, bulk))
    assert.equal(hash_of(bulk), got:match("^%x+"))
  end)

  it("carries a hundred megabytes up, with a length and without", function()
    local hash = hash_of(bulk)
    local give = ("curl -sSk http://127.0.0.1:%d/bytes/%d | "):format(origin_port, bulk)
    local take = ("curl -sSk --http2 --resolve app.example:%d:127.0.0.1 %%s %s/upload")
      :format(port, url)
    local said = shell(give .. take:format("-T -"))
    assert.equal(hash, said:match('"sha256": "(%x+)"'))
    assert.matches('"transfer%-encoding": %["chunked"%]', said)
    said = shell(give .. take:format("--data-binary @-"))
    assert.equal(hash, said:match('"sha256": "(%x+)"'))
    assert.matches('"content%-length": %["' .. bulk .. '"%]', said)
  end)

  it("carries many requests on one connection", function()
    local out = curl("--http2", "-Z", "--parallel-max", "100", "-o", "/dev/null", "-w",
      "%{http_version} %{http_code} %{num_connects}\n", url .. "/[1-1000]")
    local n, n_connects = 0, 0
    for line in out:gmatch("[^\n]+") do
      assert.matches("^2 200 ", line)
      n, n_connects = n + 1, n_connects + tonumber(line:match("(%d+)$"))
    end
    assert.same({ 1000, 1 }, { n, n_connects })
  end)

  it("is not spoken without TLS", function()
    local plain = http.free_port()
    local routes = { mux.route("app", port, origin_port, "app.example"),
      sluice.route("plain", plain, origin_port) }
    mux.publish(program, routes)
    local client = assert(peer.connect { port = plain })
    client:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    local response = client:read()
    assert.is_true(response.status == 400 or response.status == 505, response.line)
    assert.equal("", (client:read_all()))
    client:close()
  end)
end)
