local client = require "sluice.brickchain.client"
local frames = require "sluice.brickchain.frames"
local health = require "sluice.brickchain.client.health"
local identity = require "sluice.brickchain.client.identity"
local jws = require "sluice.jws"
local keyid = require "sluice.brickchain.keyid"
local messages = require "sluice.brickchain.messages"
local registration = require "sluice.brickchain.registration"
local settings = require "sluice.brickchain.client.settings"
local sluice = require "sluice"
local target = require "sluice.brickchain.client.target"
local testing = require "sluice.testing"
local wsflow = require "sluice.brickchain.wsflow"

local world = testing.world
local id = "d6491799-0000-4000-8000-000000000001"

local function read(env, args)
  return settings.read(function(name) return (env or {})[name] end, args or {})
end

local function logged(message)
  local n = 0
  for _, entry in ipairs(world.logged) do
    n = n + (entry.message == message and 1 or 0)
  end
  return n
end

local function last_logged()
  return world.logged[#world.logged]
end

describe("the settings of a client", function()
  it("are those of the original when nothing is said", function()
    local given = assert(read())
    assert.equal("https://proxy.svc.integrity.app", given.endpoint.text)
    assert.equal("http://localhost:8080", given.target.text)
    assert.equal("./proxy-client.pem", given.key)
    assert.is_nil(given.state)
    assert.is_true(given.local_verify)
  end)

  it("come from the environment, and rather from the command line", function()
    local given = assert(read({ PROXY_ENDPOINT = "http://a:1/", LOCAL = "https://b/c/" },
      { "--local", "http://d" }))
    assert.same({ "http", "a:1", "" },
      { given.endpoint.scheme, given.endpoint.authority, given.endpoint.path })
    assert.equal("http://d", given.target.text)
  end)

  it("are refused when they make no sense", function()
    for name, values in pairs {
      PROXY_ENDPOINT = { "a", "ftp://a", "https://a/b", "https://a?b", "https://", "https://u@a" },
      LOCAL = { "localhost:8080", "http://a b", "http://a#b", "http://user@a" },
      MAX_REQUESTS = { "0", "-1", "x", "1000000" },
      LOCAL_TIMEOUT = { "0", "100000" },
      LOCAL_VERIFY = { "maybe" },
    } do
      for _, value in ipairs(values) do
        local given, err = read { [name] = value }
        assert.is_nil(given, name .. "=" .. value)
        assert.truthy(err:find(name, 1, true), err)
      end
    end
  end)
end)

describe("a request for the local server", function()
  local base = { scheme = "http", authority = "a:1", path = "" }
  local folder = { scheme = "http", authority = "a:1", path = "/app" }

  local function url(doc, at)
    return target.url(at or base, "http", doc)
  end

  it("has the path as the visitor sent it when a sluice says so, else encoded again", function()
    assert.equal("http://a:1/a%2Fb?c=%20", url { query = "c=%20", sluice = { path = "/a%2Fb" } })
    assert.equal("http://a:1/a%20b%3Fc%23%C3%A4", url { url = "/a b?c#\195\164" })
    assert.equal("http://a:1/", url { url = "/", query = "" })
    assert.equal("http://a:1/app/x", url({ url = "/x" }, folder))
  end)

  it("is none when the path or the query is none", function()
    for _, doc in ipairs { {}, { url = "" }, { url = "x" }, { sluice = { path = "x" } },
      { sluice = { path = 7 }, url = "/" }, { sluice = { path = "/a b" } },
      { sluice = { path = "/a\r\nb" } }, { sluice = { path = "/a#b" } },
      { url = "/", query = "a b" }, { url = "/", query = "a\nb" } } do
      assert.is_nil((url(doc)))
    end
  end)

  it("does not leave the folder that is served", function()
    for _, path in ipairs { "/..", "/../x", "/a/../../x", "/%2e%2e/x", "/.%2E/x", "/a/.." } do
      assert.is_nil((url({ sluice = { path = path } }, folder)), path)
      assert.truthy((url { sluice = { path = path } }))
    end
    for _, path in ipairs { "/a..b", "/...", "/..a", "/." } do
      assert.truthy((url({ sluice = { path = path } }, folder)))
    end
  end)

  it("has all fields of a sluice, and no field that would break it", function()
    local list, length = target.headers({ sluice = { pairs = { { "Cookie", "a" }, { "Cookie", "b" },
      { "Content-Length", "5" }, { "Connection", "x-one" }, { "X-One", "1" }, { "Host", "h" },
      { "a b", "c" }, { "A", "b\r\nc" }, { 1, "x" }, { "X" }, "no",
      { "X", "y", "z" }, { "Te", "trailers" } } } })
    assert.same({ { "Cookie", "a" }, { "Cookie", "b" } }, list)
    assert.equal("5", length)
    list = target.headers({ headers = { Accept = "*/*" } }, "other")
    assert.same({ { "Accept", "*/*" }, { "Host", "other" } }, list)
  end)
end)

describe("who a client is", function()
  before_each(testing.reset)

  it("is made once and kept", function()
    local key = assert(identity.load "k.pem")
    assert.truthy(world.files["k.pem"])
    assert.equal(key:thumbprint(), assert(identity.load "k.pem"):thumbprint())
    assert.equal(1, #world.logged)
  end)

  it("is not guessed from a file that holds something else", function()
    world.files["k.pem"] = "something else"
    local key, err = identity.load "k.pem"
    assert.is_nil(key)
    assert.matches("^k.pem: ", err)
    world.files["k.pem"] = sluice.crypto.new_key():public_pem()
    key, err = identity.load "k.pem"
    assert.is_nil(key)
    assert.equal("k.pem: it is a public key", err)
    assert.is_nil((client.new(assert(read { KEY = "k.pem" }))))
  end)

  it("is said in a token that anybody can check", function()
    local key = sluice.crypto.new_key()
    local parsed = assert(jws.parse(identity.token(key, "https://a")))
    assert.is_true(jws.verify(parsed, key))
    local payload = sluice.json.decode(parsed.payload)
    assert.same({ "https://a", 60 }, { payload.uri, payload.ttl })
    assert.near(sluice.time(), messages.parse_timestamp(payload["@timestamp"]), 0.01)
  end)
end)

describe("what the log says of the local server", function()
  before_each(testing.reset)

  it("is one line when it goes, one a minute while it is away, and one when it is back", function()
    local clock, local_server = testing.clock(), health.new "http://a"
    local_server:good()
    for _ = 1, 119 do
      local_server:bad "connection refused"
      clock:advance(1)
    end
    assert.equal(2, logged "the local server does not answer")
    assert.equal(61, last_logged().fields.failed)
    local_server:good()
    local_server:good()
    assert.equal(1, logged "the local server answers again")
  end)
end)

describe("a ws-teardown", function()
  it("says what the WebSocket said, and nothing that nobody said", function()
    assert.same({ code = 4000, reason = "why" }, wsflow.goodbye(4000, "why", 1011))
    assert.same({ code = 1000 }, wsflow.goodbye(1000, "closed", 1011))
    assert.same({ code = 1011 }, wsflow.goodbye(1006, "connection reset", 1011))
  end)
end)

describe("a client", function()
  local clock, service, peers, running

  -- A server for each connection, which a spec leads.
  before_each(function()
    testing.reset()
    clock, peers, running = testing.clock(), {}, true
    world.websockets["ws://hub/proxy/subscribe"] = function(peer)
      table.insert(peers, peer)
    end
    service = assert(client.new(assert(read { PROXY_ENDPOINT = "http://hub", LOCAL = "http://app",
      STATE = "state", MAX_REQUESTS = "2" })))
    sluice.spawn(function()
      service:run()
      running = false
    end)
    clock:advance(0)
  end)

  local function newest()
    return peers[#peers]
  end

  local function say(text, kind)
    newest():send(text, kind)
    clock:advance(0)
  end

  -- The next document that the server gets.
  local function heard()
    local result
    sluice.spawn(function()
      result = { newest():receive(0.001) }
    end)
    clock:advance(0.002)
    if not result[1] then
      return nil, result[2]
    end
    local kind, doc = messages.decode(result[1])
    return kind or result[1], doc
  end

  local function register(hostname)
    local kind, doc = heard()
    assert.equal("registration-request", kind)
    say(messages.registration_response(doc.id, "kid", hostname or "kid.tunnel.test",
      { version = 1 }))
    return doc
  end

  local function request(of, more)
    return messages.http_request(of or id, { url = "/x", headers = {}, method = "GET", body = "" },
      more)
  end

  it("registers, and keeps its name", function()
    local doc = register()
    assert.same({ version = 1 }, doc.sluice)
    assert.equal("kid.tunnel.test", service.hostname)
    assert.equal('{"hostname":"kid.tunnel.test"}', world.files.state)
    local entry = last_logged()
    assert.equal("registered", entry.message)
    assert.equal("http://kid.tunnel.test/", entry.fields.url)
    local key_id = registration.accept(doc, { base = "http://hub", max_age = 60 })
    assert.is_true(keyid.is_valid(key_id))
  end)

  it("tells where it is when the server gives no host name", function()
    local _, doc = heard()
    say(('{"@type":"https://proxy.brickchain.com/v1/registration-response.json","@id":"%s",'
      .. '"keyID":"kid"}'):format(doc.id))
    assert.equal("http://hub/proxy/request/kid/", last_logged().fields.url)
  end)

  it("is not fooled by answers to others", function()
    heard()
    say(messages.registration_response(id, "kid", "kid.tunnel.test"))
    say(messages.ping)
    say "{}"
    assert.is_nil(service.hostname)
  end)

  it("says why it is refused, and tries again, later each time", function()
    local pauses = {}
    for i = 1, 8 do
      assert.equal("registration-request", (heard()))
      say "Token has expired\n"
      local entry = last_logged()
      assert.equal("cannot register", entry.message)
      assert.matches("^refused: Token has expired %(", entry.fields.error)
      pauses[i] = entry.fields.again_in
      local began, pause = clock:now(), math.min(2 ^ (i - 1), 30)
      while #peers == i do
        clock:advance(0.1)
      end
      assert.is_true(clock:now() - began >= pause * 0.5 - 0.01)
      assert.is_true(clock:now() - began <= pause * 1.5 + 0.11)
      assert.near(clock:now() - began, pauses[i], 0.21)
    end
  end)

  it("gives up a registration that is not answered, whatever else comes", function()
    heard()
    for _ = 1, 5 do
      clock:advance(3.9)
      say(messages.ping)
    end
    clock:advance(0.6)
    assert.equal("no answer to the registration", last_logged().fields.error)
  end)

  it("gives up a connection that is silent, not one with pings", function()
    register()
    for _ = 1, 6 do
      clock:advance(10)
      say(messages.ping)
    end
    assert.equal(0, logged "the connection to the server is lost")
    clock:advance(20)
    assert.equal(1, logged "the connection to the server is lost")
    assert.equal("nothing came for 20 s", last_logged().fields.error)
    assert.is_true(last_logged().fields.again_in <= 1.5)
    clock:advance(1.6)
    register()
    assert.equal(2, logged "registered")
  end)

  it("is soon back when the server starts again, not when it always does", function()
    for i = 1, 3 do
      register()
      clock:advance(5)
      newest():close(1012, "the server is starting again")
      clock:advance(0.16)
      assert.equal(i + 1, #peers)
    end
    local before, pause = #peers, 0.2
    for _ = 1, 5 do -- each lasts for a moment
      register()
      newest():close(1012, "the server is starting again")
      clock:advance(pause * 0.49)
      assert.equal(before, #peers)
      clock:advance(pause * 1.02)
      before, pause = before + 1, pause * 2
      assert.equal(before, #peers)
    end
  end)

  it("tries again when there is no server", function()
    local script = world.websockets["ws://hub/proxy/subscribe"]
    world.websockets["ws://hub/proxy/subscribe"] = nil
    newest():close(1001, "going")
    clock:advance(100)
    assert.equal("connection refused", last_logged().fields.error)
    world.websockets["ws://hub/proxy/subscribe"] = script
    clock:advance(46)
    assert.equal("registration-request", (heard()))
  end)

  describe("that is registered", function()
    local asked

    -- The local server: `asked` has the fetches; each waits for the event in it, and then gives
    -- what is in `response`.
    before_each(function()
      register()
      asked = {}
      testing.fake("fetch", function(url, options)
        local one = { url = url, options = options, go = sluice.event() }
        table.insert(asked, one)
        one.go:wait()
        return one.response, one.err
      end)
    end)

    local function response(body, fields)
      local piece = body
      return { status = 200, pairs = fields or {}, headers = {},
        read = function() local now = piece piece = nil return now end,
        close = function(self) self.is_closed = true end }
    end

    local function go(i, result, err)
      asked[i].response, asked[i].err = result, err
      asked[i].go:set()
      clock:advance(0)
    end

    it("asks the local server, and answers", function()
      say(request())
      assert.equal("http://app/x", asked[1].url)
      assert.equal("GET", asked[1].options.method)
      go(1, response("hello", { { "X", "1" } }))
      local kind, doc = heard()
      assert.equal("http-response", kind)
      assert.same({ id, 200, "hello", { X = "1" } },
        { doc.id, doc.status, sluice.crypto.unbase64(doc.body), doc.headers })
    end)

    it("takes an id once, and no id that is none", function()
      say(request())
      say(request())
      say(request(""))
      say(request(("x"):rep(129)))
      assert.equal(1, #asked)
    end)

    it("leaves what an original has kept too long, whatever the time is there", function()
      newest():close(1001, "going")
      clock:advance(1.6)
      local _, doc = heard()
      local shift = 100000
      local function at(seconds, of)
        local stamp = os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(sluice.time()) + shift + seconds)
        return (of:gsub('"@timestamp":"[^"]*"', '"@timestamp":"' .. stamp .. '"'))
      end
      say(at(0, messages.registration_response(doc.id, "kid", "kid.tunnel.test")))
      say(at(-32, request()))
      assert.equal(0, #asked)
      say(at(-28, request()))
      assert.equal(1, #asked)
      say(at(-32, request(id:sub(1, -2) .. "2", { path = "/x", pairs = sluice.json.array {} })))
      assert.equal(2, #asked) -- a sluice keeps none
    end)

    it("has no more at a time than it may, and says so", function()
      for i = 1, 4 do
        say(request(id:sub(1, -2) .. i))
      end
      assert.equal(2, #asked)
      for i = 3, 4 do
        local _, doc = heard()
        assert.same({ 503, id:sub(1, -2) .. i }, { doc.status, doc.id })
      end
      go(1, response "x")
      assert.equal(200, (select(2, heard())).status)
      say(request())
      assert.equal(3, #asked)
    end)

    it("ends what a visitor no longer wants", function()
      say(request(id, { path = "/x", pairs = sluice.json.array {} }))
      say(frames.encode(frames.abort, id, 0, "gone"), "binary")
      go(1, response "late")
      assert.is_nil((heard()))
      for i = 2, 3 do -- its place is free again
        say(request(id:sub(1, -2) .. i))
        assert.equal(i, #asked)
      end
    end)

    it("sends nothing of an old connection through a new one", function()
      say(request())
      newest():close(1001, "going")
      clock:advance(1.6)
      register()
      go(1, response "of the old one")
      assert.is_nil((heard()))
      for i = 2, 3 do
        say(request(id:sub(1, -2) .. i))
        assert.equal(i, #asked)
      end
    end)

    it("says what is wrong with the local server", function()
      say(request())
      go(1, nil, "connection refused")
      local _, doc = heard()
      assert.equal(502, doc.status)
      assert.equal("the local server does not answer: connection refused\n",
        sluice.crypto.unbase64(doc.body))
      say(request())
      go(2, nil, "timed out")
      assert.equal(504, (select(2, heard())).status)
    end)

    it("answers even what it did not think of", function()
      testing.fake("fetch", function() error "misuse" end)
      say(request())
      assert.equal(502, (select(2, heard())).status)
      assert.equal(1, logged "a request failed")
    end)

    it("answers a body of unknown length in pieces, with no more than was agreed", function()
      local n = 0
      say(request(id, { path = "/x", pairs = sluice.json.array {} }))
      local result = response()
      result.read = function()
        n = n + 1
        return ("x"):rep(65536)
      end
      go(1, result)
      assert.is_true((select(2, heard())).sluice.stream)
      clock:advance(1)
      assert.equal(5, n) -- four are under way, one waits
      say(frames.encode(frames.window, id, 65536), "binary")
      assert.equal(6, n)
      say(frames.encode(frames.window, id, 10000000), "binary") -- never sent
      assert.is_true(result.is_closed)
    end)

    it("says goodbye, and ends", function()
      sluice.spawn(service.close, service)
      clock:advance(0)
      assert.equal("disconnect", (heard()))
      clock:advance(1)
      assert.is_false(running)
    end)
  end)

  it("ends while it waits to connect again, too", function()
    newest():close(1001, "going")
    clock:advance(0)
    service:close()
    clock:advance(0)
    assert.is_false(running)
    clock:advance(100)
    assert.equal(1, #peers)
  end)

  it("does not wait for ever to say goodbye", function()
    register()
    local link = service._link
    link._ws.send = function()
      sluice.sleep(1000)
    end
    local closed = false
    sluice.spawn(function()
      service:close()
      closed = true
    end)
    clock:advance(2)
    assert.is_true(closed)
    assert.is_false(running)
  end)
end)
