-- WebSockets through the tunneling proxy, with clients of the original's kind and with clients that
-- know frames.

local brickchain = require "support.brickchain"
local http = require "support.http"
local sluice = require "support.sluice"

describe("a WebSocket through the tunneling proxy", function()
  local server, port
  local keep, stop_kept = brickchain.keeper()

  setup(function()
    port = sluice.free_port()
    server = brickchain.server(port, { TIMEOUT = "2", RATE_LIMIT = "0" })
  end)

  teardown(function()
    brickchain.remove_keys()
    assert.equal(0, server:stop())
  end)

  after_each(stop_kept)

  local count = 0

  -- Each has a name of its own.
  local function client(options)
    options = options or {}
    count = count + 1
    options.session = "session " .. count
    return keep(brickchain.client(port, options))
  end

  local function visitor(one, path, options)
    return keep(brickchain.websocket(port, one.hostname, path or "/", options))
  end

  -- A visitor and a client that has said yes; and the request that it got.
  local function pair(options)
    local one = client()
    local ws = visitor(one, "/echo?x=1", options)
    local request = one:expect "ws-request"
    one:document("ws-response", { ["@id"] = request["@id"], ok = true })
    return one, ws, request, ws:got "open"
  end

  it("is asked for as the original asks", function()
    local _, _, request = pair { origin = "http://o.example", headers = { Cookie = "c=d" } }
    assert.equal("/echo", request.url)
    assert.equal("x=1", request.query)
    assert.equal("http://o.example", request.headers.Origin)
    assert.equal("c=d", request.headers.Cookie)
    for _, name in ipairs { "Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version",
      "Sec-Websocket-Extensions" } do
      assert.is_nil(request.headers[name])
    end
    assert.is_nil(request.method)
    assert.is_nil(request.sluice)
  end)

  it("carries text both ways, in order", function()
    local one, ws, request = pair()
    for i = 1, 50 do
      ws:text("up " .. i .. " \195\164")
      one:document("ws-message", { ["@id"] = request["@id"], messageType = 1,
        body = "down " .. i })
    end
    for i = 1, 50 do
      local message = one:expect "ws-message"
      assert.equal("up " .. i .. " \195\164", message.body)
      assert.equal(1, message.messageType)
      assert.equal(request["@id"], message["@id"])
      assert.equal("down " .. i, ws:got("text").text)
    end
  end)

  it("carries the bytes that the protocol can", function()
    local one, ws, request = pair()
    ws:binary "abc"
    local message = one:expect "ws-message"
    assert.equal(2, message.messageType)
    assert.equal("abc", message.body)
    one:document("ws-message", { ["@id"] = request["@id"], messageType = 2, body = "xyz" })
    assert.equal("78797a", ws:got("binary").hex)
  end)

  it("is not thrown off by messages of no kind", function()
    local one, ws, request = pair()
    for _, kind in ipairs { 0, 9, 8, 1.5 } do
      one:document("ws-message", { ["@id"] = request["@id"], messageType = kind, body = "no" })
    end
    one:document("ws-message", { ["@id"] = request["@id"], body = "no" })
    one:document("ws-message", { ["@id"] = request["@id"], messageType = 1, body = "yes" })
    assert.equal("yes", ws:got("text").text)
  end)

  it("ends at the client when the visitor closes, and when he just goes", function()
    for _, how in ipairs { "close", "abort" } do
      local one, ws, request = pair()
      ws[how](ws)
      assert.equal(request["@id"], one:expect("ws-teardown")["@id"])
    end
  end)

  it("ends at the visitor when the client says so, and the original gets its echo", function()
    local one, ws, request = pair()
    one:document("ws-message", { ["@id"] = request["@id"], messageType = 1, body = "last" })
    one:document("ws-teardown", { ["@id"] = request["@id"] })
    assert.equal("last", ws:got("text").text)
    assert.equal(1000, ws:got("close").code)
    assert.equal(request["@id"], one:expect("ws-teardown")["@id"])
  end)

  it("ends at once when the client is gone", function()
    local one, ws = pair()
    one:abort()
    assert.equal(1001, ws:got("close").code)
  end)

  it("is refused when the client refuses it", function()
    local one = client()
    local ws = visitor(one)
    local request = one:expect "ws-request"
    one:document("ws-response", { ["@id"] = request["@id"], ok = false, error = "not here" })
    local refused = ws:got "refused"
    assert.equal(502, refused.status)
    assert.equal("not here\n", refused.body)
  end)

  it("is refused when the client is silent or not there", function()
    local one = client()
    local ws = visitor(one)
    one:expect "ws-request"
    assert.equal(504, ws:got("refused").status)
    assert.truthy(one:expect("ws-teardown"))
    one:abort()
    one:got "close"
    assert.equal(502, visitor(one):got("refused").status)
  end)

  it("is what Firefox asks for, too", function()
    local one = client()
    local connection = assert(http.connect { port = port })
    connection:send(("GET /f HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "
      .. "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
      .. "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"):format(one.hostname))
    local request = one:expect "ws-request"
    assert.equal("/f", request.url)
    one:document("ws-response", { ["@id"] = request["@id"], ok = true })
    assert.matches("^HTTP/1.1 101 ", connection:receive("*l"))
    connection:close()
  end)

  it("has the visitor's favourite subprotocol, since the original does not say", function()
    local _, _, request, open = pair { protocols = { "chat", "other" } }
    assert.equal("chat", open.protocol)
    assert.matches("^chat, ?other$", request.headers["Sec-Websocket-Protocol"])
  end)

  it("belongs to one client", function()
    local one, ws, request = pair()
    local other = client { key = "other" }
    other:document("ws-message", { ["@id"] = request["@id"], messageType = 1, body = "forged" })
    other:document("ws-teardown", { ["@id"] = request["@id"] })
    other:document("disconnect", {})
    other:got "close"
    one:document("ws-message", { ["@id"] = request["@id"], messageType = 1, body = "true" })
    assert.equal("true", ws:got("text").text)
  end)

  it("closes on a visitor who breaks the rules, and on one who sends too much", function()
    local one, ws = pair()
    ws:text(("x"):rep(1048577))
    assert.equal(1009, ws:got("close").code)
    one:expect "ws-teardown"
  end)

  describe("between two sluices", function()
    local id

    local function sluices(options)
      local one = client { sluice = { version = 1 } }
      assert.equal(1, one.sluice.version)
      local ws = visitor(one, "/a%20b", options)
      local request = one:expect "ws-request"
      id = request["@id"]
      return one, ws, request
    end

    local function open(options)
      local one, ws, request = sluices(options)
      one:document("ws-response", { ["@id"] = id, ok = true, sluice = { protocol = "other" } })
      return one, ws, request, ws:got "open"
    end

    local function frame(kind, n, payload)
      return kind .. id .. "\0\0" .. string.char(math.floor(n / 256), n % 256) .. (payload or "")
    end

    local function hex(bytes)
      return (bytes:gsub(".", function(c)
        return ("%02x"):format(c:byte())
      end))
    end

    it("has its path, its fields and its subprotocol as they are", function()
      local _, _, request, opened = open { protocols = { "chat", "other" } }
      assert.equal("/a%20b", request.sluice.path)
      assert.equal("/a b", request.url)
      local names = {}
      for _, field in ipairs(request.sluice.pairs) do
        names[field[1]] = field[2]
      end
      assert.truthy(names["Sec-Websocket-Protocol"])
      assert.equal("other", opened.protocol)
    end)

    it("carries any bytes, long messages in pieces", function()
      local one, ws = open()
      ws:binary "\1\2\255"
      assert.equal(hex(frame("B", 0, "\1\2\255")), one:got("binary").hex)
      ws:text(("t"):rep(65537))
      assert.equal(hex(frame("M", 1, ("t"):rep(65536))), one:got("binary").hex)
      assert.equal(hex(frame("T", 2, "t")), one:got("binary").hex)
      one:binary(frame("B", 0, "\255\0"))
      one:binary(frame("M", 1, "a"))
      one:binary(frame("T", 2, "b"))
      assert.equal("ff00", ws:got("binary").hex)
      assert.equal("ab", ws:got("text").text)
    end)

    it("sends no more than the client has confirmed", function()
      local one, ws = open()
      for _ = 1, 6 do
        ws:binary(("x"):rep(65536))
      end
      for _ = 1, 4 do
        one:got "binary"
      end
      ws:close(4001, "done") -- is read after the rest
      for _ = 1, 2 do
        one:binary("W" .. id .. "\0\1\0\0")
        one:got "binary"
      end
      local teardown = one:expect "ws-teardown"
      assert.equal(4001, teardown.sluice.code)
      assert.equal("done", teardown.sluice.reason)
    end)

    it("brings the code of a close over", function()
      local one, ws = open()
      one:document("ws-teardown", { ["@id"] = id, sluice = { code = 4002, reason = "bye" } })
      local close = ws:got "close"
      assert.equal(4002, close.code)
      assert.equal("bye", close.reason)
    end)

    it("has codes that may be sent, whatever the client says", function()
      for _, code in ipairs { 1005, 1006, 1015, 999, 5000, 1.5 } do
        local one, ws = open()
        one:document("ws-teardown", { ["@id"] = id, sluice = { code = code } })
        assert.equal(1000, ws:got("close").code)
      end
    end)

    it("is refused with the status of the local server", function()
      local one, ws = sluices()
      one:document("ws-response", { ["@id"] = id, ok = false, sluice = { status = 403 } })
      assert.equal(403, ws:got("refused").status)
    end)

    it("ends rather than lacking a message", function()
      local one, ws = open()
      one:binary(frame("T", 1, "the second"))
      assert.equal(1011, ws:got("close").code)
      assert.matches("^X", (one:got("binary").hex:gsub("%x%x", function(digits)
        return string.char(tonumber(digits, 16))
      end)))
    end)

    it("ends when text is none", function()
      local one, ws = open()
      one:binary(frame("T", 0, "\255"))
      assert.equal(1007, ws:got("close").code)
      assert.equal(1007, one:expect("ws-teardown").sluice.code)
    end)
  end)
end)
