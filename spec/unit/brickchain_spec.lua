local flow = require "sluice.brickchain.flow"
local frames = require "sluice.brickchain.frames"
local headers = require "sluice.brickchain.headers"
local memory = require "sluice.bus.memory"
local messages = require "sluice.brickchain.messages"
local node = require "sluice.brickchain.node"
local sluice = require "sluice"
local testing = require "sluice.testing"

local json = sluice.json
local base = "https://proxy.brickchain.com/v1/"
local id = "d6491799-0000-4000-8000-000000000001"

local function document(kind, fields)
  local value = { ["@type"] = base .. kind .. ".json", ["@id"] = id }
  for name, field in pairs(fields or {}) do
    value[name] = field
  end
  return json.encode(value)
end

describe("a document", function()
  before_each(testing.reset)

  it("is read as the original wrote it", function()
    local kind, doc = messages.decode('{"@type":"' .. base .. 'http-response.json","@timestamp":'
      .. '"2026-11-20T10:55:37.357492814Z","@id":"' .. id .. '","headers":{"Content-Length":"2",'
      .. '"Content-Type":"text/plain","Set-Cookie":"a=1"},"contentType":"text/plain",'
      .. '"status":200,"body":"c3Q="}')
    assert.equal("http-response", kind)
    assert.equal(id, doc.id)
    assert.equal(200, doc.status)
    assert.equal("c3Q=", doc.body)
    assert.equal("a=1", doc.headers["Set-Cookie"])
    assert.near(1795172137.357, doc.timestamp, 0.001)
  end)

  it("may lack its timestamp and its id, and may have more than is known", function()
    local kind, doc = messages.decode('{"@type":"' .. base .. 'ping.json","@realm":"x","y":[1]}\n')
    assert.equal("ping", kind)
    assert.same({}, doc)
  end)

  it("is none when something is wrong with it", function()
    for _, text in ipairs {
      "", "null", "1", '"x"', "[]", "{}", "no jwk in token", "{",
      '{"@type":"' .. base .. 'http-response.json#frag"}',
      '{"@type":"' .. base .. 'extension.json"}',
      '{"@type":"HTTPS://proxy.brickchain.com/v1/ping.json"}',
      '{"@type":7}',
      document("ping", { ["@timestamp"] = "yesterday" }),
      document("ping", { ["@timestamp"] = 1 }),
      document("ping", { ["@id"] = 1 }),
      document("http-response", { status = "200" }),
      document("http-response", { headers = { a = json.array { "b" } } }),
      document("http-response", { headers = json.array { "b" } }),
      document("http-response", { body = 1 }),
      document("ws-response", { ok = "yes" }),
      document("ws-message", { messageType = true }),
      document("registration-request", { mandateToken = 1 }),
    } do
      local kind, err = messages.decode(text)
      assert.is_nil(kind, text)
      assert.is_string(err, text)
    end
  end)

  it("may have null where a value is optional", function()
    local _, doc = messages.decode(document("http-request", { headers = json.null,
      query = json.null }))
    assert.same({ id = id }, doc)
  end)

  it("has the times of RFC 3339", function()
    for text, seconds in pairs {
      ["1970-01-01T00:00:00Z"] = 0,
      ["2000-02-29T12:00:00Z"] = 951825600,
      ["2026-11-20T10:55:37.5Z"] = 1795172137.5,
      ["2026-11-20T12:55:37+02:00"] = 1795172137,
      ["2026-11-20T05:25:37-05:30"] = 1795172137,
      ["2100-03-01T00:00:00Z"] = 4107542400,
    } do
      assert.equal(seconds, messages.parse_timestamp(text), text)
    end
    for _, text in ipairs { "", "2026-11-20", "2026-11-20 10:55:37Z", "2026-13-20T10:55:37Z",
      "2026-02-29T10:55:37Z", "2026-11-20T24:00:00Z", "2026-11-20T10:60:00Z",
      "2026-11-20T10:55:37", "2026-11-20T10:55:37.Z", "2026-11-20T10:55:37+2", "0x11-20T" } do
      assert.is_nil(messages.parse_timestamp(text), text)
    end
    assert.near(sluice.time(), messages.parse_timestamp(messages.timestamp()), 0.002)
  end)

  it("has ids of its own", function()
    local one = messages.new_id()
    assert.matches("^%x+%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x+$", one)
    assert.equal(36, #one)
    assert.not_equal(one, messages.new_id())
  end)

  it("is written with the fields in the order of the original", function()
    local text = messages.http_request(id, { url = "/p", query = "", method = "POST",
      headers = { Accept = "*/*" }, body = "hello=world" })
    assert.equal('{"@type":"' .. base .. 'http-request.json","@timestamp":"T","@id":"' .. id
      .. '","url":"/p","headers":{"Accept":"*/*"},"method":"POST","body":"aGVsbG89d29ybGQ="}',
      (text:gsub('"@timestamp":"[^"]+"', '"@timestamp":"T"')))
    assert.equal('{"@type":"' .. base .. 'ping.json"}\n', messages.ping)
  end)

  it("leaves out what is empty where the original does", function()
    local keys = {}
    for key in messages.ws_request(id, { url = "/echo", query = "x=1", headers = {} })
      :gmatch('"([^"]+)":') do
      table.insert(keys, key)
    end
    assert.same({ "@type", "@timestamp", "@id", "url", "query", "headers" }, keys)
    assert.is_nil(messages.registration_response(id, "key"):find("hostname", 1, true))
    assert.is_nil(messages.ws_response(id, true, ""):find("error", 1, true))
  end)

  it("comes back as it was sent", function()
    for kind, text in pairs {
      ["registration-request"] = messages.registration_request(id, "a.b.c", "s", { version = 1 }),
      ["registration-response"] = messages.registration_response(id, "key", "key.test"),
      ["http-request"] = messages.http_request(id, { url = "/a b\255", query = "q", method = "GET",
        headers = { A = "b" }, body = "" }, { path = "/a%20b" }),
      ["http-response"] = messages.http_response(id, { headers = { A = "b" }, status = 418,
        content_type = "x/y", body = "\0\255" }, { stream = true }),
      ["ws-request"] = messages.ws_request(id, { url = "/", headers = {} }),
      ["ws-response"] = messages.ws_response(id, false, "no"),
      ["ws-message"] = messages.ws_message(id, "binary", "x"),
      ["ws-teardown"] = messages.ws_teardown(id, { code = 1001 }),
      disconnect = messages.disconnect(id),
    } do
      local got, doc = messages.decode(text)
      assert.equal(kind, got, text)
      assert.equal(id, doc.id)
    end
  end)
end)

describe("a frame", function()
  it("comes back as it was sent", function()
    local bytes = frames.encode(frames.data, id, 4000000001, "\0payload\255")
    assert.equal(41 + 9, #bytes)
    assert.same({ "D", id, 4000000001, "\0payload\255" }, { frames.decode(bytes) })
    assert.same({ "E", id, 0, "" }, { frames.decode(frames.encode(frames.finish, id, 0)) })
  end)

  it("is none when it is too short or of no kind", function()
    assert.is_nil(frames.decode(""))
    assert.is_nil(frames.decode(("D" .. id):sub(1, 40)))
    assert.is_nil(frames.decode("{" .. id .. "\0\0\0\0"))
  end)
end)

describe("a flow", function()
  local sent, sender, receiver, confirmed

  before_each(function()
    testing.reset()
    sent, confirmed = {}, 0
    sender = flow.sender(function(kind, n, payload)
      table.insert(sent, { kind, n, payload })
      return true
    end)
    receiver = flow.receiver(function(n)
      confirmed = confirmed + n
      sender:confirm(n)
    end)
  end)

  local function deliver()
    while sent[1] do
      assert(receiver:push(unpack(table.remove(sent, 1))))
    end
  end

  it("brings a body over in pieces, and its end", function()
    local body = ("0123456789"):rep(20000)
    assert(sender:write(body))
    assert(sender:finish())
    deliver()
    local got = {}
    for piece in function() return receiver:read() end do
      assert.is_true(#piece <= frames.piece)
      table.insert(got, piece)
    end
    assert.equal(body, table.concat(got))
    assert.same({}, { receiver:read() })
  end)

  it("waits for the other side", function()
    local wrote
    sluice.spawn(function()
      wrote = sender:write(("x"):rep(10 * frames.credit))
    end)
    assert.equal(frames.credit / frames.piece, #sent)
    local n = 0
    sluice.spawn(function()
      for piece in function() return receiver:read() end do
        n = n + #piece
      end
    end)
    while sent[1] do
      deliver()
    end
    assert.is_true(wrote)
    assert.equal(10 * frames.credit, n)
    assert.is_true(confirmed >= 9 * frames.credit)
  end)

  it("ends when a piece is missing", function()
    sender:write("a")
    sender:write("b")
    sender:finish()
    assert(receiver:push(unpack(sent[1])))
    local ok, err = receiver:push(unpack(sent[3]))
    assert.is_nil(ok)
    assert.equal("a piece is missing", err)
    assert.same({ nil, "a piece is missing" }, { receiver:read() })
  end)

  it("holds no more than was agreed", function()
    local n = 0
    while receiver:push(frames.data, n, ("x"):rep(frames.piece)) do
      n = n + 1
      assert.is_true(n < 10)
    end
    assert.equal(frames.credit / frames.piece, n)
    assert.same({ nil, "more than was asked for" }, { receiver:read() })
    receiver = flow.receiver(function() end)
    assert.is_nil(receiver:push(frames.data, 0, ("x"):rep(frames.piece + 1)))
  end)

  it("believes no confirmation of what was never sent", function()
    sender:write("abc")
    assert.is_true(sender:confirm(3))
    assert.is_false(sender:confirm(1))
  end)

  it("tells both ends when it fails", function()
    local wrote, read
    sluice.spawn(function()
      wrote = { sender:write(("x"):rep(2 * frames.credit)) }
    end)
    sluice.spawn(function()
      read = { receiver:read() }
    end)
    sender:fail("the visitor is gone")
    receiver:fail("the client is gone")
    assert.same({ nil, "the visitor is gone" }, wrote)
    assert.same({ nil, "the client is gone" }, read)
    assert.same({ nil, "the visitor is gone" }, { sender:finish() })
  end)

  it("waits for a piece as long as it is told to", function()
    local read
    sluice.spawn(function()
      read = { receiver:read(5) }
    end)
    testing.clock():advance(6)
    assert.same({ nil, "timed out" }, read)
  end)
end)

describe("the fields of a request", function()
  local about = { ip = "192.0.2.7", scheme = "https", host = "x.tunnel.test:8443" }

  local function map(list, more)
    local all = setmetatable(more or {}, { __index = about })
    return headers.first_values(headers.of_request(list, all))
  end

  it("have their usual names and their first values", function()
    assert.same({
      ["Content-Type"] = "a/b", Accept = "1", ["X-Forwarded-For"] = "192.0.2.7",
      ["X-Forwarded-Proto"] = "https", ["X-Forwarded-Host"] = "x.tunnel.test:8443",
      Etag = "e", ["X-A1-B"] = "v",
    }, map { { "content-type", "a/b" }, { "ACCEPT", "1" }, { "accept", "2" }, { "eTag", "e" },
      { "x-a1-b", "v" } })
  end)

  it("are all there, in order, for a sluice", function()
    local list = headers.of_request({ { "cookie", "a=1" }, { "x", "1" }, { "cookie", "b=2" } },
      about)
    assert.same({ { "Cookie", "a=1" }, { "X", "1" }, { "Cookie", "b=2" } },
      { list[1], list[2], list[3] })
  end)

  it("are without those of the connection", function()
    local got = map { { "Connection", "close, X-Hop" }, { "x-hop", "1" }, { "te", "trailers" },
      { "Upgrade", "h2c" }, { "Keep-Alive", "1" }, { "Transfer-Encoding", "chunked" },
      { "Host", "evil" }, { "Expect", "100-continue" }, { "authorization", "Basic x" } }
    assert.equal("Basic x", got.Authorization)
    for _, name in ipairs { "Connection", "X-Hop", "Te", "Upgrade", "Keep-Alive",
      "Transfer-Encoding", "Host", "Expect" } do
      assert.is_nil(got[name], name)
    end
  end)

  it("say who the visitor is, and believe nobody else", function()
    local claims = { { "x-forwarded-for", "1.1.1.1" }, { "X-Forwarded-Proto", "gopher" },
      { "X-Forwarded-Host", "h" }, { "Forwarded", "for=1.1.1.1" }, { "X-Real-IP", "1.1.1.1" } }
    local got = map(claims)
    assert.equal("192.0.2.7", got["X-Forwarded-For"])
    assert.equal("https", got["X-Forwarded-Proto"])
    assert.is_nil(got.Forwarded)
    assert.is_nil(got["X-Real-Ip"])
    got = map(claims, { is_trusted = true })
    assert.equal("1.1.1.1, 192.0.2.7", got["X-Forwarded-For"])
    assert.equal("gopher", got["X-Forwarded-Proto"])
    assert.equal("h", got["X-Forwarded-Host"])
    assert.equal("for=1.1.1.1", got.Forwarded)
  end)

  it("of a WebSocket are without those of its handshake", function()
    assert.same({ Origin = "o", ["Sec-Websocket-Protocol"] = "chat",
      ["X-Forwarded-For"] = "192.0.2.7", ["X-Forwarded-Proto"] = "https",
      ["X-Forwarded-Host"] = about.host },
      map({ { "Origin", "o" }, { "Sec-WebSocket-Protocol", "chat" }, { "Sec-WebSocket-Key", "k" },
        { "Sec-WebSocket-Version", "13" }, { "Sec-WebSocket-Extensions", "x" },
        { "Connection", "keep-alive, Upgrade" }, { "Upgrade", "websocket" } },
        { is_websocket = true }))
  end)
end)

describe("the fields of an answer", function()
  local function sorted(list)
    list.length = nil
    table.sort(list, function(a, b) return a[1] .. a[2] < b[1] .. b[2] end)
    return list
  end

  it("are those of the document, without what frames the message", function()
    assert.same({ { "Content-Type", "a/b" }, { "Location", "/x" } },
      sorted(headers.of_response { headers = { ["Content-Type"] = "a/b", Location = "/x",
        Connection = "close", ["Keep-Alive"] = "timeout=5", ["Transfer-Encoding"] = "chunked",
        ["content-length"] = "99", Upgrade = "h2c" }, contentType = "c/d" }))
  end)

  it("have the length apart, when it is one", function()
    assert.equal("12", headers.of_response({ headers = { ["Content-Length"] = "12" } }).length)
    for _, text in ipairs { "", "-1", "1, 1", "0x1", " 1", ("9"):rep(16) } do
      assert.is_nil(headers.of_response({ headers = { ["Content-Length"] = text } }).length)
    end
  end)

  it("cannot break the message", function()
    assert.same({ { "A", "b  Set-Cookie: evil=1" } },
      headers.of_response { headers = { A = "b\r\nSet-Cookie: evil=1", ["B\r\nC"] = "d",
        [""] = "e", ["F G"] = "h" } })
  end)

  it("have the type that only the document says", function()
    assert.same({ { "Content-Type", "c/d" } }, headers.of_response { contentType = "c/d" })
    assert.same({}, headers.of_response { contentType = "" })
  end)

  it("may have several values between sluices", function()
    assert.same({ { "Set-Cookie", "a=1" }, { "Set-Cookie", "b=2" } },
      headers.of_response { headers = {}, sluice = { pairs = { { "Set-Cookie", "a=1" },
        { "Set-Cookie", "b=2" }, { "Connection", "x" }, { 1, 2 }, "x", { "only" } } } })
  end)

  it("of a target are without those of its connection", function()
    assert.same({ { "Set-Cookie", "a=1" }, { "Set-Cookie", "b=2" }, { "Content-Length", "3" } },
      headers.of_target { { "set-cookie", "a=1" }, { "connection", "x-y" }, { "x-y", "z" },
        { "set-cookie", "b=2" }, { "content-length", "3" }, { "keep-alive", "x" } })
  end)
end)

describe("a node", function()
  before_each(testing.reset)

  it("goes on after a message that it could not bear, and says that it was lost", function()
    local bus = memory.new()
    local one, got, lost = node.new(bus), {}, 0
    one:open()
    local visitor = one:new_id()
    one:add_visitor(visitor, {
      take = function(_, payload)
        assert(payload ~= "too much", "CPU budget used up")
        table.insert(got, payload)
      end,
      lost = function()
        lost = lost + 1
      end,
    })
    for _, payload in ipairs { "first", "too much", "last" } do
      bus:publish("/proxy/nodes/" .. one.id, "v" .. visitor .. payload)
    end
    assert.same({ "first", "last" }, got)
    assert.equal(1, lost)
  end)
end)
