-- The server of the tunneling proxy: registrations, and HTTP in documents, with clients that follow
-- the recorded frames of the original and with clients that follow nothing.

local brickchain = require "support.brickchain"
local dkjson = require "dkjson"
local http = require "support.http"
local raw_websocket = require "support.raw_websocket"
local signal = require "posix.signal"
local sluice = require "support.sluice"

describe("the tunneling proxy", function()
  local server, port
  local keep, stop_kept = brickchain.keeper()

  setup(function()
    port = sluice.free_port()
    server = brickchain.server(port, { PING_SECONDS = "1", TIMEOUT = "2", RATE_LIMIT = "0" })
  end)

  teardown(function()
    brickchain.remove_keys()
    assert.equal(0, server:stop())
  end)

  after_each(stop_kept)

  local function connect()
    return keep(brickchain.connect(port))
  end

  local function client(options)
    return keep(brickchain.client(port, options))
  end

  local function visit(options)
    return brickchain.visit(port, options)
  end

  it("registers a client and gives it a host name", function()
    local one = connect()
    local key_id, answer = one:register { key = "one" }
    assert.equal(52, #key_id)
    assert.equal(key_id .. ".tunnel.test", answer.hostname)
    assert.is_nil(answer.sluice)
    assert.is_string(answer["@timestamp"])
  end)

  it("brings a request to it, and the answer back", function()
    local one = client()
    local visitor = visit { method = "POST", path = "/p%20q?x=1&y=%32", host = one.hostname,
      body = "hello=world", headers = { ["content-type"] = "a/b", ["X-Two"] = "2" } }
    local request = one:expect "http-request"
    assert.equal("POST", request.method)
    assert.equal("/p q", request.url)
    assert.equal("x=1&y=%32", request.query)
    assert.equal("hello=world", brickchain.bytes(request.body))
    assert.equal("a/b", request.headers["Content-Type"])
    assert.equal("2", request.headers["X-Two"])
    assert.equal("11", request.headers["Content-Length"])
    assert.equal("127.0.0.1", request.headers["X-Forwarded-For"])
    assert.equal("http", request.headers["X-Forwarded-Proto"])
    assert.equal(one.hostname, request.headers["X-Forwarded-Host"])
    assert.is_nil(request.headers.Host)
    one:answer(request, { status = 418, body = "short and stout",
      headers = { ["Content-Type"] = "text/tea", ["set-cookie"] = "a=1" } })
    local response = visitor:response()
    assert.equal(418, response.status)
    assert.equal("short and stout", response.body)
    assert.equal("text/tea", response.headers["content-type"])
    assert.equal("a=1", response.headers["set-cookie"])
  end)

  -- Sends a request, has the client answer it, and returns the response and the request.
  local function round_trip(one, options, answer)
    options.host = options.host or one.hostname
    local visitor = visit(options)
    local request = one:expect "http-request"
    one:answer(request, answer or {})
    return visitor:response(), request
  end

  describe("registers", function()
    for name, options in pairs {
      ["P-256"] = {},
      ["P-384"] = { algorithm = "P-384" },
      ["P-521"] = { algorithm = "P-521" },
      ["RSA with RS256"] = { algorithm = "RSA" },
      ["RSA with PS256"] = { algorithm = "RSA", alg = "PS256" },
    } do
      it("a key of " .. name, function()
        options.key = options.algorithm or "P-256"
        client(options)
      end)
    end

    it("flattened and general JSON, padded, with a key in the unprotected header", function()
      local ids = {}
      for _, form in ipairs { {}, { form = "flattened" }, { form = "general" },
        { padded = true }, { form = "flattened", padded = true, unprotected = true },
        { header = { typ = "JWT", kid = "me" } } } do
        local one = connect()
        form.payload = brickchain.payload(brickchain.base_url)
        one:document("registration-request", { ["@id"] = "x", mandateToken = one:token(form) })
        local answer = one:expect "registration-response"
        ids[answer.keyID] = true
        assert.equal("x", answer["@id"])
      end
      local id = next(ids)
      assert.same({ [id] = true }, ids)
    end)

    it("several keys and sessions on one WebSocket, each answered once", function()
      local one = connect()
      local first = one:register()
      local second = one:register { session = "sess1" }
      local third = one:register { key = "another" }
      assert.is_true(first ~= second and second ~= third and first ~= third)
      for _, id in ipairs { first, second, third } do
        assert.equal(200, round_trip(one, { host = id .. ".tunnel.test" }).status)
      end
    end)

    it("the token of a URL below the base, and no other's", function()
      for _, case in ipairs { { "", true }, { "/", true }, { "/x", true }, { "?x", true },
        { "1", false }, { ".evil.test", false }, { "@evil.test", false } } do
        local one = connect()
        one:document("registration-request", { ["@id"] = "x", mandateToken = one:token {
          payload = brickchain.payload(brickchain.base_url .. case[1]) } })
        if case[2] then
          one:expect "registration-response"
        else
          assert.equal("Token not for this endpoint", one:got("text").text)
        end
      end
    end)
  end)

  it("is served over TLS with a certificate for all names", function()
    local pair, secure, plain = sluice.certificate "*.tunnel.test", sluice.free_port(),
      sluice.free_port()
    local files = { os.tmpname(), os.tmpname() }
    sluice.write(files[1], pair.cert)
    sluice.write(files[2], pair.key)
    local own = brickchain.server(plain, { TLS_ADDR = ":" .. secure, TLS_CERT = files[1],
      TLS_KEY = files[2] })
    finally(function()
      own:stop()
      os.remove(files[1])
      os.remove(files[2])
    end)
    local one = keep(brickchain.client(plain))
    local options = { port = secure, tls = true, host = one.hostname }
    local connection = assert(http.connect(options))
    connection:send(http.request_text(options))
    local request = one:expect "http-request"
    assert.equal("https", request.headers["X-Forwarded-Proto"])
    one:answer(request, { body = "secret" })
    assert.matches("secret$", connection:receive "*a")
    connection:close()
  end)

  it("has its clients come again when the script is replaced", function()
    local alone = sluice.free_port()
    local own = brickchain.server(alone, {})
    finally(function()
      own:stop()
    end)
    local one = keep(brickchain.client(alone))
    own:kill(signal.SIGHUP)
    assert.equal(1012, one:got("close").code)
    one = keep(brickchain.client(alone))
    local visitor = brickchain.visit(alone, { host = one.hostname })
    one:answer(one:expect "http-request", {})
    assert.equal(200, visitor:response().status)
  end)

  it("lets only so many requests come in a time", function()
    local alone = sluice.free_port()
    local own = brickchain.server(alone, { RATE_LIMIT = "2" })
    finally(function()
      own:stop()
    end)
    local one = keep(brickchain.client(alone))
    for _ = 1, 2 do
      local visitor = brickchain.visit(alone, { host = one.hostname })
      one:answer(one:expect "http-request", {})
      assert.equal(200, visitor:response().status)
    end
    local response = brickchain.visit(alone, { host = one.hostname }):response()
    assert.equal(429, response.status)
    assert.equal("Too many requests\n", response.body)
    local wait = tonumber(response.headers["retry-after"])
    assert.is_true(wait > 200 and wait <= 300)
  end)

  it("knows what real clients have signed", function()
    local code, out, err = sluice.run { "run", "spec/fixtures/library/brickchain.lua",
      "--workers", "1", "--no-supervisor" }
    assert.equal(0, code, out .. err)
    assert.matches("4 cases, 0 failed\n$", out)
  end)

  describe("refuses", function()
    local old = brickchain.timestamp(-61)
    local base = brickchain.base_url
    local cases = {
      ["no token"] = { text = "", expected = "^failed to unmarshal JWS: " },
      ["what is no JWS"] = { text = "hello", expected = "^failed to unmarshal JWS: " },
      ["a JWS without a key"] = { jwk = { kty = dkjson.null }, no_jwk = true,
        expected = "^no jwk in token$" },
      ["the algorithm none"] = { alg = "none", sign_alg = "ES256",
        expected = "^failed to unmarshal JWS: " },
      ["an HMAC"] = { alg = "HS256", sign_alg = "ES256",
        expected = "^failed to unmarshal JWS: " },
      ["a symmetric key"] = { jwk = { kty = "oct", k = "AAAA" },
        expected = "^failed to unmarshal JWS: " },
      ["a private key"] = { jwk = { d = "AAAA" }, expected = "^failed to unmarshal JWS: " },
      ["critical headers"] = { header = { crit = { "exp" } },
        expected = "^failed to unmarshal JWS: " },
      ["a point that is not on the curve"] = { jwk = { x = ("A"):rep(43) },
        expected = "^failed to unmarshal JWS: " },
      ["two signatures"] = { form = "general", signatures = 2,
        expected = "^failed to unmarshal JWS: " },
      ["a signature that does not fit"] = { tamper = true, expected = "^failed to verify token: " },
      ["an algorithm that does not fit the key"] = { alg = "ES384", sign_alg = "ES256",
        expected = "^failed to verify token: " },
      ["a payload that is not JSON"] = { payload = "hello",
        expected = "^failed to unmarshal token: " },
      ["a payload with a malformed time"] = {
        payload = brickchain.payload(base, { ["@timestamp"] = "now" }),
        expected = "^failed to unmarshal token: " },
      ["an old token"] = { payload = brickchain.payload(base, { ["@timestamp"] = old }),
        expected = "^Token has expired$" },
      ["a token without a time"] = { payload = brickchain.payload(base,
        { ["@timestamp"] = false }), expected = "^Token has expired$" },
      ["a token without a lifetime"] = { payload = brickchain.payload(base, { ttl = 0 }),
        expected = "^Token has expired$" },
      ["a token for somebody else"] = { payload = brickchain.payload "http://else.test",
        expected = "^Token not for this endpoint$" },
      ["a token for nobody"] = { payload = brickchain.payload(base, { uri = false }),
        expected = "^Token not for this endpoint$" },
      ["an old token for somebody else, because it is old"] = {
        payload = brickchain.payload("http://else.test", { ["@timestamp"] = old }),
        expected = "^Token has expired$" },
    }

    for name, case in pairs(cases) do
      it(name .. ", with the words of the original, and hangs up", function()
        local one = connect()
        local token = case.text
        if not token then
          token = one:token { payload = case.payload or brickchain.payload(base), alg = case.alg,
            sign_alg = case.sign_alg, form = case.form, signatures = case.signatures,
            jwk = not case.no_jwk and case.jwk or nil,
            header = case.no_jwk and { jwk = dkjson.null } or case.header }
          if case.tamper then
            token = token:gsub("%.(.)([^.]*)$", function(first, rest)
              return "." .. (first == "A" and "B" or "A") .. rest
            end)
          end
        end
        one:document("registration-request", { ["@id"] = "x", mandateToken = token })
        assert.matches(case.expected, one:got("text").text)
        assert.equal(1008, one:got("close").code)
      end)
    end
  end)

  describe("keeps the rules that clients depend on:", function()
    it("a ping at least every interval, byte for byte", function()
      local one = client()
      local _, text = one:expect "ping"
      assert.equal('{"@type":"https://proxy.brickchain.com/v1/ping.json"}\n', text)
      one:expect "ping"
    end)

    it("headers are strings, with canonical names, and are always there", function()
      local one = client()
      local _, request = round_trip(one, { path = "/x", headers = { ["ORIGIN"] = "o" } })
      assert.equal("o", request.headers.Origin)
      for _, value in pairs(request.headers) do
        assert.is_string(value)
      end
    end)

    it("the path begins with a slash", function()
      local one = client()
      local _, request = round_trip(one, { path = "/proxy/request/" .. one.key_id, host = "h" })
      assert.equal("/", request.url)
      assert.equal(400, visit({ method = "OPTIONS", path = "*", host = one.hostname })
        :response().status)
    end)

    it("nothing that was not asked for comes to a client", function()
      local one = client()
      for _, text in ipairs { "", "hello", "{", "[]", '{"@type":"x"}',
        '{"@type":"https://proxy.brickchain.com/v1/ping.json#x"}' } do
        one:text(text)
      end
      assert.equal(200, round_trip(one, {}).status)
    end)
  end)

  describe("finds the client", function()
    it("by its host, with a port and in any case", function()
      local one = client()
      for _, host in ipairs { one.hostname:upper(), one.hostname .. ":8443",
        one.hostname .. "." } do
        assert.equal(200, round_trip(one, { host = host }).status)
      end
    end)

    it("by a path", function()
      local one = client()
      local _, request = round_trip(one, { host = "127.0.0.1",
        path = "/proxy/request/" .. one.key_id .. "/a/b?c=d" })
      assert.equal("/a/b", request.url)
      assert.equal("c=d", request.query)
    end)

    it("and says 502 where there is none", function()
      local text = "failed to get client: failed to get client from cache: Key not found\n"
      for _, options in ipairs { { host = ("a"):rep(52) .. ".tunnel.test" },
        { host = "x.tunnel.test" }, { host = "a.b.tunnel.test" },
        { path = "/proxy/request/" .. ("b"):rep(52) .. "/" }, { path = "/proxy/request/" } } do
        local response = visit(options):response()
        assert.equal(502, response.status)
        assert.equal(text, response.body)
        assert.equal("nosniff", response.headers["x-content-type-options"])
      end
    end)

    it("and has an answer of its own for the rest", function()
      local response = visit({ host = "tunnel.test" }):response()
      assert.equal(200, response.status)
      assert.matches("^proxy%-server/%d", response.body)
      response = visit({ path = "/else" }):response()
      assert.equal(404, response.status)
      assert.equal("404 page not found\n", response.body)
      response = visit({ path = "/proxy/subscribe" }):response()
      assert.equal(400, response.status)
      assert.equal("13", response.headers["sec-websocket-version"])
    end)

    it("and answers the upgrade as the original does", function()
      local one = keep(brickchain.peer()):connect("ws://127.0.0.1:" .. port .. "/proxy/subscribe",
        { origin = "http://o.test" })
      local open = one:got "open"
      assert.equal("http://o.test", open.headers["access-control-allow-origin"]
        or open.headers["Access-Control-Allow-Origin"])
    end)
  end)

  describe("has an answer when the client has none:", function()
    it("504 when it is silent", function()
      local one = client()
      local visitor = visit { host = one.hostname }
      local request = one:expect "http-request"
      local response = visitor:response()
      assert.equal(504, response.status)
      assert.equal("timeout\n", response.body)
      one:answer(request, { body = "too late" })
      assert.equal(200, round_trip(one, {}).status)
    end)

    it("502 at once when it goes while it is asked, and after that", function()
      local one = client { key = "goes" }
      local visitor = visit { host = one.hostname }
      one:expect "http-request"
      one:abort()
      local response = visitor:response()
      assert.equal(502, response.status)
      assert.equal("the client is gone\n", response.body)
      assert.equal(502, visit({ host = one.hostname }):response().status)
    end)

    it("502 after its goodbye, and nothing is kept for when it comes back", function()
      local one = client { key = "back" }
      one:document("disconnect", { ["@id"] = "bye" })
      assert.equal(1000, one:got("close").code)
      assert.equal(502, visit({ host = one.hostname, path = "/stale" }):response().status)
      one = client { key = "back" }
      local _, request = round_trip(one, { path = "/fresh" })
      assert.equal("/fresh", request.url)
    end)

    it("500 for a body that is not base64", function()
      local one = client()
      for _, text in ipairs { "%%%", "a-_b", "abc" } do
        local response = round_trip(one, {}, { base64 = text })
        assert.equal(500, response.status)
        assert.matches("^failed to decode response body: ", response.body)
      end
    end)

    it("502 for statuses that are none", function()
      local one = client()
      for _, status in ipairs { 0, 99, 101, 600, 1000, -1, 200.5 } do
        assert.equal(502, round_trip(one, {}, { status = status }).status)
      end
    end)

    it("502 at once for a document that is too long", function()
      local one = client()
      local response = round_trip(one, {}, { body = ("x"):rep(400000) })
      assert.equal(502, response.status)
      response = round_trip(one, {}, { body = ("x"):rep(380000) })
      assert.equal(200, response.status)
      assert.equal(380000, #response.body)
    end)

    it("413 for a request body that is too long, which the client does not get to see", function()
      local one = client()
      local response = visit({ method = "POST", host = one.hostname, body = ("x"):rep(512001) })
        :response()
      assert.equal(413, response.status)
      local visitor = visit { method = "POST", host = one.hostname, body = ("x"):rep(512000) }
      local request = one:expect "http-request"
      assert.equal(512000, #brickchain.bytes(request.body))
      one:answer(request, {})
      assert.equal(200, visitor:response().status)
    end)
  end)

  describe("passes on", function()
    it("all methods", function()
      local one = client()
      for _, method in ipairs { "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND" } do
        local response, request = round_trip(one, { method = method })
        assert.equal(method, request.method)
        assert.equal(200, response.status)
      end
      local response, request = round_trip(one, { method = "HEAD" },
        { headers = { ["Content-Length"] = "12345" } })
      assert.equal("HEAD", request.method)
      assert.equal("12345", response.headers["content-length"])
    end)

    it("paths, decoded once, with all that is odd in them", function()
      local one = client()
      for path, url in pairs { ["/a%20b"] = "/a b", ["/a%2Fb%3Fq%25"] = "/a/b?q%",
        ["/a/./b/../c"] = "/a/./b/../c", ["//x"] = "//x", ["/%C3%A4"] = "/\195\164" } do
        local _, request = round_trip(one, { path = path })
        assert.equal(url, request.url)
      end
    end)

    it("204 and redirects as they are", function()
      local one = client()
      local response = round_trip(one, {}, { status = 204, body = "none of this" })
      assert.equal(204, response.status)
      assert.equal("", response.body)
      response = round_trip(one, {}, { status = 302, headers = { Location = "/there" } })
      assert.equal("/there", response.headers.location)
    end)

    it("no header that would break the message", function()
      local one = client()
      local response = round_trip(one, {}, { body = "whole", headers = {
        ["Content-Type"] = "a/b", ["Content-Length"] = "3", ["Transfer-Encoding"] = "chunked",
        Connection = "keep-alive", ["Keep-Alive"] = "timeout=1", ["X-Split"] = "a\r\nX-Evil: 1",
        ["Bad Name"] = "x" } })
      assert.equal("whole", response.body)
      assert.equal("a  X-Evil: 1", response.headers["x-split"])
      assert.is_nil(response.headers["x-evil"])
      assert.is_nil(response.headers["transfer-encoding"])
      assert.is_nil(response.headers["keep-alive"])
    end)
  end)

  describe("lets no client harm another:", function()
    it("only who was asked may answer, and once", function()
      local one, other = client(), client { key = "other" }
      local visitor = visit { host = one.hostname }
      local request = one:expect "http-request"
      other:answer(request, { body = "forged" })
      other:text "[]" -- what follows on the same connection was read after it
      assert.equal(200, round_trip(other, {}).status)
      one:answer(request, { body = "true" })
      one:answer(request, { body = "again" })
      assert.equal("true", visitor:response().body)
      assert.equal(200, round_trip(one, {}).status)
    end)

    it("nor may anybody who is not registered", function()
      local one, stranger = client(), connect()
      local visitor = visit { host = one.hostname }
      local request = one:expect "http-request"
      stranger:answer(request, { body = "forged" })
      stranger:register { key = "stranger" }
      one:answer(request, { body = "true" })
      assert.equal("true", visitor:response().body)
    end)

    it("who goes on answering nothing is cut off", function()
      local one, other = client(), client { key = "other" }
      for i = 1, 100 do
        other:answer({ ["@id"] = "made up " .. i }, {})
      end
      assert.equal(1008, other:got("close").code)
      assert.equal(200, round_trip(one, {}).status)
    end)

    it("garbage and long messages are its own trouble", function()
      local one, other = client(), client { key = "other" }
      other:binary(("\255"):rep(1000))
      other:text(("["):rep(100000))
      other:text(("x"):rep(3 * 1024 * 1024))
      assert.equal(200, round_trip(other, {}).status)
      other:text(("x"):rep(5 * 1024 * 1024))
      assert.equal(1009, other:got("close").code)
      assert.equal(200, round_trip(one, {}).status)
    end)

    it("who does not read fills no memory, and others go on", function()
      local one = client()
      local token = one:token { key = brickchain.key "deaf",
        payload = brickchain.payload(brickchain.base_url) }
      local deaf = assert(http.connect { port = port })
      deaf:send("GET /proxy/subscribe HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: "
        .. "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        .. "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
      repeat
        local line = deaf:receive "*l"
      until line == ""
      deaf:send(raw_websocket.frame(dkjson.encode {
        ["@type"] = brickchain.base .. "registration-request.json", ["@id"] = "x",
        mandateToken = token }, { mask = true }))
      local text = ""
      while not text:find('"hostname":"[^"]+"') do
        text = text .. assert(deaf:receive(1))
      end
      local host = text:match('"hostname":"([^"]+)"')
      local visitors, body = {}, ("x"):rep(500000)
      for i = 1, 100 do
        visitors[i] = visit { method = "POST", host = host, body = body }
      end
      local refused = visitors[100]:response().status
      assert.is_true(refused == 503 or (sluice.is_sanitized and refused == 504), refused)
      for i = 1, sluice.is_sanitized and 99 or 0 do -- a slow program is still busy with these
        visitors[i]:response()
      end
      assert.equal(200, round_trip(one, {}).status)
      deaf:close()
      for _, visitor in ipairs(visitors) do
        visitor:close()
      end
    end)

    it("two with the same key take turns, and are not mixed up", function()
      local alone = sluice.free_port() -- one worker: what others have given is not counted
      local single = brickchain.server(alone, nil, { workers = 1 })
      finally(function()
        single:stop()
      end)
      local pair = { keep(brickchain.client(alone)), keep(brickchain.client(alone)) }
      local host = pair[1].hostname
      assert.equal(host, pair[2].hostname)
      for i = 1, 2 do
        local visitors = {}
        for j = 1, 2 do
          visitors[j] = brickchain.visit(alone, { host = host, path = ("/%d/%d"):format(i, j) })
        end
        for _, peer in ipairs(pair) do
          local request = peer:expect "http-request"
          peer:answer(request, { body = request.url })
        end
        for j = 1, 2 do
          assert.equal(("/%d/%d"):format(i, j), visitors[j]:response().body)
        end
      end
      pair[2]:abort()
      assert.equal(1006, pair[2]:got("close").code)
      for _ = 1, 3 do
        local visitor = brickchain.visit(alone, { host = host })
        pair[1]:answer(pair[1]:expect "http-request", {})
        assert.equal(200, visitor:response().status)
      end
    end)
  end)
end)
