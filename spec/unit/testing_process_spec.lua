local sluice = require "sluice"
local testing = require "sluice.testing"
local udp = require "sluice.testing.udp"
local world = require "sluice.testing.world"

describe("the fake of other programs", function()
  before_each(testing.reset)

  it("finds none until the spec plays one", function()
    assert.same({ nil, "not found" }, { sluice.exec { "mkcert", "a.example" } })
    world.programs.mkcert = function(argv, options)
      return { status = 0, stdout = argv[2] .. (options.stdin or ""), stderr = "" }
    end
    assert.equal("a.example", sluice.exec({ "mkcert", "a.example" }).stdout)
    assert.equal("a.example!", sluice.exec({ "mkcert", "a.example" }, { stdin = "!" }).stdout)
  end)
end)

describe("the fake of UDP sockets", function()
  before_each(testing.reset)

  local function receive(socket, timeout)
    local results
    sluice.spawn(function()
      results = { socket:receive(timeout) }
    end)
    return function()
      return unpack(results)
    end
  end

  it("carries datagrams from port to port", function()
    local one, two = sluice.udp.bind {}, sluice.udp.bind { port = 5000 }
    assert.is_true(one:send("waits", "127.0.0.1", 5000))
    assert.same({ "waits", "127.0.0.1", one:port() }, { receive(two)() })
    local later = receive(two)
    two:send("back", "127.0.0.1", one:port())
    one:send("at once", "127.0.0.1", 5000)
    assert.equal("at once", (later()))
    assert.equal("back", (receive(one)()))
  end)

  it("lets a spec be somebody else, and cuts what is too long", function()
    local socket = sluice.udp.bind { max_datagram = 3 }
    assert.is_true(udp.deliver(socket:port(), "12345", "192.0.2.1", 7))
    assert.same({ "1234", "192.0.2.1", 7 }, { receive(socket)() })
    assert.is_false(udp.deliver(1, "nobody", "192.0.2.1", 7))
  end)

  it("times out and closes", function()
    local socket = sluice.udp.bind { port = 5000 }
    assert.is_nil((sluice.udp.bind { port = 5000 }))
    local late = receive(socket, 2)
    testing.clock():advance(3)
    assert.same({ nil, "timed out" }, { late() })
    local closed = receive(socket)
    socket:close()
    assert.same({ nil, "closed" }, { closed() })
    assert.same({ nil, "closed" }, { socket:send("x", "127.0.0.1", 1) })
    assert.is_truthy(sluice.udp.bind { port = 5000 })
  end)
end)
