local fake_websocket = require "support.fake_websocket"
local legacy = require "sluice.typedsocket.legacy"
local sluice = require "sluice"
local testing = require "sluice.testing"
local typedrequest = require "sluice.typedrequest"
local typedsocket = require "sluice.typedsocket"

local json = sluice.json
local world = testing.world
local no_method = "There is no available method for this call on the server side"

-- As typedrequest 8 writes it.
local function call(method, request, id)
  return { method = method, request = request, response = json.null,
    requestInstanceId = "uni_inst" .. (id or 1),
    correlation = { id = "uni_" .. (id or 1), phase = "request" } }
end

local function logged(text)
  for _, entry in ipairs(world.logged) do
    for _, value in pairs(entry.fields or {}) do
      if tostring(value):find(text, 1, true) then
        return true
      end
    end
    if entry.message:find(text, 1, true) then
      return true
    end
  end
  return false
end

describe("a typed request", function()
  it("is answered with what came, without the request", function()
    local envelope = call("updateRouting", { secret = "PRIVATE" })
    envelope.localData = { a = 1 }
    envelope.more = "kept"
    envelope.long = ("x"):rep(1000)
    assert.same({
      method = "updateRouting", response = { status = "ok" }, more = "kept",
      requestInstanceId = "uni_inst1", correlation = { id = "uni_1", phase = "response" },
    }, typedrequest.answer(envelope, { status = "ok" }))
  end)

  it("has a response and a text when it fails", function()
    local answer = typedrequest.failure(call("x", {}), "no")
    assert.equal(json.null, answer.response)
    assert.same({ text = "no", data = {} }, answer.error)
  end)

  it("is not anything else", function()
    assert.equal("request", (typedrequest.read(call("x", {}))))
    local long = call(("x"):rep(1000), {})
    for _, value in ipairs { 1, "x", json.null, {}, { method = "x" }, long,
      { method = "x", correlation = { id = 1, phase = "request" } },
      { method = "x", correlation = { id = "a", phase = "never" } },
      { correlation = { id = "a", phase = "request" } } } do
      local phase, err = typedrequest.read(value)
      assert.is_nil(phase)
      assert.is_string(err)
    end
  end)
end)

