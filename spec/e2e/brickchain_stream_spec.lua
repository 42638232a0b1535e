-- Bodies of any length through the tunneling proxy, with clients that know frames: those of a spec,
-- frame by frame; and the real one. SLUICE_BRICKCHAIN_MB says how long a body goes through both
-- sluices, 64 without it.

local brickchain = require "support.brickchain"
local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"

describe("a body through the tunneling proxy", function()
  local server, port, base, one, id
  local keep, stop_kept = brickchain.keeper()

  setup(function()
    port = sluice.free_port()
    base = "http://127.0.0.1:" .. port
    server = brickchain.server(port, { TIMEOUT = "2", RATE_LIMIT = "0", BASE = base })
  end)

  teardown(function()
    brickchain.remove_keys()
    assert.equal(0, server:stop())
  end)

  before_each(function()
    one = keep(brickchain.client(port, { sluice = { version = 1 }, base = base }))
  end)

  after_each(stop_kept)

  local function frame(kind, n, payload)
    return kind .. id .. string.char(math.floor(n / 2 ^ 24) % 256, math.floor(n / 65536) % 256,
      math.floor(n / 256) % 256, n % 256) .. (payload or "")
  end

  local function send(...)
    one:binary(frame(...))
  end

  -- The next frame: kind, number, payload.
  local function got()
    local bytes = one:got("binary").hex:gsub("%x%x", function(digits)
      return string.char(tonumber(digits, 16))
    end)
    assert.equal(id, bytes:sub(2, 37))
    local a, b, c, d = bytes:byte(38, 41)
    return bytes:sub(1, 1), ((a * 256 + b) * 256 + c) * 256 + d, bytes:sub(42)
  end

  local function expect()
    local request = one:expect "http-request"
    id = request["@id"]
    return request
  end

  local function visit(options)
    options.host = one.hostname
    return brickchain.visit(port, options)
  end

  -- Answers the head of a response whose body follows.
  local function respond(fields, status)
    one:document("http-response", { ["@id"] = id, status = status or 200,
      headers = {}, contentType = "", body = "",
      sluice = { stream = true, pairs = fields or { { "Content-Type", "text/plain" } } } })
  end

  it("is asked for with all that the visitor sent", function()
    local visitor = visit { path = "/a%2Fb?c", headers = { accept = "x" } }
    local request = expect()
    assert.equal("/a%2Fb", request.sluice.path)
    assert.equal("c", request.query)
    assert.is_nil(request.sluice.stream)
    local seen
    for _, field in ipairs(request.sluice.pairs) do
      seen = seen or field[1] == "Accept" and field[2]
    end
    assert.equal("x", seen)
    one:answer(request, { sluice = { pairs = { { "Set-Cookie", "a=1" }, { "Set-Cookie", "b=2" } } },
      body = "short" })
    local text = visitor.connection:receive "*a"
    assert.truthy(text:find("Set-Cookie: a=1\r\n", 1, true))
    assert.truthy(text:find("Set-Cookie: b=2\r\n", 1, true))
    assert.matches("\r\n\r\nshort$", text)
  end)

  it("comes down as it is sent, with no more than was agreed under way", function()
    local visitor = visit {}
    expect()
    respond()
    local connection = visitor.connection
    assert.matches("^HTTP/1.1 200", connection:receive "*l") -- before there is a body
    send("D", 0, "first")
    local text = ""
    while not text:find("first", 1, true) do
      text = text .. assert(connection:receive(1))
    end
    for n = 1, 8 do
      send("D", n, (string.char(64 + n)):rep(32768))
    end
    send("E", 9)
    local rest = connection:receive "*a"
    assert.truthy(rest:find(("H"):rep(32768), 1, true))
    assert.matches("0\r\n\r\n$", rest)
    local kind, n = got()
    assert.equal("W", kind)
    assert.is_true(n >= 65536)
  end)

  it("has its length when the client knows it", function()
    local visitor = visit {}
    expect()
    respond { { "Content-Length", "6" } }
    send("D", 0, "abc")
    send("D", 1, "def")
    send("E", 2)
    local response = visitor:response()
    assert.equal("6", response.headers["content-length"])
    assert.equal("abcdef", response.body)
  end)

  -- How the visitor's message ends: true when it is complete, chunked as it is.
  local function is_complete(visitor)
    local text, _, rest = visitor.connection:receive "*a"
    visitor:close()
    return (text or rest):find("\r\n0\r\n\r\n$") ~= nil
  end

  for name, spoil in pairs {
    ["a piece is missing"] = function() send("D", 2, "c") send("E", 3) end,
    ["a piece comes twice"] = function() send("D", 0, "a") send("E", 1) end,
    ["a piece is too long"] = function() send("D", 1, ("x"):rep(65537)) send("E", 2) end,
    ["the client gives up"] = function() send("X", 0, "origin gone") end,
    ["the client goes"] = function() one:abort() end,
  } do
    it("never looks complete when " .. name, function()
      local visitor = visit {}
      expect()
      respond()
      send("D", 0, "a")
      spoil()
      assert.is_false(is_complete(visitor))
    end)
  end

  it("does not fill the memory when the client sends without credit", function()
    local visitor = visit {}
    expect()
    respond()
    for n = 0, 127 do -- nobody reads
      send("D", n, ("x"):rep(65536))
    end
    repeat
      local kind = got()
    until kind == "X"
    visitor:close()
    assert.is_true(sluice.is_sanitized or sluice.memory_mib(server) < 60)
  end)

  it("ends at the client when the visitor goes", function()
    local visitor = visit {}
    expect()
    respond()
    send("D", 0, "a")
    assert(visitor.connection:receive "*l")
    visitor:close()
    local kind
    for n = 1, 50 do -- it shows when something is written
      send("D", n, ("x"):rep(1000))
      if n == 3 then
        kind = got()
        break
      end
    end
    assert.equal("X", kind)
  end)

  it("goes up as it comes, with no more than was agreed under way", function()
    local connection = assert(http.connect { port = port })
    connection:send(("POST /up HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n"
      .. "Connection: close\r\n\r\n"):format(one.hostname))
    local request = expect()
    assert.is_true(request.sluice.stream)
    assert.equal("", request.body)
    connection:send "5\r\nhello\r\n"
    assert.same({ "D", 0, "hello" }, { got() })
    connection:send "5\r\nworld\r\n0\r\n\r\n"
    assert.same({ "D", 1, "world" }, { got() })
    assert.same({ "E", 2, "" }, { got() })
    one:answer(request, { body = "thanks" })
    assert.matches("thanks", connection:receive "*a")
    connection:close()
  end)

  it("goes up in pieces when it is long, and waits for the client", function()
    local body = ("0123456789abcdef"):rep(65536) -- 1 MiB
    local visitor = visit { method = "PUT" }
    visitor:close()
    one:answer(expect(), {})
    local connection = assert(http.connect { port = port })
    connection:settimeout(0)
    local text = ("PUT / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n")
      :format(one.hostname, #body) .. body
    local sent = 0
    local function push()
      local last, _, part = connection:send(text, sent + 1)
      sent = last or part
    end
    push()
    local request
    repeat
      request = expect()
    until request.method == "PUT"
    local parts, unconfirmed, number = {}, 0, 0
    while true do
      local kind, n, payload = got()
      assert.equal(number, n)
      number = n + 1
      if kind == "E" then
        break
      end
      parts[#parts + 1], unconfirmed = payload, unconfirmed + #payload
      assert.is_true(unconfirmed < 262144 + 65536)
      if unconfirmed >= 131072 then
        send("W", unconfirmed)
        unconfirmed = 0
      end
      if sent < #text then
        push()
      end
    end
    assert.is_true(body == table.concat(parts))
    one:answer(request, { body = "got it" })
    connection:settimeout(10)
    assert.matches("got it", connection:receive "*a")
    connection:close()
  end)

  it("goes both ways at a time", function()
    local connection = assert(http.connect { port = port })
    connection:send(("POST /duplex HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n"
      .. "Connection: close\r\n\r\n"):format(one.hostname))
    expect()
    respond()
    assert.matches("^HTTP/1.1 200", connection:receive "*l")
    for n = 0, 4 do
      connection:send(("4\r\nup %d\r\n"):format(n))
      assert.same({ "D", n, "up " .. n }, { got() })
      send("D", n, "down " .. n)
      local text = ""
      while not text:find("down " .. n, 1, true) do
        text = text .. assert(connection:receive(1))
      end
    end
    connection:send "0\r\n\r\n"
    assert.same({ "E", 5, "" }, { got() })
    send("E", 5)
    assert.matches("0\r\n\r\n$", connection:receive "*a")
    connection:close()
  end)

  it("may be refused before it is all there", function()
    local connection = assert(http.connect { port = port })
    connection:send(("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 10000000\r\n\r\nabc")
      :format(one.hostname))
    local request = expect()
    one:answer(request, { status = 413, body = "too much" })
    assert.matches("^HTTP/1.1 413", connection:receive "*l")
    connection:close()
  end)

  it("ends at the client when the visitor breaks it off", function()
    local connection = assert(http.connect { port = port })
    connection:send(("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n\r\nabc")
      :format(one.hostname))
    expect()
    assert.same({ "D", 0, "abc" }, { got() })
    connection:close()
    assert.equal("X", (got()))
  end)

  it("may be long in coming: the answer's time begins after it", function()
    local connection = assert(http.connect { port = port })
    connection:send(("POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n")
      :format(one.hostname))
    local request = expect()
    for n = 0, 3 do
      connection:send "1\r\nx\r\n"
      assert.same({ "D", n, "x" }, { got() })
      require("socket").sleep(0.8) -- the server's TIMEOUT is 2 s
    end
    one:answer(request, {})
    assert.matches("^HTTP/1.1 200", connection:receive "*l")
    connection:close()
  end)

  describe("of many megabytes", function()
    local origin, client, hostname, folder

    setup(function()
      folder = os.tmpname()
      os.remove(folder)
      assert(os.execute("mkdir " .. folder))
      origin = process.start { "python3", "spec/support/transfer_origin.py" }
      local local_port = origin:wait_for("stdout", "^(%d+)$", sluice.patience)
      client = sluice.start { script = "scripts/brickchain-client.lua", workers = 1, env = {
        PROXY_ENDPOINT = "http://127.0.0.1:" .. port, LOCAL = "http://127.0.0.1:" .. local_port,
        KEY = folder .. "/key.pem", STATE = folder .. "/state" } }
      local ends = process.now() + sluice.patience
      while not hostname and process.now() < ends do
        local file = io.open(folder .. "/state")
        hostname = file and (dkjson.decode(file:read "*a") or {}).hostname
        if file then
          file:close()
        end
      end
    end)

    teardown(function()
      client:stop()
      origin:stop()
      os.execute("rm -r " .. folder)
    end)

    local megabytes = tonumber(os.getenv "SLUICE_BRICKCHAIN_MB")
      or sluice.is_sanitized and 16 or 64

    for _, way in ipairs { "down", "up" } do
      it("goes " .. way .. " between two sluices as it is, and is nowhere kept", function()
        local visitor = process.start { "python3", "spec/support/transfer_visitor.py", way,
          tostring(port), hostname, tostring(megabytes) }
        local code = visitor:wait(600)
        assert.equal(0, code, visitor:text "stderr")
        assert.equal("the hashes are equal", (visitor:text("stdout"):match "^[^\n]*"))
        for _, program in ipairs { server, client } do
          assert.is_true(sluice.is_sanitized or sluice.memory_mib(program) < 100)
        end
      end)
    end
  end)
end)
