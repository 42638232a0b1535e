local ask = require "sluice.ask"
local memory = require "sluice.bus.memory"
local sluice = require "sluice"
local started = require "support.started"
local testing = require "sluice.testing"

describe("the bus of the fake core", function()
  before_each(testing.reset)

  it("keeps messages until they are received", function()
    local subscription = sluice.bus.subscribe "t"
    assert.equal(1, sluice.bus.publish("t", "one"))
    assert.equal(0, sluice.bus.publish("tt", "two"))
    assert.same({ "one", "t" }, { subscription:receive() })
  end)

  it("hands a message to the task that waits", function()
    local subscription = sluice.bus.subscribe "a*"
    local got = started(function() return subscription:receive(5) end)
    sluice.bus.publish("b", "no")
    assert.is_nil(got())
    sluice.bus.publish("ab", "yes")
    assert.same({ "yes", "ab" }, got())
  end)

  it("tells of the time, of a cancellation and of a loss", function()
    local subscription = sluice.bus.subscribe "t"
    local got = started(function() return subscription:receive(5) end)
    testing.clock():advance(5)
    assert.same({ nil, "timed out" }, got())
    subscription:lose()
    assert.same({ nil, "lost" }, { subscription:receive() })
    got = started(function() return subscription:receive() end)
    subscription:cancel()
    assert.same({ nil, "cancelled" }, got())
    assert.same({ nil, "cancelled" }, { subscription:receive() })
    assert.equal(0, sluice.bus.publish("t", "x"))
  end)

  it("calls functions with message and topic", function()
    local got = {}
    sluice.bus.subscribe("a/*", function(message, topic) table.insert(got, topic .. message) end)
    sluice.bus.publish("a/1", "x")
    assert.same({ "a/1x" }, got)
  end)
end)

describe("the memory bus", function()
  before_each(testing.reset)

  it("is the bus of the process", function()
    local bus = memory.new()
    local subscription = bus:subscribe "t*"
    assert.same({ true, 1 }, { bus:publish("t1", "m") })
    assert.same({ "m", "t1" }, { subscription:receive() })
    assert.is_true(bus:is_up())
  end)
end)

describe("a question", function()
  before_each(testing.reset)

  it("is answered", function()
    ask.serve("double", function(question) return question .. question end)
    assert.same({ "abab" }, started(function() return ask.call("double", "ab") end)())
  end)

  it("fails as the server says", function()
    ask.serve("no", function() return nil, "not today" end)
    assert.same({ nil, "not today" }, started(function() return ask.call("no", "") end)())
    ask.serve("nothing", function() end)
    assert.same({ nil, "no answer" }, started(function() return ask.call("nothing", "") end)())
  end)

  it("fails when the server throws", function()
    ask.serve("broken", function() error("on purpose", 0) end)
    assert.same({ nil, "on purpose" }, started(function() return ask.call("broken", "") end)())
  end)

  it("fails at once when nobody serves it", function()
    assert.same({ nil, "nobody answers" }, started(function() return ask.call("who", "") end)())
  end)

  it("fails when the answer takes too long", function()
    ask.serve("slow", function()
      sluice.sleep(60)
      return "late"
    end)
    local got = started(function() return ask.call("slow", "", 2) end)
    testing.clock():advance(2)
    assert.same({ nil, "timed out" }, got())
    testing.clock():advance(60) -- the late answer is nobody's
    assert.is_nil(next(testing.world.topics, next(testing.world.topics)))
  end)

  it("is refused when there are too many", function()
    ask.serve("slow", function()
      sluice.sleep(1)
      return "done"
    end)
    local results = {}
    for i = 1, 129 do
      results[i] = started(function() return ask.call("slow", "") end)
    end
    assert.same({ nil, "busy" }, results[129]())
    testing.clock():advance(1)
    assert.same({ "done" }, results[128]())
  end)

  it("has a largest size", function()
    ask.serve("long", function() return ("x"):rep(ask.max_length + 1) end)
    local got = started(function() return ask.call("long", "") end)
    assert.same({ nil, "the answer is too long" }, got())
    assert.has_error(function() ask.call("long", ("x"):rep(ask.max_length + 1)) end,
      "ask.call: a string of at most 1047552 bytes expected")
  end)
end)
