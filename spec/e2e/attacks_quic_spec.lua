-- Group Q of the attacks: packets, frames and field sections that no well-behaved client sends, and
-- T-02 over QUIC. Each ends its connection with the code that is due, or is dropped; the program
-- goes on, and the next client is served.

local bit = require "bit"
local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local mux_client = require "support.mux_client"
local process = require "support.process"
local sluice = require "support.sluice"

-- Errors of QUIC (RFC 9000, 20.1), of HTTP/3 (RFC 9114, 8.1), of QPACK (RFC 9204, 6).
local STREAM_STATE, TRANSPORT_PARAMETER, PROTOCOL_VIOLATION, CRYPTO_BUFFER = 0x05, 0x08, 0x0a, 0x0d
local UNEXPECTED_MESSAGE, NO_ALPN = 0x10a, 0x178
local STREAM_CREATION, CRITICAL_STREAM, FRAME_UNEXPECTED, FRAME = 0x103, 0x104, 0x105, 0x106
local SETTINGS, MISSING_SETTINGS, MESSAGE = 0x109, 0x10a, 0x10e
local QPACK_SECTION, QPACK_ENCODER, QPACK_DECODER = 0x200, 0x201, 0x202

-- A variable-length integer.
local function int(n)
  if n < 64 then
    return string.char(n)
  elseif n < 16384 then
    return string.char(64 + bit.rshift(n, 8), n % 256)
  end
  return string.char(128 + bit.rshift(n, 24), bit.rshift(n, 16) % 256, bit.rshift(n, 8) % 256,
    n % 256)
end

