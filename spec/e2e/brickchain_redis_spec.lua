-- Several servers of the tunneling proxy on one Redis, and servers of the original among them:
-- those are played with the protocol of Redis, by the channels, keys and values that were recorded.

local brickchain = require "support.brickchain"
local dkjson = require "dkjson"
local process = require "support.process"
local redis = require "support.redis"
local sluice = require "support.sluice"
local socket = require "socket"

-- A connection to Redis, without a library.
local function connect(port)
  local connection = assert(socket.connect("127.0.0.1", port))
  connection:settimeout(sluice.patience)
  local self = {}

  local function read()
    local line = assert(connection:receive "*l")
    local kind, rest = line:sub(1, 1), line:sub(2)
    if kind == "$" then
      return rest ~= "-1" and assert(connection:receive(tonumber(rest) + 2)):sub(1, -3) or nil
    elseif kind == "*" then
      local list = {}
      for i = 1, tonumber(rest) do
        list[i] = read()
      end
      return list
    end
    return kind == ":" and tonumber(rest) or rest
  end

  self.read = read

  function self.command(...)
    local words = { ("*%d\r\n"):format(select("#", ...)) }
    for _, word in ipairs { ... } do
      table.insert(words, ("$%d\r\n%s\r\n"):format(#word, word))
    end
    connection:send(table.concat(words))
    return read()
  end

  -- The payload of the next message.
  function self.message()
    return dkjson.decode(read()[3])
  end

  function self.close()
    connection:close()
  end

  return self
end

describe("servers of the tunneling proxy on one Redis", function()
  local store, servers, ports, raw
  local keep, stop_kept = brickchain.keeper()

  setup(function()
    store = redis.new()
    servers, ports = {}, {}
    for i = 1, 2 do
      ports[i] = sluice.free_port()
      servers[i] = brickchain.server(ports[i], { PUBSUB = "redis", CACHE = "redis",
        REDIS = "127.0.0.1:" .. store.port, TIMEOUT = "3", RATE_LIMIT = "40",
        PING_SECONDS = "1" })
    end
    raw = connect(store.port)
  end)

  teardown(function()
    raw.close()
    brickchain.remove_keys()
    for _, server in ipairs(servers) do
      assert.equal(0, server:stop())
    end
    store:stop()
  end)

  after_each(stop_kept)

  local function client(name, options)
    options = options or {}
    options.key = name
    return keep(brickchain.client(ports[1], options))
  end

  local function status(port, host)
    return brickchain.visit(port, { host = host }):response().status
  end

  it("bring a visitor of one to the client of the other", function()
    local one = client "one"
    for _, port in ipairs { ports[2], ports[1], ports[2] } do
      local visitor = brickchain.visit(port, { method = "POST", host = one.hostname, body = "x" })
      local request = one:expect "http-request"
      one:answer(request, { body = "from afar" })
      assert.equal("from afar", visitor:response().body)
    end
  end)

  it("bring a WebSocket there, too", function()
    local one = client "ws"
    local ws = keep(brickchain.websocket(ports[2], one.hostname, "/"))
    local request = one:expect "ws-request"
    one:document("ws-response", { ["@id"] = request["@id"], ok = true })
    ws:got "open"
    for i = 1, 20 do
      ws:text("up " .. i)
      one:document("ws-message", { ["@id"] = request["@id"], messageType = 1, body = "d " .. i })
    end
    for i = 1, 20 do
      assert.equal("up " .. i, one:expect("ws-message").body)
      assert.equal("d " .. i, ws:got("text").text)
    end
    one:abort()
    assert.equal(1001, ws:got("close").code)
  end)

  it("bring long bodies there, too", function()
    local one = client("long", { sluice = { version = 1 } })
    local visitor = brickchain.visit(ports[2], { host = one.hostname })
    local id = one:expect("http-request")["@id"]
    one:document("http-response", { ["@id"] = id, status = 200, headers = {}, body = "",
      contentType = "", sluice = { stream = true, pairs = {} } })
    for n = 0, 3 do
      one:binary("D" .. id .. "\0\0\0" .. string.char(n) .. ("x"):rep(65000))
    end
    one:binary("E" .. id .. "\0\0\0\4")
    assert.equal(260000, #visitor:response().body)
  end)

  it("know at once when the client is gone", function()
    local one = client "goes"
    local visitor = brickchain.visit(ports[2], { host = one.hostname })
    one:expect "http-request"
    one:abort()
    assert.equal(502, visitor:response().status)
  end)

  it("try the next session when one is not there any more", function()
    local one = client "stale"
    local key = "/proxy/sessions/" .. one.key_id
    local real = raw.command("ZRANGE", key, "0", "-1")[1]
    for _, stale in ipairs { "deadbeef0000000o", real:sub(1, 8) .. "0000000o" } do
      raw.command("ZADD", key, tostring(os.time() + 60), stale)
    end
    socket.sleep(0.25) -- what was known of it before
    for _ = 1, 6 do
      local visitor = brickchain.visit(ports[2], { host = one.hostname, method = "POST",
        body = "still here" })
      local request = one:expect "http-request"
      assert.equal("still here", brickchain.bytes(request.body))
      one:answer(request, {})
      assert.equal(200, visitor:response().status)
    end
  end)

  it("count requests together, under the key of the original", function()
    local one = client "busy"
    for _ = 1, 40 do
      raw.command("INCR", "push:" .. one.key_id)
    end
    raw.command("EXPIRE", "push:" .. one.key_id, "100")
    local response = brickchain.visit(ports[2], { host = one.hostname }):response()
    assert.equal(429, response.status)
    assert.equal("Too many requests\n", response.body)
    local wait = tonumber(response.headers["retry-after"])
    assert.is_true(wait > 30 and wait <= 100)
    raw.command("DEL", "push:" .. one.key_id)
    local visitor = brickchain.visit(ports[2], { host = one.hostname })
    one:answer(one:expect "http-request", {})
    assert.equal(200, visitor:response().status)
    assert.equal("1", raw.command("GET", "push:" .. one.key_id))
    assert.is_true(raw.command("TTL", "push:" .. one.key_id) > 200)
  end)

  describe("and one of the original", function()
    it("find the record that it would have written", function()
      local one = client "record"
      local value = raw.command("GET", "/proxy/clients/" .. one.key_id)
      assert.equal("\196" .. string.char(#value - 2), value:sub(1, 2)) -- bin 8 of msgpack
      local record = dkjson.decode(value:sub(3))
      assert.equal(one.key_id, record.ID)
      assert.equal("EC", record.Key.kty)
      local left = raw.command("TTL", "/proxy/clients/" .. one.key_id)
      assert.is_true(left > 30 and left <= 60)
    end)

    local function document(kind, id, fields)
      fields["@type"], fields["@id"] = brickchain.base .. kind .. ".json", id
      return dkjson.encode(fields)
    end

    it("let its visitors ask our clients", function()
      local one = client "asked"
      local id = "0a0b0c0d-0000-4000-8000-000000000001"
      local original = connect(store.port)
      original.command("SUBSCRIBE", "/proxy/responses/" .. id)
      raw.command("PUBLISH", "/proxy/connections/" .. one.key_id, document("http-request", id,
        { url = "/o", method = "GET", headers = {}, body = "" }))
      local request = one:expect "http-request"
      assert.equal("/o", request.url)
      one:answer(request, { status = 201, body = "yes" })
      local response = original.message()
      assert.equal(201, response.status)
      assert.equal("yes", brickchain.bytes(response.body))
      original.close()
    end)

    it("let its visitors have WebSockets to our clients", function()
      local one = client "wasked"
      local id = "0a0b0c0d-0000-4000-8000-000000000002"
      local original = connect(store.port)
      original.command("SUBSCRIBE", "/proxy/websocket/" .. id)
      local function publish(kind, fields)
        raw.command("PUBLISH", "/proxy/connections/" .. one.key_id, document(kind, id, fields))
      end
      publish("ws-request", { url = "/w", headers = {} })
      assert.equal("/w", one:expect("ws-request").url)
      one:document("ws-response", { ["@id"] = id, ok = true })
      assert.is_true(original.message().ok)
      publish("ws-message", { messageType = 1, body = "up" })
      assert.equal("up", one:expect("ws-message").body)
      one:document("ws-message", { ["@id"] = id, messageType = 1, body = "down" })
      assert.equal("down", original.message().body)
      publish("ws-teardown", {})
      one:expect "ws-teardown"
      original.close()
    end)

    it("tell its visitor when our client goes", function()
      local one = client "ogoes"
      local id = "0a0b0c0d-0000-4000-8000-000000000003"
      local original = connect(store.port)
      original.command("SUBSCRIBE", "/proxy/responses/" .. id)
      raw.command("PUBLISH", "/proxy/connections/" .. one.key_id, document("http-request", id,
        { url = "/o", method = "GET", headers = {}, body = "" }))
      one:expect "http-request"
      one:abort()
      assert.equal(502, original.message().status)
      original.close()
    end)

    it("let our visitors ask its clients", function()
      local key_id = ("o"):rep(52)
      local original = connect(store.port)
      original.command("SUBSCRIBE", "/proxy/connections/" .. key_id)
      raw.command("SET", "/proxy/clients/" .. key_id, "\196\2{}", "EX", "60")
      local visitor = brickchain.visit(ports[2], { host = key_id .. ".tunnel.test", path = "/v" })
      local request = original.message()
      assert.equal("/v", request.url)
      assert.is_nil(request.sluice)
      raw.command("PUBLISH", "/proxy/responses/" .. request["@id"], document("http-response",
        request["@id"], { status = 203, headers = { A = "b" }, contentType = "", body = "" }))
      local response = visitor:response()
      assert.equal(203, response.status)
      assert.equal("b", response.headers.a)
      original.close()
      assert.equal(502, status(ports[2], key_id .. ".tunnel.test"))
    end)
  end)

  it("answer 503 while Redis is away, and go on when it is back", function()
    local one = client "stays"
    local visitor = brickchain.visit(ports[2], { host = one.hostname })
    one:expect "http-request"
    store:kill()
    assert.equal(503, status(ports[2], one.hostname))
    store:start()
    assert.equal(503, visitor:response().status) -- in flight when it went
    local deadline, code = process.now() + sluice.patience, 0
    while code ~= 200 and process.now() < deadline do
      local again = brickchain.visit(ports[2], { host = one.hostname, path = "/again" })
      again.connection:settimeout(0.2)
      local line = again.connection:receive "*l"
      if not line then -- it is asked: the client is known again
        one:answer(one:expect "http-request", {})
        again.connection:settimeout(10)
        line = again.connection:receive "*l"
      end
      code = tonumber(line:match("^HTTP/1.1 (%d+)"))
      again:close()
    end
    assert.equal(200, code)
  end)
end)