describe("typedsocket", function()
  local server, socket, asked

  before_each(function()
    testing.reset()
    server = fake_websocket.server()
    asked = {}
    socket = typedsocket.new {
      url = "http://coreflow:3000", tag = "coretraffic", connect = server.connect,
      random = function() return 1 end,
      handlers = {
        updateRouting = function(request)
          table.insert(asked, request)
          return { status = "ok", errorText = "" }
        end,
        slow = function()
          sluice.sleep(5)
          return { done = true }
        end,
        refuse = function() return nil, "not now" end,
        throw = function() error("a bug") end,
      },
    }
  end)

  local function start()
    sluice.spawn(socket.run, socket)
    return server:last()
  end

  local function last_sent(connection)
    return json.decode((connection.sent[#connection.sent]:gsub("^42", "")))
  end

  it("knows URLs", function()
    assert.equal("ws://coreflow:3000", typedsocket.websocket_url "http://coreflow:3000")
    assert.equal("wss://a/b", typedsocket.websocket_url "https://a/b")
    assert.equal("ws://a", typedsocket.websocket_url "ws://a")
    for _, url in ipairs { "coreflow", "ftp://a", "http://", "http:///x", "http://a b",
      "http://user:password@a" } do
      assert.is_nil((typedsocket.websocket_url(url)))
    end
    assert.equal("ws://a:1/socket.io/?EIO=4&transport=websocket", legacy.url "ws://a:1/x?y")
  end)

  it("waits 1 s to 60 s, doubling, with jitter", function()
    local function one() return 1 end
    local function zero() return 0 end
    local waits = {}
    for i = 0, 7 do
      waits[i + 1] = typedsocket.backoff(i, one)
    end
    assert.same({ 1, 2, 4, 8, 16, 32, 60, 60 }, waits)
    assert.equal(1, typedsocket.backoff(0, zero))
    assert.equal(30, typedsocket.backoff(5000, zero))
  end)

  describe("on the modern wire", function()
    local function tag(connection)
      local request = json.decode(connection.sent[1])
      connection:say(json.encode { method = request.method, response = { success = true },
        correlation = { id = request.correlation.id, phase = "response" } })
      return request
    end

    it("says who it is at once", function()
      local connection = start()
      assert.equal("ws://coreflow:3000", connection.url)
      local request = tag(connection)
      assert.equal("__typedsocket_setTag", request.method)
      assert.same({ name = "coretraffic", payload = {} }, request.request)
      assert.equal("request", request.correlation.phase)
      assert.is_true(logged("connected"))
    end)

    it("answers what it is asked", function()
      local connection = start()
      tag(connection)
      connection:say(json.encode(call("updateRouting", { reverseConfigs = { 1 } })))
      assert.same({ { reverseConfigs = { 1 } } }, asked)
      local answer = last_sent(connection)
      assert.same({ status = "ok", errorText = "" }, answer.response)
      assert.equal("uni_inst1", answer.requestInstanceId)
      assert.is_nil(answer.request)
    end)

    it("takes binary messages for text", function()
      local connection = start()
      tag(connection)
      connection:say(json.encode(call("updateRouting", {})), "binary")
      assert.equal(1, #asked)
    end)

    it("answers several in the order in which they are done", function()
      local connection = start()
      tag(connection)
      connection:say(json.encode(call("slow", {}, 1)))
      connection:say(json.encode(call("updateRouting", {}, 2)))
      assert.equal("uni_2", last_sent(connection).correlation.id)
      testing.clock():advance(5)
      assert.equal("uni_1", last_sent(connection).correlation.id)
    end)

    it("says when a call fails, in the words of the libraries", function()
      local connection = start()
      tag(connection)
      local function text_of(method)
        connection:say(json.encode(call(method, {})))
        return last_sent(connection).error.text
      end
      assert.equal(no_method, text_of "whatever")
      assert.equal("not now", text_of "refuse")
      assert.equal("Internal server error", text_of "throw")
    end)

    it("survives what makes no sense", function()
      local connection = start()
      tag(connection)
      for _, text in ipairs { "{", "", "1", "null", "[]", '"x"', '{"a":1}', "{}", "\0",
        '{"method":"updateRouting","request":{}}',
        '{"method":"x","correlation":{"id":"unknown","phase":"response"}}' } do
        connection:say(text)
      end
      assert.equal(1, #connection.sent)
      connection:say(json.encode(call("updateRouting", {})))
      assert.equal(1, #asked)
      assert.is_true(logged("not JSON"))
    end)

    it("never logs what a message holds", function()
      local connection = start()
      tag(connection)
      local key = "-----BEGIN PRIVATE KEY-----\nMIIB"
      connection:say('{"privateKey":"' .. key)
      connection:say(json.encode { privateKey = key })
      connection:say(json.encode(call("updateRouting", { privateKey = key })))
      assert.is_false(logged("MIIB"))
    end)

    it("stays when the server knows no tags, and says so", function()
      local connection = start()
      local request = json.decode(connection.sent[1])
      connection:say(json.encode { method = request.method, response = json.null,
        error = { text = no_method, data = {} },
        correlation = { id = request.correlation.id, phase = "response" } })
      assert.is_true(logged("refused the tag"))
      connection:say(json.encode(call("updateRouting", {})))
      assert.equal(1, #asked)
    end)

    it("connects again and says again who it is", function()
      tag(start())
      server:last():drop("closed")
      assert.is_true(logged("the connection is lost"))
      testing.clock():advance(0.9)
      assert.equal(1, #server.connections)
      testing.clock():advance(0.2)
      assert.equal(2, #server.connections)
      assert.equal("__typedsocket_setTag", tag(server:last()).method)
    end)

    it("does not send an answer to another connection than the one that asked", function()
      local first = start()
      tag(first)
      first:say(json.encode(call("slow", {})))
      first:drop("closed")
      testing.clock():advance(1.5)
      tag(server:last())
      testing.clock():advance(10)
      assert.equal(1, #server:last().sent)
    end)

    it("pings, and lets no message be endless", function()
      local options = start().options
      assert.is_true(options.ping_interval > 0 and options.ping_timeout > 0)
      assert.equal(96 * 1048576, options.max_message)
    end)

    it("takes an answer to the tag that is late, and a call before it", function()
      local connection = start()
      testing.clock():advance(9.9)
      connection:say(json.encode(call("updateRouting", {})))
      assert.equal(1, #asked)
      tag(connection)
      testing.clock():advance(100)
      assert.is_nil(connection.closed)
    end)

    it("gives a server up that does not answer", function()
      local connection = start()
      testing.clock():advance(9)
      assert.is_nil(connection.closed)
      testing.clock():advance(2)
      assert.is_true(connection.closed)
      assert.equal("ws://coreflow:3000/socket.io/?EIO=4&transport=websocket", server.attempts[2])
    end)

    it("stops at once when it is told to", function()
      local ended
      sluice.spawn(function()
        socket:run()
        ended = true
      end)
      tag(server:last())
      socket:close()
      assert.is_true(ended)
      assert.is_true(server:last().closed)
      testing.clock():advance(100)
      assert.equal(1, #server.connections)
    end)

    it("refuses more than it can hold", function()
      local connection = start()
      tag(connection)
      for i = 1, 1001 do
        connection:say(json.encode(call("slow", {}, i)))
      end
      assert.equal("too many requests at a time", last_sent(connection).error.text)
    end)
  end)

  it("tries for ever, with longer and longer pauses", function()
    server.accepts = function() return false end
    sluice.spawn(socket.run, socket)
    assert.equal(2, #server.attempts)
    testing.clock():advance(1 + 2 + 4 + 8 + 0.5)
    assert.equal(10, #server.attempts)
    testing.clock():advance(3600)
    assert.is_true(#server.attempts > 100 and #server.attempts < 160)
    server.accepts = nil
    testing.clock():advance(61)
    assert.is_true(#server.connections >= 1)
  end)

  describe("on the legacy wire", function()
    before_each(function()
      server.accepts = function(url) return url:find("socket.io", 1, true) ~= nil end
    end)

    local function greet(connection)
      connection:say('0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,'
        .. '"maxPayload":1000000}')
      connection:say('40{"sid":"y"}')
      connection:say('42["requestAuth",{"serverAlias":"typedsocketServer_1"}]')
      connection:say('42["authenticated"]')
      connection:say('42["serverFullyReactive"]')
      connection:say('42["updateTagStore",{"coretraffic":{"id":"coretraffic","payload":{}}}]')
    end

    local function ask(connection, envelope, name)
      connection:say("42" .. json.encode { "function", { shortId = "uni_s",
        funcCallData = { funcName = name or "processMessage", funcDataArg = envelope } } })
    end

    it("goes through both greetings", function()
      local connection = start()
      greet(connection)
      assert.equal("40", connection.sent[1])
      assert.same({ "dataAuth", { alias = "coretraffic" } },
        json.decode(connection.sent[2]:sub(3)))
      assert.same({ "updateTagStore",
        { coretraffic = { id = "coretraffic", payload = {} } } },
        json.decode(connection.sent[3]:sub(3)))
      assert.equal(3, #connection.sent)
      assert.is_true(logged("legacy"))
    end)

    it("answers calls, once each", function()
      local connection = start()
      greet(connection)
      ask(connection, call("updateRouting", { reverseConfigs = {} }))
      assert.equal(4, #connection.sent)
      local event = last_sent(connection)
      assert.equal("functionResponse", event[1])
      assert.equal("uni_s", event[2].shortId)
      assert.equal("processMessage", event[2].funcCallData.funcName)
      assert.same({ status = "ok", errorText = "" }, event[2].funcCallData.funcDataArg.response)
    end)

    it("answers pings of the server, and gives a silent one up", function()
      local connection = start()
      greet(connection)
      connection:say("2")
      assert.equal("3", connection.sent[4])
      testing.clock():advance(44)
      assert.is_nil(connection.closed)
      testing.clock():advance(2)
      assert.is_true(connection.closed)
      assert.is_true(logged("silent for too long"))
    end)

    it("survives what makes no sense", function()
      local connection = start()
      greet(connection)
      for _, text in ipairs { "", "9", "42", "42{", "42[]", "42[1]", '42["function"]', "4", "6",
        '42["function",{"shortId":1}]', '42["never"]', '43["x"]', "7{" } do
        connection:say(text)
      end
      ask(connection, call("updateRouting", {}), "otherFunction")
      ask(connection, 7)
      connection:say("\1\2", "binary")
      assert.equal(3, #connection.sent)
      ask(connection, call("updateRouting", {}))
      assert.equal(4, #connection.sent)
    end)

    it("connects again when it is sent away", function()
      for _, text in ipairs { "1", "41", '44{"message":"no"}', "0{" } do
        testing.reset()
        server.connections = {}
        local connection = start()
        connection:say(text)
        assert.is_true(connection.closed, text)
      end
    end)

    it("is tried first once it has worked", function()
      greet(start())
      server:last():drop("closed")
      server.attempts = {}
      testing.clock():advance(1.5)
      assert.matches("socket.io", server.attempts[1], 1, true)
    end)
  end)
end)
