-- scripts/hub.lua and scripts/edge.lua as an operator runs them: first start, tokens, the list of
-- edges, and what is wrong with a setting.

local dkjson = require "dkjson"
local http = require "support.http"
local signal = require "posix.signal"
local sluice = require "support.sluice"
local tunnel = require "support.tunnel"

describe("the scripts of tunnels", function()
  local folder, hub_port, port, hub, edge, origin, admin_ports

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    hub_port, port = http.free_port(), http.free_port()
    hub, edge, origin, admin_ports = nil, nil, nil, {}
  end)

  after_each(function()
    for _, program in pairs { edge = edge or nil, hub = hub or nil, origin = origin or nil } do
      program:stop()
    end
    os.execute("rm -rf " .. folder)
  end)

  local function environment(changes)
    local env = {
      HUB_STATE_DIR = folder .. "/state", HUB_TUNNEL_PORT = tostring(hub_port),
      HUB_BIND_ADDRESS = "127.0.0.1", HUB_TARGET_HOST = "127.0.0.2",
      HUB_PUBLIC_HOST = "127.0.0.1", EDGE_BIND_ADDRESS = "127.0.0.1", EDGE_STUN = "off",
      ADMIN_HOST = false, ADMIN_TOKEN = false,
    }
    for name, value in pairs(changes or {}) do
      env[name] = value
    end
    return env
  end

  local function start(script, env)
    local admin_port = http.free_port()
    env.ADMIN_PORT = tostring(admin_port)
    local program = sluice.start { script = script, env = env }
    admin_ports[program] = admin_port
    return program
  end

  local function start_hub(changes)
    hub = start("scripts/hub.lua", environment(changes))
  end

  local function start_edge(token, changes)
    local env = environment(changes)
    env.EDGE_TOKEN = token
    edge = start("scripts/edge.lua", env)
  end

  local function ask(program, method, path, body)
    local response = tunnel.eventually(function()
      return http.request { port = admin_ports[program], method = method, path = path,
        body = body }
    end)
    return dkjson.decode(response.body), response.status
  end

  -- Once the hub is up.
  local function put_edges(...)
    local list = {}
    for i, assigned in ipairs { ... } do
      list[i] = { id = "edge-" .. i, secret = "secret " .. i, listenPorts = assigned }
    end
    tunnel.eventually(function()
      return select(2, ask(hub, "PUT", "/edges", dkjson.encode(list))) == 200
    end)
  end

  local function token_of(id)
    return ask(hub, "POST", "/edges/" .. id .. "/token").token
  end

  local function start_origin()
    origin = tunnel.origin { address = "127.0.0.2", port = port }
  end

  -- What the origin took for the visitor's PROXY line.
  local function visit()
    return tunnel.eventually(function()
      local response = http.request { port = port }
      return response and response.status == 200 and dkjson.decode(response.body).proxy
    end, "nobody is served")
  end

  it("serve visitors of an edge that has a token and nothing else", function()
    start_origin()
    start_hub()
    put_edges { port }
    start_edge(token_of "edge-1")
    assert.matches(("^PROXY TCP4 127.0.0.1 127.0.0.1 %%d+ %d$"):format(port), visit())
    assert.is_nil(edge:text("stderr"):find("nothing proves", 1, true))
    for _, program in ipairs { hub, edge } do
      assert.is_nil(program:text("stderr"):find("secret 1", 1, true))
    end
  end)

  it("keep the certificate and the list when the hub starts again", function()
    start_origin()
    start_hub()
    put_edges { port }
    start_edge(token_of "edge-1")
    visit()
    assert.equal(0, hub:stop())
    start_hub()
    visit()
    local mode = assert(io.popen("stat -c %a " .. folder .. "/state/hub.pem"))
    assert.equal("600\n", mode:read("*a"))
    mode:close()
  end)

  it("do not talk to a hub with another key", function()
    start_hub()
    put_edges { port }
    start_edge(token_of "edge-1", { EDGE_FINGERPRINT = ("00"):rep(32), EDGE_TRANSPORT = "tls" })
    local line = sluice.logged(edge, "cannot connect to the hub")
    assert.equal(("127.0.0.1:%d"):format(hub_port), line.hub)
    assert.equal(0, ask(hub, "GET", "/status").edgesUp)
    assert.equal(503, select(2, ask(edge, "GET", "/ready")))
  end)

  it("fall back to TLS where QUIC does not pass", function()
    start_origin()
    start_hub { HUB_QUIC = "off" }
    put_edges { port }
    start_edge(token_of "edge-1")
    visit()
    assert.equal("tls", ask(edge, "GET", "/status").tunnels[1].transport)
  end)

  it("go on without a port that is taken, and say so", function()
    start_origin()
    start_hub()
    put_edges { port, hub_port } -- the hub is on the machine of the edge, and its port refused
    local taken = assert(require("socket").bind("127.0.0.1", 0))
    finally(function() taken:close() end)
    local _, number = taken:getsockname()
    put_edges { port, hub_port, tonumber(number) }
    start_edge(token_of "edge-1")
    visit()
    local failed = ask(edge, "GET", "/status").failed
    assert.equal(1, #failed)
    assert.matches(("^tcp port %d "):format(number), failed[1].what)
    edge:wait_for("stderr", "a port is refused", sluice.patience)
  end)

  it("take a new list with SIGHUP, and keep the old one when it is wrong", function()
    start_hub()
    put_edges { port }
    local path = folder .. "/state/edges.json"
    sluice.write(path, "[")
    hub:kill(signal.SIGHUP)
    local line = sluice.logged(hub, "the list of edges is wrong, the one before stays")
    assert.matches("not JSON", line.error)
    tunnel.eventually(function()
      return (ask(hub, "GET", "/edges").edges[1] or {}).id == "edge-1"
    end)
    sluice.write(path, '[{"id":"other","secret":"s"}]')
    hub:kill(signal.SIGHUP)
    tunnel.eventually(function()
      return (ask(hub, "GET", "/edges").edges[1] or {}).id == "other"
    end)
  end)

  local function refused(script, env, ...)
    local code, _, err = sluice.run({ "run", script, ... }, environment(env))
    assert.equal(1, code)
    return err
  end

  it("do not start with settings that make no sense", function()
    local file = os.tmpname()
    finally(function() os.remove(file) end)
    sluice.write(file, '[{"id":"a b","secret":"hidden"}]')
    local err = refused("scripts/hub.lua", { HUB_EDGES_FILE = file })
    assert.matches("edges%[0%].id: must not contain a space", err)
    assert.is_nil(err:find("hidden", 1, true))
    assert.matches("HUB_TUNNEL_PORT: not a port", refused("scripts/hub.lua",
      { HUB_TUNNEL_PORT = "x" }))
    assert.matches("token: not a connection token", refused("scripts/edge.lua",
      { EDGE_TOKEN = "hidden" }))
    assert.matches("set ADMIN_TOKEN", refused("scripts/hub.lua", { ADMIN_HOST = "0.0.0.0" },
      "--check"))
  end)
end)
