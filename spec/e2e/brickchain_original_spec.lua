-- The client of the tunneling proxy with a server as the original is: documents and nothing else.

local brickchain = require "support.brickchain"
local peer = require "support.peer"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"

local id = "d6491799-3a4c-4d0f-9ed4-0a6a2f6d5a11"
local ws_id = "082a5896-2d7e-4a52-8f0e-6a9d9c1f7b00" -- the newest; each has its own
local at = os.date '!"@timestamp":"%Y-%m-%dT%H:%M:%S.358808793Z"'

-- What the original server sends, its fields in its order.
local function get(path, of, rest)
  return ('{"@type":"%shttp-request.json",%s,"@id":"%s","url":"%s",%s"headers":{"Accept":"*/*",'
    .. '"User-Agent":"curl/7.88.1"},"method":"GET","body":""}')
    :format(brickchain.base, at, of or id, path, rest or "")
end

local function post(body, length, of)
  return ('{"@type":"%shttp-request.json",%s,"@id":"%s","url":"/p","headers":{"Accept":"*/*",'
    .. '"Content-Length":"%d","Content-Type":"application/x-www-form-urlencoded",'
    .. '"User-Agent":"curl/7.88.1"},"method":"POST","body":"%s"}')
    :format(brickchain.base, at, of or id, length, body)
end

local function ws_request(path)
  return ('{"@type":"%sws-request.json",%s,"@id":"%s","url":"%s","query":"x=1",'
    .. '"headers":{"Cookie":"c=d","Origin":"http://o.example","Sec-Websocket-Protocol":"chat"}}')
    :format(brickchain.base, at, ws_id, path)
end

local function ws_message(body, kind)
  return ('{"@type":"%sws-message.json",%s,"@id":"%s","messageType":%d,"body":"%s"}')
    :format(brickchain.base, at, ws_id, kind or 1, body)
end

local function ws_teardown()
  return ('{"@type":"%sws-teardown.json",%s,"@id":"%s"}'):format(brickchain.base, at, ws_id)
end

