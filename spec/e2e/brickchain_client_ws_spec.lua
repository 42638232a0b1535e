-- WebSockets through a real client and a real server of the tunneling proxy.

local brickchain = require "support.brickchain"
local peer = require "support.peer"
local process = require "support.process"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"

describe("a WebSocket through server and client", function()
  local port, base, server, service, host
  local peers

  setup(function()
    port = sluice.free_port()
    base = "http://127.0.0.1:" .. port
    server = brickchain.server(port, { BASE = base, RATE_LIMIT = "0", TIMEOUT = "10" })
  end)

  teardown(function()
    assert.equal(0, server:stop())
  end)

  before_each(function()
    peers = {}
  end)

  after_each(function()
    for _, one in ipairs(peers) do
      one:stop()
    end
  end)

  local function ask(path, options)
    local ws = brickchain.websocket(port, host, path or "/", options)
    table.insert(peers, ws)
    return ws
  end

  local function open(path, options)
    local ws = ask(path, options)
    return ws, ws:got "open"
  end

  describe("to a server of another kind", function()
    local echo

    setup(function()
      echo = process.start { "python3", "spec/support/websocket_peer.py", "serve" }
      local echo_port = echo:wait_for("stdout", "^(%d+)", sluice.patience)
      service = brickchain.service(base, "http://127.0.0.1:" .. echo_port)
      host = brickchain.hostname_of(service)
    end)

    teardown(function()
      assert.equal(0, brickchain.stop_service(service))
      echo:stop()
    end)

    it("carries text and bytes as they are, in order", function()
      local ws = open()
      ws:text "gr\195\188\195\159e"
      ws:binary "\0\255\128"
      assert.equal("gr\195\188\195\159e", ws:got("text").text)
      assert.equal("00ff80", ws:got("binary").hex)
      for i = 1, 500 do
        ws:text("message " .. i)
      end
      for i = 1, 500 do
        assert.equal("message " .. i, ws:got("text").text)
      end
    end)

    it("carries messages that are long", function()
      local ws = open()
      local long = ("0123456789abcdef"):rep(50000)
      ws:text(long)
      assert.is_true(long == ws:got("text").text)
    end)

    it("has the subprotocol that the local server chose", function()
      local _, opened = open("/", { protocols = { "v1", "v2" } })
      assert.equal("v2", opened.protocol)
      _, opened = open("/", { protocols = { "v1" } })
      assert.is_nil(opened.protocol)
    end)

    it("keeps codes and reasons of the local server's close", function()
      local event = open("/close"):got "close"
      assert.equal(4001, event.code)
      assert.equal("have a nice day", event.reason)
    end)

    it("is closed for who sends too much, and others go on", function()
      local ws, other = open(), open()
      ws:text(("x"):rep(1100000))
      assert.equal(1009, ws:got("close").code)
      other:text "still here"
      assert.equal("still here", other:got("text").text)
    end)
  end)

  describe("to a server that is led", function()
    local listener

    setup(function()
      listener = peer.listen()
      service = brickchain.service(base, "http://127.0.0.1:" .. listener.port)
      host = brickchain.hostname_of(service)
    end)

    teardown(function()
      assert.equal(0, brickchain.stop_service(service))
      listener:close()
    end)

    local inners

    before_each(function()
      inners = {}
    end)

    after_each(function()
      for _, inner in ipairs(inners) do
        inner.socket:close()
      end
    end)

    -- A connection of the client, and the request that it brought.
    local function accept()
      local inner = assert(listener:accept(), "nobody came")
      table.insert(inners, inner)
      inner.head = inner:read_head()
      return inner, inner.head
    end

    -- Both ends of a WebSocket.
    local function pair(path)
      local ws = ask(path)
      local inner = raw_websocket.upgrade((accept()))
      ws:got "open"
      return ws, inner
    end

    -- Code and reason of the next message, which is a close.
    local function close_of(inner)
      local payload, opcode = inner:read_message()
      assert.equal(8, opcode)
      local a, b = payload:byte(1, 2)
      return a * 256 + b, payload:sub(3)
    end

    it("keeps the status of a refusal", function()
      local ws = ask "/chat"
      accept():send "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
      assert.equal(403, ws:got("refused").status)
    end)

    it("is refused with 502 by what is no server", function()
      local ws = ask "/chat"
      accept().socket:close()
      assert.equal(502, ws:got("refused").status)
    end)

    it("is asked for as the visitor did", function()
      ask("/chat%2F1?room=1", { origin = "http://o.example", headers = { Cookie = "a=1; b=2" },
        protocols = { "v1", "v2" } })
      local _, request = accept()
      assert.equal("GET /chat%2F1?room=1 HTTP/1.1", request.line)
      assert.equal("a=1; b=2", request.headers.cookie)
      assert.equal("http://o.example", request.headers.origin)
      assert.equal("v1, v2", request.headers["sec-websocket-protocol"])
      assert.equal(host, request.headers["x-forwarded-host"])
    end)

    it("keeps code and reason of the visitor's close", function()
      local ws, inner = pair()
      ws:close(4002, "bye")
      local code, reason = close_of(inner)
      assert.same({ 4002, "bye" }, { code, reason })
      assert.equal(4002, ws:got("close").code)
    end)

    it("has no reason that nobody gave", function()
      local ws, inner = pair()
      ws:close(1000)
      local code, reason = close_of(inner)
      assert.same({ 1000, "" }, { code, reason })
      ws, inner = pair()
      inner:send(raw_websocket.frame("\15\161", { opcode = 8 })) -- 4001
      local event = ws:got "close"
      assert.same({ 4001, "" }, { event.code, event.reason })
    end)

    it("is no clean close when the connection of one side broke", function()
      local ws, inner = pair()
      ws:abort()
      assert.equal(1001, (close_of(inner)))
      ws, inner = pair()
      inner.socket:close()
      assert.equal(1011, ws:got("close").code)
    end)

    it("is given up when the visitor goes before the answer", function()
      local ws = ask()
      local inner = accept()
      ws:stop() -- its process, and with it the connection
      raw_websocket.upgrade(inner)
      assert.equal(1001, (close_of(inner)))
    end)

    it("is as slow as the local server, and the client holds little", function()
      local ws, inner = pair()
      for _ = 1, 100 do
        ws:text(("x"):rep(500000))
      end
      ws:text "last"
      local other = ask() -- others are not held up
      raw_websocket.upgrade((accept()))
      other:got "open"
      assert.is_true(sluice.is_sanitized or sluice.memory_mib(service) < 60)
      inner.socket:close()
      ws:got "close"
    end)

    it("ends with the client, and says that somebody went away", function()
      local own = brickchain.service(base, "http://127.0.0.1:" .. listener.port)
      local before = host
      host = brickchain.hostname_of(own)
      local ws = pair()
      host = before
      assert.equal(0, brickchain.stop_service(own))
      assert.equal(1001, ws:got("close").code)
    end)
  end)
end)
