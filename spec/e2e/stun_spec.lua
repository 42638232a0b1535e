-- sluice.stun against a server that is played here.

local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"
local socket = require "socket"

local success, failure = "\1\1", "\1\17"

-- 203.0.113.9 and port 4660, masked with the cookie.
local address = "\0\32\0\8\0\1\51\38\234\18\213\75"

-- An answer to the request, or to the one with another id.
local function answer(request, kind, attributes, id)
  return kind .. "\0" .. string.char(#attributes) .. request:sub(5, 8)
    .. (id or request:sub(9, 20)) .. attributes
end

describe("sluice.stun", function()
  local server, port, child

  before_each(function()
    server = socket.udp()
    assert(server:setsockname("127.0.0.1", 0))
    server:settimeout(sluice.patience)
    port = select(2, server:getsockname())
  end)

  after_each(function()
    server:close()
    child:stop()
  end)

  local function ask(timeout, at)
    child = process.start { sluice.binary, "check", "spec/fixtures/stun.lua", "127.0.0.1",
      tostring(at or port), tostring(timeout) }
  end

  -- The next question.
  local function receive()
    local request, ip, from = server:receivefrom()
    assert.equal(20, #assert(request, ip))
    assert.equal("\0\1\0\0\33\18\164\66", request:sub(1, 8))
    return request, function(...)
      server:sendto(answer(request, ...), ip, from)
    end
  end

  local function result()
    child:wait(sluice.patience)
    return child:text("stdout"):match("[^\n]*")
  end

  it("gives the address that the server sees", function()
    ask(60)
    local _, reply = receive()
    reply(success, address)
    assert.equal("203.0.113.9 4660", result())
  end)

  it("believes nothing that does not answer its question", function()
    ask(60)
    local _, reply = receive()
    reply(success, "\0\32\0\8\0\1\51\38\0\0\0\0", ("x"):rep(12))
    reply(success, address)
    assert.equal("203.0.113.9 4660", result())
  end)

  it("asks again when nothing comes, and takes an answer to either question", function()
    ask(3)
    local first, reply = receive()
    local second = receive()
    assert.equal(first, second)
    reply(success, address)
    assert.equal("203.0.113.9 4660", result())
  end)

  it("asks three times", function()
    ask(0.6)
    local first = receive()
    assert.same({ first, first }, { receive(), (receive()) })
    assert.equal("nil timed out", result())
  end)

  it("says why there is no answer", function()
    ask(60)
    local _, reply = receive()
    reply(failure, "\0\9\0\4\0\0\4\0")
    assert.equal("nil the server refuses", result())
    child:stop()
    ask(60)
    _, reply = receive()
    reply(success, "\0\32\0\8\0")
    assert.equal("nil the answer is malformed", result())
    child:stop()
    ask(60, http.free_port())
    assert.equal("nil connection refused", result())
  end)
end)
