-- HTTP/3 with clients that are not ours: curl, and aioquic where it takes steps. Messages and the
-- life of connections are in mux_spec and mux_life_spec, attacks in attacks_quic_spec.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local process = require "support.process"
local sluice = require "support.sluice"

local bulk = sluice.is_sanitized and 20000000 or 100000000

describe("HTTP/3", function()
  local program, origin, origin_port, port, url

  setup(function()
    origin, origin_port = sluice.origin("app")
    port = http.free_port()
    url = "https://app.example:" .. port
    program = mux.start { routes = {
      mux.route("app", port, origin_port, "app.example"),
      mux.route("closed", port, origin_port, "app.example", { path = "/closed", security = {
        basicAuth = { users = { { username = "u", password = "p" } } } } }),
    } }
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

  local function connect(options)
    options = options or {}
    options.port, options.host = port, "app.example"
    return mux.connect("h3", options)
  end

  it("is announced to those who come over TCP, and spoken with curl", function()
    local head = curl("-D", "-", "-o", "/dev/null", url .. "/")
    assert.matches(('alt%%-svc: h3=":%d"; ma=%%d+'):format(port), head:lower())
    head = curl("--http3-only", "-D", "-", "-o", "/dev/null", url .. "/")
    assert.matches("^HTTP/3 200", head)
    assert.is_nil(head:lower():find("alt-svc", 1, true)) -- it is here already
  end)

  it("carries a hundred megabytes down", function()
    local got = shell(("curl -sSk --http3-only --resolve app.example:%d:127.0.0.1 %s/bytes/%d "
      .. "| sha256sum"):format(port, url, bulk))
    assert.equal(hash_of(bulk), got:match("^%x+"))
  end)

  it("carries a hundred megabytes up, with a length and without", function()
    local hash = hash_of(bulk)
    local give = ("curl -sSk http://127.0.0.1:%d/bytes/%d | "):format(origin_port, bulk)
    local take = ("curl -sSk --http3-only --resolve app.example:%d:127.0.0.1 %%s %s/upload")
      :format(port, url)
    local said = shell(give .. take:format("-T -"))
    assert.equal(hash, said:match('"sha256": "(%x+)"'))
    assert.matches('"transfer%-encoding": %["chunked"%]', said)
    said = shell(give .. take:format("--data-binary @-"))
    assert.equal(hash, said:match('"sha256": "(%x+)"'))
    assert.matches('"content%-length": %["' .. bulk .. '"%]', said)
  end)

  it("carries many requests on one connection", function()
    local out = curl("--http3-only", "-Z", "--parallel-max", "100", "-o", "/dev/null", "-w",
      "%{http_version} %{http_code} %{num_connects}\n", url .. "/[1-1000]")
    local n, n_connects = 0, 0
    for line in out:gmatch("[^\n]+") do
      assert.matches("^3 200 ", line)
      n, n_connects = n + 1, n_connects + tonumber(line:match("(%d+)$"))
    end
    assert.same({ 1000, 1 }, { n, n_connects })
  end)

  it("asks for credentials as HTTP/1.1 does", function()
    local client = connect()
    local response = client:ask { path = "/closed" }
    assert.equal(401, response.status)
    assert.matches("^Basic ", response.headers["www-authenticate"])
    response = client:ask { path = "/closed", headers = { { "authorization", "Basic dTpw" } } }
    assert.equal(200, response.status)
    client:close()
  end)

  for name, new_id in pairs { ["moves"] = true, ["is moved by a NAT that forgets"] = false } do
    it("goes on when the client " .. name .. " in the middle of a download", function()
      local client, size = connect(), 10000000
      local id = client:request { path = "/bytes/" .. size }
      client:wait("head", id)
      client:tell("rebind", { new_id = new_id })
      client:wait "rebound"
      local response = client:response(id)
      assert.same({ size, hash_of(size) }, { response.size, response.sha256 })
      client:close()
    end)
  end

  it("goes on when the client moves in the middle of an upload", function()
    local client, size = connect(), 10000000
    local id = client:request { method = "POST", path = "/upload", size = size }
    client:tell("rebind", { new_id = true })
    assert.equal(hash_of(size), dkjson.decode(client:response(id).body).sha256)
    client:close()
  end)

  it("goes on when the keys change", function()
    local client = connect()
    for i = 1, 3 do
      assert.equal(200, client:ask({ path = "/" .. i }).status)
      client:tell "update_keys"
      assert.equal(100000, client:ask({ path = "/bytes/100000" }).size)
    end
    client:close()
  end)

  it("resumes a session, also at another worker", function()
    local ticket = os.tmpname()
    finally(function() os.remove(ticket) end)
    local client = connect { resume = ticket }
    client:wait "ticket"
    client:close()
    for _ = 1, 6 do
      client = mux.start_client("h3", { port = port, host = "app.example", resume = ticket })
      assert.is_true(client:wait("connected").resumed)
      assert.equal(200, client:ask({ path = "/" }).status)
      client:close()
    end
  end)
end)
