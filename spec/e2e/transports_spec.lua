-- Which ports are open for what, and how HTTP/1.1, 2 and 3 live on one of them. What is inside the
-- versions is in mux_spec, h2_spec and h3_spec.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local process = require "support.process"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"

local host = "app.example"

describe("a port with routes", function()
  local program, origin, origin_port, port

  local function start(options)
    options.routes = options.routes or { mux.route("app", port, origin_port, host) }
    program = sluice.start { script = "spec/fixtures/transports.lua", workers = 2,
      args = { dkjson.encode(options) } }
    program.server_port = tonumber(program:wait_for("stdout", "^(%d+)$", sluice.patience))
  end

  local function stop()
    program:stop()
    assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
  end

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
    stop()
  end)

  local function ask(version, path, ...)
    local child = process.start { "curl", "-sSk", "--" .. version, "-m", tostring(sluice.patience),
      "--resolve", host .. ":" .. port .. ":127.0.0.1", "-D", "-",
      ("https://%s:%d%s"):format(host, port, path or "/"), ... }
    local code = child:wait(sluice.patience * 2)
    local said = child:text("stdout"):lower()
    return code == 0 and tonumber(said:match("^http/[%d.]+ (%d+)")) or nil,
      said .. child:text("stderr")
  end

  local function publish(list)
    local response = assert(http.request { method = "POST", port = program.server_port,
      body = #list > 0 and dkjson.encode(list) or "[]" })
    return response.status == 204 and "ok" or response.body
  end

  local function route(transport)
    local r = mux.route("app", port, origin_port, host)
    r.match.transport = transport
    return r
  end

  local function bind_udp()
    local fd = assert(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 0))
    local ok = socket.bind(fd, { family = socket.AF_INET6, addr = "::", port = port })
    if not ok then
      unistd.close(fd)
    end
    return ok and fd
  end

  local function is_udp_free()
    local fd = bind_udp()
    return fd and unistd.close(fd) == 0 or false
  end

  it("speaks all versions, and says which in log and statistics", function()
    start {}
    for i, version in ipairs { "1.1", "2", "3" } do
      local option = ({ "http1.1", "http2", "http3-only" })[i]
      local status, said = ask(option)
      assert.equal(200, status)
      assert.matches("^http/" .. version:gsub("%.", "%%.") .. " 200", said)
      assert.equal(version ~= "3", said:find(('alt-svc: h3=":%d"; ma=86400'):format(port), 1, true)
        ~= nil)
      program:wait_for("stderr", '"version":"' .. version:gsub("%.", "%%.") .. '"',
        sluice.patience)
    end
    local stats = dkjson.decode(http.request({ port = program.server_port }).body)
    assert.same({ 3, 1, 1, 1 }, { stats.requests, stats.http2_requests, stats.http3_requests,
      stats.quic_handshakes })
    assert.same({ port }, stats.listening_ports)
  end)

  it("is open for UDP while a route wants it, and connections outlive that", function()
    start { routes = { route "tcp" } }
    assert.is_true(is_udp_free())
    assert.is_nil(select(2, ask "http2"):find("alt-svc", 1, true))
    assert.equal("ok", publish { route "all" })
    assert.is_false(is_udp_free())
    local live = mux.connect("h3", { port = port, host = host })
    assert.equal(200, live:ask({}).status)
    assert.equal("ok", publish { route "tcp" })
    assert.equal(404, live:ask({}).status) -- the connection is there, the route is not
    assert.is_nil((ask("http3-only", "/", "-m", "1"))) -- curl tries until then
    assert.equal("ok", publish { route "all" }) -- on the same sockets, since they are in use
    assert.equal(200, live:ask({}).status)
    assert.equal(200, (ask "http3-only"))
    assert.equal("ok", publish {})
    assert.equal(404, live:ask({}).status)
    assert.is_false(is_udp_free())
    live:close()
    program:wait_for("stderr", '"msg":"closed"', sluice.patience)
    assert.is_true(is_udp_free())
    assert.equal("ok", publish { route "all" })
    assert.equal(200, (ask "http3-only"))
  end)

  it("is had with all its transports, or not at all", function()
    start { routes = { route "tcp" } }
    local fd = assert(bind_udp())
    finally(function() unistd.close(fd) end)
    local other = http.free_port()
    local more = mux.route("other", other, origin_port, "other.example")
    assert.matches(("^port %d %%(UDP%%): "):format(port), publish { route "all", more })
    assert.equal(200, (ask "http2"))
    assert.is_nil(http.request { port = other, tls = true })
  end)

  it("is TCP alone when QUIC is switched off", function()
    start { limits = { quic = false } }
    assert.is_true(is_udp_free())
    local status, said = ask "http2"
    assert.equal(200, status)
    assert.is_nil(said:find("alt-svc", 1, true))
    assert.matches("served over TCP only.-the limit quic is false", program:text("stderr"))
  end)

  it("sends those away who ask for a name that their certificate is not for", function()
    start { routes = { mux.route("app", port, origin_port, host),
      mux.route("other", port, origin_port, "other.example") } }
    for _, version in ipairs { "h2", "h3" } do
      local client = mux.connect(version, { port = port, host = host })
      assert.equal(200, client:ask({}).status)
      assert.equal(421, client:ask({ host = "other.example" }).status)
      client:close()
    end
  end)

  it("may become a WebSocket in on_request, whatever the version", function()
    start {}
    for _, version in ipairs { "h2", "h3" } do
      local client = mux.connect(version, { port = port, host = host })
      local id = client:request { method = "CONNECT", protocol = "websocket", path = "/talk",
        open = true, live = true, headers = { { "sec-websocket-version", "13" } } }
      assert.equal(200, client:wait("head", id).status)
      client:send(id, raw_websocket.frame("hello", { mask = true }))
      assert.equal(raw_websocket.frame("hello"), client:wait("data", id).bytes)
      client:send(id, raw_websocket.frame("\3\232", { opcode = 8, mask = true }))
      assert.equal("\136\2\3\232", client:wait("data", id).bytes)
      client:send(id, "", true)
      client:response(id)
      assert.equal(426, client:ask({ path = "/talk" }).status) -- who does not ask for one
      client:close()
      program:wait_for("stderr", '"path":"/talk","status":101,"version":"' .. version:sub(2)
        .. '"', sluice.patience)
    end
    local _, said = ask("http1.1", "/talk", "-H", "Upgrade: websocket", "-H",
      "Connection: Upgrade", "-H", "Sec-WebSocket-Version: 13", "-H",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "-m", "1")
    assert.matches("^http/1%.1 101 ", said)
    assert.matches("sec%-websocket%-accept: s3pplmbitxaq9kygzzhzrbk%+xoo=", said)
  end)
end)
