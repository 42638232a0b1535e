local redisbus = require "sluice.bus.redis"
local sluice = require "sluice"
local subscriptions = require "sluice.bus.subscription"
local started = require "support.started"
local testing = require "sluice.testing"

describe("a bus on Redis", function()
  local server

  before_each(function()
    testing.reset()
    server = testing.redis()
    testing.world.redis["127.0.0.1:6379"] = server
  end)

  local function logged(message)
    local n = 0
    for _, entry in ipairs(testing.world.logged) do
      n = n + (entry.message == message and 1 or 0)
    end
    return n
  end

  it("reaches the other one", function()
    local one, two = redisbus.new(), redisbus.new()
    local exact, prefix = one:subscribe "a/1", one:subscribe "a/*"
    assert.same({ true, 2 }, started(function() return two:publish("a/1", "m\0") end)())
    assert.same({ "m\0", "a/1" }, started(function() return exact:receive() end)())
    assert.same({ "m\0", "a/1" }, started(function() return prefix:receive() end)())
    started(function() return one:publish("a/2", "n") end)
    assert.same({ "n", "a/2" }, started(function() return prefix:receive() end)())
    local got = started(function() return exact:receive(1) end)
    testing.clock():advance(1)
    assert.same({ nil, "timed out" }, got())
  end)

  it("takes a prefix as it is", function()
    local bus = redisbus.new()
    local subscription = bus:subscribe "a[b]?\\*"
    started(function() bus:publish("abxx", "no") end)
    started(function() bus:publish("a[b]?\\x", "yes") end)
    assert.same({ "yes", "a[b]?\\x" }, started(function() return subscription:receive() end)())
  end)

  it("calls functions", function()
    local bus, got = redisbus.new(), {}
    bus:subscribe("t", function(message, topic) table.insert(got, message .. topic) end)
    started(function() bus:publish("t", "1") bus:publish("t", "2") end)
    assert.same({ "1t", "2t" }, got)
  end)

  it("says that Redis is away, comes back, and tells of the loss once", function()
    local bus = redisbus.new()
    local subscription = bus:subscribe "t*"
    server:stop()
    assert.is_false(bus:is_up())
    assert.same({ nil, "not connected" }, { bus:publish("t", "m") })
    local later = bus:subscribe "t"
    local got = started(function() return subscription:receive() end)
    testing.clock():advance(60)
    assert.is_nil(got())
    assert.equal(1, logged "the bus is without Redis")
    server:start()
    testing.clock():advance(10)
    assert.is_true(bus:is_up())
    assert.same({ nil, "lost" }, got())
    started(function() return bus:publish("t", "m") end)
    assert.same({ "m", "t" }, started(function() return subscription:receive() end)())
    assert.same({ "m", "t" }, started(function() return later:receive() end)())
  end)

  it("starts without Redis", function()
    server:stop()
    local bus = redisbus.new()
    local subscription = bus:subscribe "t"
    local waited = started(function() return bus:wait(30) end)
    testing.clock():advance(20)
    assert.is_nil(waited())
    server:start()
    testing.clock():advance(10)
    assert.same({ true }, waited())
    started(function() return bus:publish("t", "m") end)
    local received = started(function() return subscription:receive() end)
    assert.same({ "m", "t" }, received()) -- and no "lost"
    server:stop()
    waited = started(function() return bus:wait(1) end)
    testing.clock():advance(1)
    assert.same({ nil, "timed out" }, waited())
  end)

  it("notices a connection that is dead", function()
    local bus = redisbus.new()
    for connection in pairs(server.connections) do
      connection.command = function() return nil, "timed out" end
    end
    testing.clock():advance(10)
    testing.clock():advance(1)
    assert.is_true(bus:is_up())
    assert.same({ true, 0 }, started(function() return bus:publish("t", "m") end)())
    assert.equal(1, logged "the bus is without Redis")
  end)

  it("leaves nothing behind", function()
    local bus = redisbus.new()
    local one, two = bus:subscribe "t", bus:subscribe "t"
    one:cancel()
    assert.equal(1, server:subscribers "t")
    two:cancel()
    two:cancel()
    assert.equal(0, server:subscribers "t")
    local three = bus:subscribe "t"
    local got = started(function() return three:receive() end)
    bus:close()
    assert.same({ nil, "cancelled" }, got())
    assert.is_nil(next(server.connections))
    testing.clock():advance(60)
    assert.is_nil(next(server.connections))
    assert.is_nil(next(testing.world.topics))
  end)

  it("subscribes to many topics in one go when Redis comes back", function()
    local bus, last = redisbus.new(), nil
    for i = 1, 1200 do
      last = bus:subscribe("t" .. i)
    end
    server:stop()
    server:start()
    testing.clock():advance(10)
    assert.equal(1, server:subscribers "t1")
    assert.equal(1, server:subscribers(last.topic))
  end)
end)

describe("a subscription with a queue", function()
  before_each(testing.reset)

  it("is bounded, and tells where messages are missing", function()
    local subscription = subscriptions.new("t", nil, function() end)
    for i = 1, 20000 do
      subscription:push(tostring(i), "t")
    end
    sluice.spawn(function()
      for i = 1, 16384 do
        assert(subscription:receive() == tostring(i))
      end
      assert.same({ nil, "lost" }, { subscription:receive() })
      subscription:push("again", "t")
      assert.same({ "again", "t" }, { subscription:receive() })
    end)
    testing.clock():advance(1)
    assert.equal(1, #testing.world.logged)
  end)

  it("holds so many bytes", function()
    local subscription, long = subscriptions.new("t", nil, function() end), ("x"):rep(2 ^ 20)
    for _ = 1, 17 do
      subscription:push(long, "t")
    end
    assert.equal(1, #testing.world.logged)
  end)

  it("runs so many functions at a time, the others wait", function()
    local running, most, n = 0, 0, 0
    local subscription = subscriptions.new("t", function()
      running, n = running + 1, n + 1
      most = math.max(most, running)
      sluice.sleep(1)
      running = running - 1
    end, function() end)
    sluice.spawn(function()
      for i = 1, 300 do
        subscription:push(tostring(i), "t")
      end
    end)
    testing.clock():advance(3)
    assert.equal(256, most)
    assert.equal(300, n)
  end)
end)
