local sluice = require "sluice"
local testing = require "sluice.testing"
local core = require "sluice.testing.core"

local where = { host = "hub.example", port = 8443, id = "a", secret = "s" }

describe("the edge of the fake core", function()
  before_each(testing.reset)

  local function open()
    return core.tunnel.edge { name = "main" }, testing.edge("main")
  end

  it("has nobody to connect to at first", function()
    local edge, hand = open()
    local line, err, kind = edge:connect(where)
    assert.same({ nil, "connection refused", "failed" }, { line, err, kind })
    assert.same("hub.example", hand.connects[1].host)
  end)

  it("answers as the spec says, and is up after accept()", function()
    local edge, hand = open()
    hand.on_connect = function()
      sluice.sleep(2)
      return "{}"
    end
    local resumed
    sluice.spawn(function()
      assert.equal("{}", edge:connect(where))
      resumed = select(2, edge:accept { ticket = ("t"):rep(16) })
    end)
    assert.is_false(hand.is_up)
    testing.clock():advance(2)
    assert.is_true(hand.is_up)
    assert.is_false(resumed)
    assert.same({ "connect", "accept" }, hand.calls)
    assert.equal("{}", edge:status().answer)
  end)

  it("accepts nothing without an answer", function()
    local edge = open()
    assert.same({ nil, "there is no answer to accept" }, { edge:accept() })
  end)

  it("hands events to whoever waits, and keeps those that nobody waits for", function()
    local edge, hand = open()
    local got = {}
    sluice.spawn(function()
      for _ = 1, 3 do
        table.insert(got, { edge:event() })
      end
    end)
    hand:event("config", "one")
    assert.same({ { "config", "one" } }, got)
    hand:event("down", "gone")
    assert.same({ "down", "gone" }, got[2])
    assert.is_nil(got[3])
    hand:event("config", "two")
    hand:event("config", "three")
    hand:event("config", "four")
    assert.same({ "config", "two" }, got[3])
    assert.same({ "config", "four" }, { edge:event() })
  end)

  it("tells of events until the time is up", function()
    local edge = open()
    local got
    sluice.spawn(function() got = { edge:event(5) } end)
    testing.clock():advance(5)
    assert.same({ nil, "timed out" }, got)
  end)

  it("is down after it was hung up", function()
    local edge, hand = open()
    hand.on_connect = function() return "{}" end
    edge:connect(where)
    edge:accept()
    edge:hang_up()
    assert.is_false(hand.is_up)
    assert.same({ "down", "hung up" }, { edge:event() })
  end)

  it("is the same under the same name", function()
    local edge, hand = open()
    hand:event("config", "x")
    assert.same({ "config", "x" }, { open():event() })
    edge:close()
    assert.is_true(hand.is_closed)
  end)

  it("knows its options", function()
    local edge = open()
    assert.error_matches(function() edge:connect { hots = "x" } end, 'unknown option "hots"')
    assert.error_matches(function() edge:connect { host = "x" } end, "option port is missing")
    assert.error_matches(function() core.tunnel.edge {} end, "option name is missing")
  end)
end)

describe("the hub of the fake core", function()
  before_each(testing.reset)

  local function open(options)
    options = options or {}
    options.name, options.cert, options.key = "hub", "c", "k"
    return core.tunnel.hub(options)
  end

  it("has a port and remembers the list of edges", function()
    local hub = open { port = 0 }
    assert.is_number(hub:port())
    hub:edges { { id = "a", secret = "s", config = "{}" } }
    assert.same("a", testing.hub("hub").edges[1].id)
    assert.error_matches(function() hub:edges { { id = "a" } } end, "edges%[1%].secret")
  end)

  it("opens or not as the spec says", function()
    testing.hub("hub").on_open = function() return nil, "address in use" end
    assert.same({ nil, "address in use" }, { open() })
  end)

  it("shows the state of each edge", function()
    local hub = open()
    hub:edges {
      { id = "a", secret = "s", config = "{}" },
      { id = "b", secret = "s", config = "{}" },
    }
    testing.hub("hub").states.b = { connected = true, transport = "quic" }
    local status = hub:status()
    assert.is_false(status.edges[1].connected)
    assert.equal("quic", status.edges[2].transport)
  end)
end)
