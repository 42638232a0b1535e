-- Group U of the attacks: what an edge or a hub does to the other end when it breaks the rules of
-- the tunnel; and how the proxy takes the visitor's address from strangers (group P) through one.
-- The other end is support/tunnel_peer, which speaks the frames by hand. After each attack the next
-- edge and the next visitor are served.

local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"
local tunnel = require "support.tunnel"
local tunnel_peer = require "support.tunnel_peer"

local function u32(n)
  return string.char(math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256,
    math.floor(n / 256) % 256, n % 256)
end

describe("a hub", function()
  local lab, peers

  setup(function()
    lab = tunnel.start { edge = false, hub = { maxStreams = 1000, maxSessions = 200,
      pingInterval = 1, deadAfter = 3, greetingTimeout = 3 } }
  end)

  teardown(function()
    lab:stop()
  end)

  before_each(function()
    peers = {}
  end)

  after_each(function()
    for _, each in ipairs(peers) do
      each:close()
    end
  end)

  local function edge(options)
    local new = tunnel_peer.edge(lab.hub_port, options)
    table.insert(peers, new)
    return new
  end

  local function connected(options)
    local new = edge(options)
    assert.matches('"listenPorts"', new:greet(tunnel.edge_id, tunnel.secret))
    return new
  end

  local function line(port)
    return ("PROXY TCP4 192.0.2.7 192.0.2.1 4000 %d\r\n"):format(port or lab.ports.raw)
  end

  local function open(client, stream, words)
    client:frame("OPEN", stream, line())
    client:say(stream, words or "ECHO\n")
  end

  -- What comes back on a stream, until it is as long as expected.
  local function heard(client, stream, expected)
    local got = ""
    while #got < #expected do
      got = got .. client:wait("data", stream).bytes
    end
    assert.equal(expected, got)
  end

  local hello = "PROXY TCP4 192.0.2.7 192.0.2.1 4000 %d\n"

  local function serves_others()
    local next_one = connected()
    open(next_one, 1)
    heard(next_one, 1, hello:format(lab.ports.raw))
    next_one:close()
  end

  it("serves an edge that is not ours", function()
    local client = connected()
    open(client, 1, "ECHO\nhello")
    heard(client, 1, hello:format(lab.ports.raw) .. "hello")
    client:frame("CLOSE", 1)
    client:wait_frame("CLOSE_BACK", 1)
  end)

  it("carries 20 MB for an edge that is not ours", function()
    local client = connected()
    open(client, 7, "GET /bytes/20000000 HTTP/1.0\r\n\r\n")
    client:wait_frame("CLOSE_BACK", 7)
    assert.is_true(client:wait("response", 7).size > 20000000)
    client:frame("CLOSE", 7)
    local head = "POST /upload HTTP/1.0\r\nContent-Length: 20000000\r\n\r\n"
    open(client, 8, head)
    client:tell("data", { stream = 8, size = 20000000 })
    local said = client:wait("response", 8).body
    local hash = http.request({ port = lab.origin_port, path = "/sha256/20000000" }).body
    assert.matches('"sha256": "' .. hash, said)
  end)

  it("carries datagrams for an edge that is not ours", function()
    local client = connected()
    client:tell("udp_open", { stream = 5, to_port = lab.ports.raw })
    client:frame("UDP_DATA", 5, "question")
    assert.equal("192.0.2.7 4000 question", client:wait_frame("UDP_DATA_BACK", 5).bytes)
  end)

  it("does not mind frames that nobody knows (U-01)", function()
    local client = connected()
    client:frame(0x55, 3, ("x"):rep(100000))
    client:frame(0xff, 0)
    open(client, 1, "ECHO\nhello")
    heard(client, 1, hello:format(lab.ports.raw) .. "hello")
    assert.equal(2, lab:connected().framesUnknown)
  end)

  for what, length in pairs { ["16 MiB and one"] = 16777217, ["4 GiB"] = 4294967295 } do
    it("drops an edge that announces a frame of " .. what .. " (U-02)", function()
      local client = connected()
      client:frame("DATA", 1, "x", { length = length })
      client:wait "ended"
      serves_others()
    end)
  end

  it("drops an edge that sends what only a hub says", function()
    for _, kind in ipairs { "CONFIG", "PING", "DATA_BACK" } do
      local client = connected()
      client:frame(kind, 1, "{}")
      client:wait "ended"
    end
    serves_others()
  end)

  it("drops an edge that opens a stream twice (U-04)", function()
    local client = connected()
    open(client, 1, "ECHO\nhello")
    heard(client, 1, hello:format(lab.ports.raw) .. "hello")
    client:frame("OPEN", 1, line())
    client:wait "ended"
    serves_others()
  end)

  it("ends a stream whose sender ignores its window (U-05)", function()
    local before = sluice.memory_mib(lab.hub)
    local client = connected()
    client:frame("OPEN", 1, line(lab.ports.deaf))
    client:tell("data", { stream = 1, size = 60000000, greedy = true })
    client:wait_end(1)
    assert.is_true(sluice.is_sanitized or sluice.memory_mib(lab.hub) - before < 40)
    client:close()
    serves_others()
  end)

  it("survives 100,000 streams without data (U-07)", function()
    local before = sluice.memory_mib(lab.hub)
    local client = connected()
    client:frame("OPEN", 1, line(), { count = 100000 })
    client:wait("sent", 1)
    client:wait_end(100000) -- it was refused, if the edge was not dropped meanwhile
    local now = lab:connected()
    assert.is_true(now == nil or now.activeStreams <= 1000)
    client:close()
    tunnel.eventually(function() return lab:connected() == nil end)
    serves_others()
    assert.is_true(sluice.is_sanitized or sluice.memory_mib(lab.hub) - before < 100)
  end)

  it("is not slowed down by wrong secrets (U-08)", function()
    local client = edge()
    local count = sluice.is_sanitized and 200 or 1000
    client:tell("wrong", { id = tunnel.edge_id, count = count, at_once = 200 })
    local known = client:wait("wrong", nil, sluice.patience * 2)
    client:tell("wrong", { id = "nobody", count = 200, at_once = 200 })
    local unknown = client:wait("wrong", nil, sluice.patience * 2)
    assert.same(known.answers, unknown.answers) -- which id exists is not for strangers
    assert.matches("^ERROR ", known.answers[1])
    assert.equal(1, #known.answers)
    assert.is_true(known.least > 0.9) -- each try costs its time
    assert.equal(count + 200, lab:hub_status().refused)
    serves_others()
  end)

  for what, bytes in pairs {
    ["that has no end"] = ("x"):rep(5000),
    ["that is none"] = "GET / HTTP/1.1\r\n\r\n",
    ["without a secret"] = "EDGE nyc-01\n",
    ["of zeros"] = ("\0"):rep(100) .. "\n",
  } do
    it("refuses a greeting " .. what, function()
      local client = edge()
      client:tell("connect", { bytes = tunnel_peer.hex(bytes) })
      assert.is_true(client:is_refused())
      serves_others()
    end)
  end

  it("does not wait for a greeting for ever", function()
    local began = process.now()
    local silent, slow = edge(), edge()
    silent:tell("connect", { bytes = "" })
    slow:tell("connect", { bytes = tunnel_peer.hex(("EDGE nyc-01 "):rep(30)), pause = 0.3 })
    for _, client in ipairs { silent, slow } do
      assert.is_true(client:is_refused())
    end
    assert.is_true(process.now() - began < sluice.patience)
    serves_others()
  end)

  it("drops an edge that does not answer a PING (U-11)", function()
    local client = connected { deaf = true }
    client:wait_frame("PING")
    client:wait "ended"
    serves_others()
  end)

  it("takes no address but that of the edge's line (P-01)", function()
    local client = connected()
    client:frame("OPEN", 1, line())
    client:say(1, "PROXY TCP4 203.0.113.9 203.0.113.1 1 2\r\nECHO\n")
    client:wait("data", 1)
    client:frame("OPEN", 2, line(lab.ports.http))
    client:say(2, "PROXY TCP4 203.0.113.9 203.0.113.1 1 2\r\nGET / HTTP/1.0\r\n\r\n")
    assert.matches("^HTTP/1%.1 400", client:wait("data", 2).bytes)
    client:frame("OPEN", 3, line(lab.ports.http))
    client:say(3, "GET / HTTP/1.0\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
    assert.matches('"x%-forwarded%-for": %["192%.0%.2%.7"%]', client:wait("response", 3).body)
  end)

  for what, words in pairs {
    ["no line"] = "", ["half a line"] = "PROXY TCP4 1.2.3.4", ["UNKNOWN"] = "PROXY UNKNOWN\r\n",
    ["an address that is none"] = "PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n",
    ["a port that is none"] = "PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n",
    ["port 0"] = "PROXY TCP4 1.2.3.4 1.2.3.4 1 0\r\n",
    ["a port that is not its own"] = "PROXY TCP4 1.2.3.4 1.2.3.4 1 22\r\n",
  } do
    it("ends a stream that begins with " .. what .. " (P-04)", function()
      local client = connected()
      client:frame("OPEN", 1, words)
      client:wait_end(1)
      client:close()
      serves_others()
    end)
  end

  it("bounds the sessions of an edge (U-13)", function()
    local client = connected()
    for i = 1, 300 do
      client:tell("udp_open", { stream = i, to_port = lab.ports.raw, from_port = 1000 + i })
      client:frame("UDP_DATA", i, "x")
    end
    client:frame("UDP_DATA", 1, "last")
    client:wait_frame "UDP_DATA_BACK"
    assert.is_true(lab:connected().sessions <= 200)
    serves_others()
  end)

  it("lets the newest connection of an edge win (L3)", function()
    local old = connected()
    open(old, 1)
    heard(old, 1, hello:format(lab.ports.raw))
    local new = connected()
    old:wait "ended"
    open(new, 1, "ECHO\nnew")
    heard(new, 1, hello:format(lab.ports.raw) .. "new")
    assert.equal(1, #lab:hub_status().connectedEdges)
  end)
end)

describe("an edge", function()
  local hub, lab, port

  local function start(options, env)
    port = http.free_port()
    options.answer = options.answer
      or dkjson.encode { listenPorts = { port }, listenPortsUdp = { port } }
    hub = tunnel_peer.hub(options)
    lab = tunnel.start { hub_port = hub.port, edge = { env = env } }
    assert.equal(("EDGE %s %s"):format(tunnel.edge_id, tunnel.secret), hub:wait("greeting").line)
  end

  after_each(function()
    lab:stop()
    hub:close()
  end)

  local function visit()
    return tunnel.eventually(function()
      return peer.connect { port = port }
    end, "the port is not open")
  end

  it("serves a hub that is not ours", function()
    start { echo = true }
    local visitor = visit()
    visitor:send("hello")
    assert.equal("hello", visitor:receive(5))
    local _, from = visitor.socket:getsockname()
    assert.equal(("PROXY TCP4 127.0.0.1 127.0.0.1 %s %d\r\n"):format(from, port),
      hub:wait_frame("OPEN").bytes)
    local text = ("0123456789"):rep(500000)
    assert.is_true(visitor:carry(text, visitor) == text)
    visitor:finish()
    assert.equal("", (visitor:read_all()))
    visitor:close()
  end)

  it("answers a PING with what was in it", function()
    start {}
    hub:frame("PING", 0, "what is in it")
    assert.equal("what is in it", hub:wait_frame("PONG").bytes)
  end)

  it("takes a CONFIG, and no nonsense (U-10)", function()
    start { echo = true }
    local taken, other = peer.listen(), http.free_port()
    finally(function() taken:close() end)
    visit():close()
    for _, nonsense in ipairs { "", "{", "null", "[]", '{"listenPorts":7}',
      '{"listenPorts":["x",-1,70000,1.5,null]}' } do
      hub:frame("CONFIG", 0, nonsense)
    end
    hub:frame("CONFIG", 0, dkjson.encode { listenPorts = { port, taken.port, other } })
    port, other = other, port
    visit():close()
    port = other
    visit():close()
    lab.edge:wait_for("stderr", '"what":"tcp port ' .. taken.port, sluice.patience)
  end)

  it("drops a hub that announces too long a frame (U-02)", function()
    start {}
    hub:frame("CONFIG", 0, "x", { length = 16777217 })
    hub:wait "ended"
    hub:wait "greeting" -- it tries again
  end)

  it("does not mind streams and frames that it does not know (U-01)", function()
    start { echo = true }
    hub:frame("DATA_BACK", 99, "hello")
    hub:frame("CLOSE_BACK", 98)
    hub:frame("WINDOW_UPDATE_BACK", 97, u32(100))
    hub:frame("UDP_DATA_BACK", 96, "hello")
    hub:frame(0x66, 0, "hello")
    local visitor = visit()
    visitor:send("hello")
    assert.equal("hello", visitor:receive(5))
    visitor:close()
  end)

  it("drops a hub that ignores the window of a stream (U-05)", function()
    start { echo = false }
    local visitor = visit() -- who does not read: more than the window and all buffers comes
    visitor:send("hello")
    local stream = hub:wait_frame("OPEN").id
    hub:tell("data", { stream = stream, size = 60000000, greedy = true })
    hub:wait "ended"
    visitor:read_all() -- to the end
    visitor:close()
    assert.is_true(sluice.is_sanitized or sluice.memory_mib(lab.edge) < 150)
  end)

  it("notices a hub that is silent (U-11)", function()
    start({}, { EDGE_DEAD_SECS = "2" })
    hub:wait "ended"
    hub:wait "greeting"
  end)

  it("takes no for an answer, and asks again", function()
    start { answer = "ERROR no such edge" }
    hub:wait "greeting"
    lab.edge:wait_for("stderr", "no such edge", sluice.patience)
  end)

  for what, answer in pairs { ["no JSON"] = "hello", ["an array"] = "[]",
    ["ports that are none"] = '{"listenPorts":["a",0]}', ["null"] = "null" } do
    it("survives an answer that is " .. what, function()
      start { answer = answer }
      hub:frame("PING")
      assert.is_nil(lab.edge:text("stderr"):find("starting it again", 1, true))
    end)
  end
end)
