local sluice = require "sluice"
local testing = require "sluice.testing"

describe("the fake Redis", function()
  local server, redis

  before_each(function()
    testing.reset()
    server = testing.redis()
    testing.world.redis["127.0.0.1:6379"] = server
    redis = sluice.redis.connect()
  end)

  it("keeps strings", function()
    assert.equal("OK", redis:command("SET", "k", 1))
    assert.equal("1", redis:command("get", "k"))
    assert.is_nil((redis:command("SET", "k", "2", "NX")))
    assert.equal(1, redis:command("DEL", "k", "other"))
    assert.is_nil((redis:command("GET", "k")))
  end)

  it("forgets them in time", function()
    redis:command("SET", "k", "v", "PX", 1500)
    redis:command("SET", "l", "v")
    assert.equal(1, redis:command("EXPIRE", "l", 3))
    assert.equal(0, redis:command("EXPIRE", "missing", 3))
    testing.clock():advance(2)
    assert.is_nil((redis:command("GET", "k")))
    assert.equal("v", redis:command("GET", "l"))
    testing.clock():advance(2)
    assert.is_nil((redis:command("GET", "l")))
  end)

  it("passes messages on", function()
    local other = sluice.redis.connect()
    redis:subscribe("a", "b")
    redis:psubscribe "x\\*?*"
    assert.equal(1, other:command("PUBLISH", "b", "m"))
    assert.equal(1, other:command("PUBLISH", "x*12", "n"))
    assert.equal(0, other:command("PUBLISH", "xx12", "n"))
    assert.same({ "m", "b" }, { redis:receive() })
    assert.same({ "n", "x*12", "x\\*?*" }, { redis:receive() })
    assert.same({ nil, "ERR Can't execute 'get' while subscribed" }, { redis:command("GET", "k") })
    redis:unsubscribe("a", "b")
    assert.equal(0, other:command("PUBLISH", "b", "m"))
  end)

  it("is an error for what it does not know", function()
    assert.same({ nil, "ERR unknown command 'LPUSH'" }, { redis:command("LPUSH", "k", "v") })
  end)

  it("goes away", function()
    server:stop()
    assert.same({ nil, "closed" }, { redis:command "PING" })
    assert.same({ nil, "closed" }, { redis:receive() })
    assert.same({ nil, "connection refused" }, { sluice.redis.connect() })
    assert.same({ nil, "connection refused" }, { sluice.redis.connect { port = 1 } })
  end)
end)
