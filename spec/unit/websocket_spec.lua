local sluice = require "sluice"
local testing = require "sluice.testing"
local websocket = require "sluice.websocket"

describe("the verb websocket", function()
  local function fn() end

  it("is plain data", function()
    assert.same({ verb = "websocket", fn = fn }, websocket(fn))
    assert.same({ verb = "websocket", fn = fn, max_message = 10, protocols = { "a" } },
      sluice.websocket(fn, { max_message = 10, protocols = { "a" } }))
  end)

  it("names its caller when it is misused", function()
    local function fails(message, ...)
      local ok, err = pcall(function(...)
        local verb = websocket(...)
        return verb
      end, ...)
      assert.is_false(ok)
      assert.matches("websocket_spec.lua:%d+: websocket: " .. message, err)
    end
    fails("a function expected, got a nil")
    fails("options must be a table", fn, 1)
    fails("unknown option protocol", fn, { protocol = "a" })
    fails("option protocols must be a table", fn, { protocols = "a" })
  end)
end)

describe("the fake WebSocket", function()
  before_each(testing.reset)

  --- Connects to a peer that does this; `heard` collects what the script hears.
  local function with_peer(peer, script)
    testing.world.websockets["ws://hub.example/"] = peer
    sluice.spawn(function()
      script(assert(websocket.connect("ws://hub.example/")))
    end)
  end

  it("is refused where nobody listens", function()
    assert.same({ nil, "connection refused" }, { websocket.connect("ws://nobody.example/") })
  end)

  it("carries messages both ways", function()
    local heard = {}
    with_peer(function(peer)
      heard.request = peer:receive()
      peer:send("\0", "binary")
    end, function(ws)
      ws:send("hello")
      heard.answer = { ws:receive() }
    end)
    assert.same({ request = "hello", answer = { "\0", "binary" } }, heard)
  end)

  it("closes with code and reason", function()
    local ends = {}
    with_peer(function(peer)
      peer:send("last words")
      peer:close(4000, "enough")
    end, function(ws)
      for message in websocket.messages(ws) do
        table.insert(ends, message)
      end
      table.insert(ends, { ws:receive() })
      table.insert(ends, { ws:send("too late") })
    end)
    assert.same({ "last words", { nil, "enough", 4000 }, { nil, "enough" } }, ends)
  end)

  it("waits no longer than it was told", function()
    local result
    with_peer(function() end, function(ws)
      result = { ws:receive(5) }
    end)
    testing.clock():advance(4)
    assert.is_nil(result)
    testing.clock():advance(2)
    assert.same({ nil, "timed out" }, result)
  end)

  it("comes in pairs for what takes one as an argument", function()
    local ws, peer = testing.websocket("v1")
    ws:send("to the peer")
    local got
    sluice.spawn(function()
      got = peer:receive()
    end)
    assert.equal("to the peer", got)
    assert.equal("v1", ws:protocol())
  end)
end)