-- An HTTP/3 frame.
local function frame(kind, payload)
  return int(kind) .. int(#payload) .. payload
end

local no_settings = frame(4, "")
local control = "\0" .. no_settings -- a control stream that is in order

describe("QUIC:", function()
  local program, origin, port

  setup(function()
    local origin_port
    origin, origin_port = sluice.origin("app")
    port = http.free_port()
    program = mux.start { limits = { head_timeout = 1500 }, routes = {
      mux.route("app", port, origin_port, "app.example"),
      mux.route("wild", port, origin_port, "*.wild.example"),
    } }
  end)

  teardown(function()
    mux.stop(program)
    origin:stop()
  end)

  local clients = {}

  after_each(function()
    for _, client in ipairs(clients) do
      client:close()
    end
    clients = {}
  end)

  local function start(options)
    options = options or {}
    options.port, options.host = port, options.host or "app.example"
    local client = mux_client.start("h3", options)
    table.insert(clients, client)
    return client
  end

  local function connect(options)
    local client = start(options)
    client:wait "connected"
    return client
  end

  -- The next client, which costs less to start than those that attack.
  local function is_served()
    local child = process.start { "curl", "-sSk", "--http3-only", "--resolve",
      ("app.example:%d:127.0.0.1"):format(port), "-o", "/dev/null", "-w", "%{http_code}",
      ("https://app.example:%d/"):format(port) }
    child:wait(sluice.patience)
    assert.matches("200$", child:text("stdout"), nil, nil, child:text("stderr"))
  end

  local function ends(client, code)
    local closed = client:wait "closed"
    assert.equal(code, closed.code, closed.text)
    is_served()
  end

  -- What an attack with bare datagrams met.
  local function attack(name, count)
    local attacker = process.start { "python3", "spec/support/quic_attacks.py", tostring(port),
      "app.example", name, tostring(count or 1) }
    local code = attacker:wait(sluice.patience * 2)
    assert.equal(0, code, attacker:text("stderr"))
    is_served()
    return dkjson.decode(attacker:text("stdout"))
  end

  it("Q-01 an Initial in a datagram that is too short is dropped", function()
    assert.equal(0, attack("short_initial").received)
  end)

  it("Q-02 a token that is not ours is no harm", function()
    local said = attack("bogus_token")
    for _, code in ipairs(said.errors) do
      assert.equal(0x0b, code) -- INVALID_TOKEN
    end
    assert.is_true(said.received < said.sent)
    assert.equal(0, attack("token_past_end").received)
  end)

  it("Q-04 an unknown version is answered once, and small", function()
    local said = attack("unknown_version", 5)
    assert.same({ version_negotiation = 5 }, said.kinds)
    assert.is_true(said.largest < 100)
  end)

  it("Q-04 many unknown versions are not answered all", function()
    local said = attack("unknown_version", 5000)
    assert.is_true(said.kinds.version_negotiation < 2000, said.kinds.version_negotiation)
  end)

  it("Q-05 handshakes from made-up addresses cost little and amplify nothing", function()
    is_served()
    attack("spoofed", 500) -- so that what is made once is made
    local before = sluice.memory_mib(program)
    local said = attack("spoofed", 5000)
    assert.is_true(said.worst <= 3, said.worst .. " times as much came back")
    assert.is_true(said.kinds.retry > 1000, dkjson.encode(said))
    local grown = sluice.memory_mib(program) - before
    assert.is_true(sluice.is_sanitized or grown < 24, grown .. " MiB more")
  end)

  local raised = {
    ["without initial_source_connection_id"] = { omit = { 15 } },
    ["with original_destination_connection_id"] = { set = { ["0"] = "0011223344556677" } },
    ["with stateless_reset_token"] = { set = { ["2"] = ("00"):rep(16) } },
    ["with retry_source_connection_id"] = { set = { ["16"] = "0011223344556677" } },
    ["with max_udp_payload_size of 1199"] = { set = { ["3"] = "44af" } },
    ["with ack_delay_exponent of 21"] = { set = { ["10"] = "15" } },
    ["with max_ack_delay of 2^14"] = { set = { ["11"] = "80004000" } },
    ["with active_connection_id_limit of 1"] = { set = { ["14"] = "01" } },
  }
  for what, options in pairs(raised) do
    it("Q-07 a client " .. what .. " is refused", function()
      ends(start(options), TRANSPORT_PARAMETER)
    end)
  end

  -- Frames in a packet of their own: name, code, the frames, bits of the first byte.
  local frames = {
    { "Q-08 a packet without frames", PROTOCOL_VIOLATION, "" },
    { "Q-08 reserved bits", PROTOCOL_VIOLATION, "\1\0\0\0", 0x18 },
    { "Q-08 HANDSHAKE_DONE of a client", PROTOCOL_VIOLATION, "\30\0\0\0" },
    { "Q-08 NEW_TOKEN of a client", PROTOCOL_VIOLATION, "\7\4abcd" },
    { "Q-10 STREAM on a stream that only we write", STREAM_STATE, "\10\3\2hi" },
    { "Q-10 RESET_STREAM on a stream that only we write", PROTOCOL_VIOLATION, "\4\3\0\0" },
    { "Q-10 STOP_SENDING on a stream that only we read", STREAM_STATE, "\5\2\0\0" },
    { "Q-10 MAX_STREAM_DATA on a stream that only we read", STREAM_STATE, "\17\2\64\0" },
    { "Q-10 STREAM on a stream that we have not opened", STREAM_STATE, "\10\1\2hi" },
    { "Q-11 ACK of what was never sent", PROTOCOL_VIOLATION, "\2" .. int(1e6) .. "\0\0\0" },
    { "Q-19 CRYPTO with a gap of a megabyte", CRYPTO_BUFFER, "\6" .. int(2 ^ 20) .. "\4abcd" },
    { "Q-20 KeyUpdate of TLS", UNEXPECTED_MESSAGE, "\6\0\5\24\0\0\1\0" },
    { "Q-20 EndOfEarlyData after the handshake", UNEXPECTED_MESSAGE, "\6\0\4\5\0\0\0" },
    { "Q-29 a datagram that was not negotiated", PROTOCOL_VIOLATION, "\49\4abcd" },
    { "Q-29 a datagram of a full packet", PROTOCOL_VIOLATION, "\48" .. ("x"):rep(1100) },
  }
  for _, row in ipairs(frames) do
    it(row[1] .. " ends the connection", function()
      local client = connect()
      assert.equal(200, client:ask({}).status) -- the handshake is confirmed on both sides
      client:packet(row[3], 1, row[4])
      ends(client, row[2])
    end)
  end

  it("Q-14 a flood of PATH_CHALLENGE is answered in part and costs nothing", function()
    local client = connect()
    assert.equal(200, client:ask({}).status)
    local before = sluice.memory_mib(program)
    local challenges = {}
    for i = 1, 120 do
      challenges[i] = "\26" .. ("%08d"):format(i)
    end
    client:packet(table.concat(challenges), 2000)
    assert.equal(200, client:ask({}).status)
    local grown = sluice.memory_mib(program) - before
    assert.is_true(sluice.is_sanitized or grown < 16, grown .. " MiB more")
    is_served()
  end)

  it("Q-16 who asks from a path that is not validated is who he was before", function()
    local client = connect { deaf = true }
    assert.equal(200, client:ask({ path = "/info" }).status)
    client:tell("rebind", { from = "127.0.0.2" })
    client:wait "rebound"
    client:request { path = "/info?unvalidated" }
    local done
    repeat
      done = sluice.logged(program, "done")
    until done.path == "/info" and done.version == "3"
    done = sluice.logged(program, "done")
    assert.equal("127.0.0.1", done.ip)
    is_served()
  end)

  it("Q-16 a client that answers on its new path is known by it", function()
    local client = connect()
    assert.matches('"ip":"127.0.0.1"', client:ask({ path = "/info" }).body)
    client:tell("rebind", { from = "127.0.0.2", new_id = true })
    client:wait "rebound"
    local deadline, body = process.now() + sluice.patience
    repeat
      body = client:ask({ path = "/info" }).body
      assert(process.now() < deadline, body)
    until body:find('"ip":"127.0.0.2"', 1, true)
  end)

  it("Q-17 noise is answered rarely, and with less than it was", function()
    local said = attack("noise", 20000)
    assert.is_true(said.received * 20 < said.sent, dkjson.encode(said))
    assert.is_true(said.largest < 60, said.largest)
  end)

  it("bytes of all sorts are dropped", function()
    local said = attack("garbage", 20000)
    assert.is_true(said.received * 10 < said.sent, dkjson.encode(said))
  end)

  it("Q-19 a first packet with a gap begins nothing", function()
    local said = attack("crypto_gap")
    assert.is_true(said.received < 300, said.received) -- a Retry, and perhaps a refusal
    assert.is_true(#said.errors == 0 or said.errors[1] == CRYPTO_BUFFER, said.errors[1])
  end)

  it("Q-22 a protocol that nobody speaks is refused", function()
    ends(start { alpn = { "h3-29", "nope" } }, NO_ALPN)
  end)

  -- What is wrong with the bytes of streams: name, code, then stream and bytes.
  local streams = {
    { "Q-23 DATA before HEADERS", FRAME_UNEXPECTED, "bidi", frame(0, "hello") },
    { "Q-23 a second SETTINGS", FRAME_UNEXPECTED, "uni", control .. no_settings },
    { "Q-23 a setting of HTTP/2", SETTINGS, "uni", "\0" .. frame(4, "\2\0") },
    { "no SETTINGS at first", MISSING_SETTINGS, "uni", "\0" .. frame(7, "\0") },
    { "a second control stream", STREAM_CREATION, "uni", control, "uni", control },
    { "a second QPACK encoder stream", STREAM_CREATION, "uni", "\2", "uni", "\2" },
    { "a push stream of a client", STREAM_CREATION, "uni", "\1\0" },
    { "the end of the control stream", CRITICAL_STREAM, "uni", control, 2, "" },
    { "HEADERS on the control stream", FRAME_UNEXPECTED, "uni", control .. frame(1, "\0\0") },
    { "SETTINGS on a request", FRAME_UNEXPECTED, "bidi", no_settings },
    { "a frame of HTTP/2", FRAME_UNEXPECTED, "uni", control .. frame(6, "12345678") },
    { "a cancelled push that was never promised", FRAME_UNEXPECTED, "uni",
      control .. frame(3, "\5") },
    { "a PUSH_PROMISE of a client", FRAME_UNEXPECTED, "bidi", frame(5, "\0\0\0") },
    { "SETTINGS that end in the middle of one", FRAME, "uni", "\0" .. frame(4, "\6") },
    { "Q-25 a static index that is none", QPACK_SECTION, "bidi", frame(1, "\0\0\255\36") },
    { "Q-25 a dynamic index that is none", QPACK_SECTION, "bidi", frame(1, "\0\0\128") },
    { "Q-25 a capacity above the limit", QPACK_ENCODER, "uni", "\2\63\225\255\255\127" },
    { "Q-25 an insert count of 0", QPACK_DECODER, "uni", "\3\0" },
  }
  for _, row in ipairs(streams) do
    it(row[1] .. " ends the connection", function()
      local client = connect { bare = true }
      for i = 3, #row, 2 do
        client:raw(row[i], row[i + 1], type(row[i]) == "number")
      end
      ends(client, row[2])
    end)
  end

  it("a frame that ends with its stream ends the connection", function()
    local client = connect { bare = true }
    client:raw("bidi", int(1) .. int(100) .. "\0\0", true)
    ends(client, FRAME)
  end)

  local function head(changes)
    local fields = { { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "app.example" },
      { ":path", "/" } }
    return changes(fields) or fields
  end

  local heads = {
    ["without :method"] = function(f) table.remove(f, 1) end,
    ["without :scheme"] = function(f) table.remove(f, 2) end,
    ["without :path"] = function(f) table.remove(f, 4) end,
    ["with an empty :path"] = function(f) f[4][2] = "" end,
    ["with :method twice"] = function(f) table.insert(f, 2, { ":method", "GET" }) end,
    ["with :path twice"] = function(f) table.insert(f, { ":path", "/b" }) end,
    ["with an unknown pseudo-header"] = function(f) table.insert(f, { ":x", "y" }) end,
    ["with :status"] = function(f) table.insert(f, { ":status", "200" }) end,
    ["with a pseudo-header behind others"] = function(f)
      table.insert(f, 1, { "a", "b" })
    end,
    ["with TE: gzip"] = function(f) table.insert(f, { "te", "gzip" }) end,
    ["with Connection"] = function(f) table.insert(f, { "connection", "close" }) end,
    ["with Transfer-Encoding"] = function(f)
      table.insert(f, { "transfer-encoding", "chunked" })
    end,
    ["with Upgrade"] = function(f) table.insert(f, { "upgrade", "websocket" }) end,
    ["with upper case"] = function(f) table.insert(f, { "X-A", "b" }) end,
    ["with a host that is another"] = function(f) table.insert(f, { "host", "other" }) end,
  }
  for what, changes in pairs(heads) do
    it("Q-26 a request " .. what .. " is refused", function()
      local client = connect()
      client:tell("request", { id = 1000, headers = head(changes) })
      if client:is_refused(1000, MESSAGE) then
        assert.equal(200, client:ask({ path = "/" }).status)
      end
      is_served()
    end)
  end

  -- Fields that nghttp3 leaves out: the request is served, and nobody sees them.
  local removed = {
    ["a line break"] = { "x-a", "b\r\nx-c: d" },
    NUL = { "x-a", "b\0c" },
    ["an empty name"] = { "", "b" },
  }
  for what, field in pairs(removed) do
    it("Q-26 a field with " .. what .. " does not reach the target", function()
      local client = connect()
      client:tell("request", { id = 1000, headers = head(function(f) table.insert(f, field) end) })
      local response = client:response(1000)
      assert.equal(200, response.status)
      local headers = dkjson.decode(response.body).headers
      assert.same({ nil, nil, nil }, { headers["x-a"], headers["x-c"], headers[""] })
      is_served()
    end)
  end

  it("Q-28 a head that waits for what never comes is given up", function()
    local client = connect { bare = true }
    client:raw("uni", control)
    client:raw("bidi", frame(1, "\2\0\128"))
    -- Either nothing may wait here at all, or it may not wait for long.
    local ok, closed = pcall(client.wait, client, "closed", nil, 1)
    if ok then
      assert.equal(QPACK_SECTION, closed.code)
    else
      client:wait "reset"
    end
    is_served()
  end)

  it("T-02 a name in any spelling is the same name", function()
    for name, expected in pairs { ["APP.eXample"] = "app.example", ["app.example."] = "app.example",
      ["A.WILD.example"] = "a.wild.example" } do
      local response = connect({ host = name }):ask { path = "/info" }
      assert.equal(200, response.status)
      local info = dkjson.decode(response.body)
      assert.same({ expected, expected }, { info.sni, (info.host:gsub("%.$", "")) })
    end
  end)

  it("a name that is not served is refused", function()
    local client = start { host = "nobody.example" }
    assert.equal(0x170, client:wait("closed").code) -- unrecognized_name
    is_served()
  end)
end)