describe("with an original server a client", function()
  local original, listener, service, registered
  local inners

  setup(function()
    original = brickchain.original("0.2")
    listener = peer.listen()
    service = brickchain.service("http://127.0.0.1:" .. original.port,
      "http://127.0.0.1:" .. listener.port, { MAX_REQUESTS = "20" })
    original:got "open"
    registered = original:got "registered"
    brickchain.hostname_of(service)
  end)

  teardown(function()
    assert.equal(0, brickchain.stop_service(service))
    local document = original:expect "disconnect" -- the last that it says
    assert.equal(36, #document["@id"])
    original:got "close"
    original:stop()
    listener:close()
  end)

  before_each(function()
    inners = {}
  end)

  after_each(function()
    for _, inner in ipairs(inners) do
      inner.socket:close()
    end
  end)

  local function accept()
    local inner = assert(listener:accept(), "nobody came")
    table.insert(inners, inner)
    return inner
  end

  -- A request that has come to the local server.
  local function ask(text)
    original:text(text)
    local inner = accept()
    return inner, inner:read()
  end

  -- The next answer, taken apart; its form must be that of the original.
  local function answer(of)
    local document, text = original:expect "http-response"
    assert.equal(of or id, document["@id"])
    assert.matches('^{"@type":"https://proxy.brickchain.com/v1/http%-response.json",'
      .. '"@timestamp":"%d+%-%d+%-%d+T%d+:%d+:%d+%.%d+Z","@id":"[%x-]+","headers":{.*},'
      .. '"contentType":"[^"]*","status":%d+,"body":"[%w+/=]*"}$', text)
    return document, brickchain.bytes(document.body)
  end

  it("registers with a token that is right", function()
    assert.same({ "ES256" }, { registered.header.alg })
    assert.equal("http://127.0.0.1:" .. original.port, registered.payload.uri)
    assert.equal(60, registered.payload.ttl)
    assert.equal("https://schema.brickchain.com/v2/mandate-token.json",
      registered.payload["@type"])
    assert.is_nil(registered.document.session)
  end)

  it("serves GET", function()
    local inner, request = ask(get("/a b/c?", nil, '"query":"q=%20",'))
    assert.equal("GET /a%20b/c%3F?q=%20 HTTP/1.1", request.line)
    assert.equal("curl/7.88.1", request.headers["user-agent"])
    assert.equal("127.0.0.1:" .. listener.port, request.headers.host)
    inner:send("HTTP/1.1 418 Teapot\r\nContent-Type: text/plain\r\nSet-Cookie: a=1\r\n"
      .. "Connection: close\r\nContent-Length: 2\r\n\r\nst")
    local document, body = answer()
    assert.same({ 418, "text/plain", "st" }, { document.status, document.contentType, body })
    assert.equal("a=1", document.headers["Set-Cookie"])
    assert.equal("2", document.headers["Content-Length"])
    assert.is_nil(document.headers.Connection)
  end)

  it("serves POST with a body", function()
    local inner, request = ask(post("aGVsbG89d29ybGQ=", 11))
    assert.equal("hello=world", request.body)
    inner:send "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    local document, body = answer()
    assert.same({ 201, "ok" }, { document.status, body })
    assert.is_nil(document.headers["Transfer-Encoding"])
  end)

  it("serves several at a time, each with its own answer", function()
    local waiting = {}
    for i = 1, 5 do
      local of = id:sub(1, -2) .. i
      local inner = ask(get("/" .. i, of))
      waiting[i] = { inner, of }
    end
    for i = 5, 1, -1 do
      waiting[i][1]:send(("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n%d")
        :format(i))
      local _, body = answer(waiting[i][2])
      assert.equal(tostring(i), body)
    end
  end)

  it("says 502 for an answer that does not fit, and never cuts one", function()
    for _, size in ipairs { 383001, 5000000 } do
      local inner = ask(get "/large")
      inner:send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n")
        :format(size))
      inner:send(("x"):rep(size)) -- the client may have enough before the end
      local document, body = answer()
      assert.equal(502, document.status)
      assert.matches("too large", body)
    end
    local inner = ask(get "/fits")
    inner:send "HTTP/1.1 200 OK\r\nContent-Length: 380000\r\nConnection: close\r\n\r\n"
    inner:send(("x"):rep(380000))
    local document, body = answer()
    assert.same({ 200, 380000 }, { document.status, #body })
  end)

  it("says 413 for a request that the server has cut", function()
    original:text(post("aGVsbG8=", 600000))
    local document = answer()
    assert.equal(413, document.status)
  end)

  it("answers what makes no sense, and does not fall", function()
    for _, text in ipairs { get("no-slash"), post("not base64!", 3),
      (get "/x"):gsub('"GET"', '"G T"'), (get "/x"):gsub(',"method":"GET"', ""),
      get("/x", nil, '"query":"a#b c",') } do
      original:text(text)
      assert.equal(400, (answer()).status)
    end
    for _, text in ipairs { "", "{", "[]", "hello", '{"@type":"x"}', get("/x", ""),
      get("/x"):gsub("T%d", "Tx"), get("/x"):gsub('"%*/%*"', '["a"]'),
      get("/x", ("a"):rep(200)), ws_message("for nobody"), ws_teardown() } do
      original:text(text)
    end
    local inner = ask(get "/still")
    inner:send "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert.equal(200, (answer()).status)
  end)

  it("passes no header on that would break the message", function()
    local _, request = ask((get "/h"):gsub('"Accept":"[^"]*"',
      '"A":"b\\r\\nEvil: 1","X Y":"1","Connection":"upgrade","Transfer-Encoding":"chunked",'
      .. '"Host":"evil"'))
    assert.is_nil(request.headers.evil)
    assert.is_nil(request.headers["transfer-encoding"])
    assert.equal("127.0.0.1:" .. listener.port, request.headers.host)
    inners[1].socket:close()
    assert.equal(502, (answer()).status)
  end)

  describe("has WebSockets that", function()
    -- A WebSocket that the local server has accepted.
    local function open(path)
      ws_id = ws_id:sub(1, -3) .. ("%02d"):format(tonumber(ws_id:sub(-2)) + 1)
      original:text(ws_request(path or "/echo"))
      local inner = raw_websocket.accept(listener)
      table.insert(inners, inner)
      assert.is_true(original:expect("ws-response").ok)
      return inner
    end

    it("are asked for as the visitor did", function()
      local inner = open()
      assert.equal("GET /echo?x=1 HTTP/1.1", inner.head.line)
      assert.equal("c=d", inner.head.headers.cookie)
      assert.equal("http://o.example", inner.head.headers.origin)
      assert.equal("chat", inner.head.headers["sec-websocket-protocol"])
      original:text(ws_teardown())
      local _, opcode = inner:read_message()
      assert.equal(8, opcode)
    end)

    it("carry messages both ways", function()
      local inner = open()
      for i = 1, 20 do
        original:text(ws_message("up " .. i))
      end
      for i = 1, 20 do
        assert.same({ "up " .. i, 1 }, { inner:read_message() })
      end
      original:text(ws_message("bytes", 2))
      assert.same({ "bytes", 2 }, { inner:read_message() })
      inner:send(raw_websocket.frame "down \195\164")
      local document = original:expect "ws-message"
      assert.same({ ws_id, 1, "down \195\164" },
        { document["@id"], document.messageType, document.body })
      inner:send(raw_websocket.frame("abc", { opcode = 2 }))
      document = original:expect "ws-message"
      assert.same({ 2, "abc" }, { document.messageType, document.body })
      original:text(ws_message("the last"))
      original:text(ws_teardown())
      assert.same({ "the last", 1 }, { inner:read_message() })
      assert.equal(8, (select(2, inner:read_message())))
    end)

    it("end when the local server ends them", function()
      local inner = open()
      inner:send(raw_websocket.frame("\3\232", { opcode = 8 }))
      local document, text = original:expect "ws-teardown"
      assert.equal(ws_id, document["@id"])
      assert.falsy(text:find("sluice", 1, true))
    end)

    it("are refused as the local server refuses them", function()
      original:text(ws_request "/no")
      local inner = accept()
      inner:read_head()
      inner:send "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
      local document = original:expect "ws-response"
      assert.is_false(document.ok)
      assert.matches("403", document.error)
    end)

    it("do not fill the memory when the local server does not read", function()
      local inner = open "/slow"
      local text = ws_message(("x"):rep(1000000))
      for _ = 1, 30 do
        original:text(text)
      end
      assert.equal(ws_id, original:expect("ws-teardown")["@id"])
      inner.socket:close()
      assert.is_true(sluice.is_sanitized or sluice.memory_mib(service) < 80)
    end)
  end)

  it("is there for the next request after it was cut off", function()
    original:abort()
    original:got "close"
    sluice.logged(service, "the connection to the server is lost")
    original:got "open"
    assert.equal(registered.keyID, original:got("registered").keyID)
    local inner = ask(get "/again")
    inner:send "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert.equal(200, (answer()).status)
  end)
end)

describe("a client that an original server refuses", function()
  it("says why, and tries again", function()
    local original = brickchain.original("10", "Token has expired")
    local service = brickchain.service("http://127.0.0.1:" .. original.port, "http://127.0.0.1:1")
    finally(function()
      brickchain.stop_service(service)
      original:stop()
    end)
    for _ = 1, 2 do
      original:got "open"
      local entry = sluice.logged(service, "cannot register")
      assert.equal("refused: Token has expired (the clocks here and there differ)", entry.error)
      original:got "close"
    end
  end)
end)
