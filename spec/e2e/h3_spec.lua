-- HTTP/3 with clients that are not ours: curl, and aioquic where it takes steps. Messages and the
-- life of connections are in mux_spec and mux_life_spec, attacks in attacks_quic_spec.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local sluice = require "support.sluice"
local transfers = require "support.transfers"

describe("HTTP/3", function()
  local program, origin
  local lab = {}
  local curl = transfers.curl(lab)

  setup(function()
    origin, lab.origin_port = sluice.origin("app")
    lab.port = http.free_port()
    program = mux.start { routes = {
      mux.route("app", lab.port, lab.origin_port, "app.example"),
      mux.route("closed", lab.port, lab.origin_port, "app.example", { path = "/closed",
        security = { basicAuth = { users = { { username = "u", password = "p" } } } } }),
    } }
  end)

  teardown(function()
    mux.stop(program)
    origin:stop()
  end)

  local function hash_of(n)
    return transfers.hash_of(lab, n)
  end

  local function connect(options)
    options = options or {}
    options.port, options.host = lab.port, "app.example"
    return mux.connect("h3", options)
  end

  it("is announced to those who come over TCP, and spoken with curl", function()
    local head = curl("/", "-D", "-", "-o", "/dev/null")
    assert.matches(('alt%%-svc: h3=":%d"; ma=%%d+'):format(lab.port), head:lower())
    head = curl("/", "--http3-only", "-D", "-", "-o", "/dev/null")
    assert.matches("^HTTP/3 200", head)
    assert.is_nil(head:lower():find("alt-svc", 1, true)) -- it is here already
  end)

  transfers.cases(it, "--http3-only", "3", lab)

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
      client = mux.start_client("h3", { port = lab.port, host = "app.example", resume = ticket })
      assert.is_true(client:wait("connected").resumed)
      assert.equal(200, client:ask({ path = "/" }).status)
      client:close()
    end
  end)
end)
