-- What the proxy passes on without reading it: upgraded connections, TCP routes, TLS that is not
-- ended here; and PROXY headers and TLS on the way to a target.

local bit = require "bit"
local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local sluice = require "support.sluice"

local function numbers(n)
  local list = {}
  for i = 1, n do
    list[i] = ("%d\n"):format(i)
  end
  return table.concat(list)
end

local bulk = numbers(1000000) -- some 7 MB

local program, origin, port, open

local function begin()
  origin, port, open = peer.listen(), http.free_port(), {}
end

local function finish()
  for _, connection in ipairs(open) do
    connection:close()
  end
  origin:close()
  assert.equal(0, program:stop())
  assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
end

local function start(changes, limits, env)
  program = sluice.start { workers = 1, env = env, config = { limits = limits,
    routes = { sluice.route("app", port, origin.port, changes) } } }
end

local function connect(options)
  options = options or {}
  options.port = port
  local client = assert(peer.connect(options))
  table.insert(open, client)
  return client
end

local function accept()
  local inner = assert(origin:accept(), "the origin was not asked")
  table.insert(open, inner)
  return inner
end

-- Takes what comes, one side at a time, until n bytes have been both sent and received back: the
-- other end is an echo.
local function echo(client, inner, text)
  local piece = 200000
  for i = 1, #text, piece do
    local part = text:sub(i, i + piece - 1)
    assert.is_true(client:carry(part, inner) == part)
    assert.is_true(inner:carry(part, client) == part)
  end
end

describe("an upgraded connection", function()
  before_each(begin)
  after_each(finish)

  local upgrade = "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, Upgrade\r\n"
    .. "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
  local switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
    .. "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

  local function switch()
    local client = connect()
    client:send(upgrade)
    local inner = accept()
    inner:read()
    inner:send(switching)
    assert.equal(101, client:read().status)
    return client, inner
  end

  it("is agreed on by both ends", function()
    start()
    local client = connect()
    client:send(upgrade)
    local inner = accept()
    local head = inner:read()
    assert.equal("websocket", head.headers.upgrade)
    assert.equal("upgrade", head.headers.connection:lower())
    assert.equal("dGhlIHNhbXBsZSBub25jZQ==", head.headers["sec-websocket-key"])
    assert.is_nil(head.headers["content-length"])
    inner:send(switching)
    local answer = client:read()
    assert.equal("websocket", answer.headers.upgrade)
    assert.equal("upgrade", answer.headers.connection:lower())
    assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", answer.headers["sec-websocket-accept"])
  end)

  it("carries bytes both ways, also those that came with the heads", function()
    start()
    local client = connect()
    client:send(upgrade .. "early")
    local inner = accept()
    inner:read()
    inner:send(switching .. "first")
    client:read()
    assert.equal("first", client:receive(5))
    assert.equal("early", inner:receive(5))
    echo(client, inner, bulk:sub(1, 1000000))
  end)

  it("carries much to a side that is slow to read", function()
    start()
    local client, inner = switch()
    assert.is_true(client:carry(bulk, inner) == bulk)
    assert.is_true(inner:carry(bulk, client) == bulk)
  end)

  it("carries much both ways at a time", function()
    start()
    local client, inner = switch()
    -- Neither side reads until both have got rid of what the way between them holds.
    local flood = bulk:rep(8)
    local sent, answered = client:stuff(flood), inner:stuff(flood)
    assert.is_true(sent < #flood and answered < #flood, sent .. " " .. answered)
    assert.is_true(inner:carry("", client, answered) == flood:sub(1, answered))
    assert.is_true(client:carry(flood:sub(sent + 1), inner, #flood) == flood)
    assert.is_true(inner:carry(flood:sub(answered + 1), client) == flood:sub(answered + 1))
  end)

  it("passes the end of each side on", function()
    start()
    local client, inner = switch()
    client:send("bye")
    client:finish()
    assert.same({ "bye", "closed" }, { inner:read_all() })
    inner:send("good bye")
    inner:close()
    assert.same({ "good bye", "closed" }, { client:read_all() })
  end)

  it("passes a reset on", function()
    start()
    local client, inner = switch()
    client:reset()
    assert.equal("reset", select(2, inner:read_all()))
    client, inner = switch()
    inner:reset()
    assert.equal("reset", select(2, client:read_all()))
  end)

  it("ends when nothing moves", function()
    start(nil, { upgrade_timeout = 300 })
    local client, inner = switch()
    assert.is_not.equal("timeout", select(2, client:read_all()))
    assert.is_not.equal("timeout", select(2, inner:read_all()))
  end)

  it("is not begun when the target answers in another way", function()
    start()
    local client = connect()
    client:send(upgrade)
    local inner = accept()
    inner:read()
    inner:send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    local answer = client:read()
    assert.equal(403, answer.status)
    assert.equal("no", answer.body)
    client:send("GET / HTTP/1.1\r\nHost: app\r\n\r\n")
    assert.equal("GET / HTTP/1.1", inner:read().line)
  end)

  it("is refused by a route that says so", function()
    local target = { host = "127.0.0.1", port = origin.port }
    start { action = { type = "forward", targets = { target }, websocket = { enabled = false } } }
    local client = connect()
    client:send(upgrade)
    assert.equal(403, client:read().status)
  end)
end)

describe("a TCP route", function()
  before_each(begin)
  after_each(finish)

  local function raw()
    return { match = { ports = port, protocol = "tcp" } }
  end

  it("carries much both ways, with half-closes", function()
    start(raw())
    local client = connect()
    client:send("hello")
    local inner = accept()
    assert.equal("hello", inner:receive(5))
    assert.is_true(inner:carry(bulk, client) == bulk)
    assert.is_true(client:carry(bulk, inner) == bulk)
    client:finish()
    assert.same({ "", "closed" }, { inner:read_all() })
    inner:send("still here")
    inner:close()
    assert.same({ "still here", "closed" }, { client:read_all() })
  end)

  it("lets the target speak first", function()
    start(raw())
    local client = connect()
    accept():send("220 hello\r\n")
    assert.equal("220 hello\r\n", client:receive(11))
  end)

  it("closes the client when no target can be reached", function()
    start(raw())
    origin:close()
    local client = peer.connect { port = port } -- or is gone before we can look at it
    assert.is_not.equal("timeout", client and select(2, client:read_all()))
  end)

  it("passes a reset on", function()
    start(raw())
    local client = connect()
    local inner = accept()
    client:reset()
    assert.equal("reset", select(2, inner:read_all()))
  end)

  it("ends when nothing moves", function()
    start(raw(), { pipe_timeout = 300 })
    local client = connect()
    local inner = accept()
    assert.is_not.equal("timeout", select(2, client:read_all()))
    assert.is_not.equal("timeout", select(2, inner:read_all()))
  end)

  it("ends TLS when it is told to", function()
    local changes = raw()
    changes.action = { type = "forward", targets = { { host = "127.0.0.1", port = origin.port } },
      tls = { mode = "terminate", certificate = sluice.certificate("a.example") } }
    start(changes)
    local client = connect { tls = true, host = "a.example" }
    client:send("hello")
    local inner = accept()
    assert.equal("hello", inner:receive(5))
    inner:send("good bye")
    assert.equal("good bye", client:receive(8))
    inner:close()
    assert.equal("closed", select(2, client:read_all()))
  end)
end)

describe("a PROXY header", function()
  before_each(begin)
  after_each(finish)

  local get = "GET / HTTP/1.1\r\nHost: app\r\n\r\n"
  local v2_signature = "\r\n\r\n\0\r\nQUIT\n"

  local function v2(command, family, addresses)
    return v2_signature .. string.char(0x20 + command, family, bit.rshift(#addresses, 8),
      bit.band(#addresses, 255)) .. addresses
  end

  local ipv4 = "\203\0\113\9\198\51\100\1" .. "\19\136\0\80"
  local ipv6 = ("\32\1\13\184" .. ("\0"):rep(11) .. "\9"):rep(2) .. "\19\136\0\80"

  local function visitor_of(header, ...)
    local client = connect()
    for _, part in ipairs { header, ... } do
      client:send(part)
    end
    client:send(get)
    return accept():read().headers["x-forwarded-for"]
  end

  it("in front of a request names the visitor", function()
    start(nil, { accept_proxy = true, proxy_ips = { "127.0.0.1" } })
    assert.equal("203.0.113.9",
      visitor_of "PROXY TCP4 203.0.113.9 198.51.100.1 5000 80\r\n")
    assert.equal("2001:db8::9", visitor_of "PROXY TCP6 2001:db8::9 2001:db8::1 5000 80\r\n")
    assert.equal("203.0.113.9", visitor_of(v2(1, 0x11, ipv4)))
    assert.equal("2001:db8::9", visitor_of(v2(1, 0x21, ipv6)))
    assert.equal("203.0.113.9", visitor_of(v2(1, 0x11, ipv4 .. "\4\0\3abc"))) -- with a TLV
    assert.equal("203.0.113.9", visitor_of("PROXY TCP4 203.0.113.9 ", "198.51.100.1 5000 80\r",
      "\n"))
    assert.equal("127.0.0.1", visitor_of "PROXY UNKNOWN\r\n")
    assert.equal("127.0.0.1", visitor_of(v2(0, 0, ""))) -- LOCAL, a health check
  end)

  it("that is wrong ends the connection", function()
    start(nil, { accept_proxy = true, proxy_ips = { "127.0.0.1" } })
    for _, header in ipairs { "PROXY TCP4 203.0.113.9 198.51.100.1 5000\r\n", "PROXY TCP4 x\r\n",
      "PROXY TCP4 203.0.113.9 198.51.100.1 5000 70000\r\n", "PROXY " .. ("x"):rep(200), get,
      v2(2, 0x11, ipv4), v2(1, 0x11, "\1"), "\r\n\r\n\0\r\nQUIT\n\49\17\0\12" .. ipv4,
      v2(1, 0x11, ipv4 .. "\4\255\255") } do
      local client = connect()
      client:send(header)
      local said, how = client:read_all()
      assert.equal("", said)
      assert.is_not.equal("timeout", how, header)
    end
    assert.is_nil(origin:accept(0))
  end)

  it("from a peer that is not trusted is no request", function()
    start(nil, { accept_proxy = true, proxy_ips = { "10.0.0.1" } })
    local client = connect()
    client:send("PROXY TCP4 203.0.113.9 198.51.100.1 5000 80\r\n" .. get)
    assert.equal(400, client:read().status)
    assert.equal("127.0.0.1", visitor_of "")
  end)

  it("in front of TLS names the visitor", function()
    local target = { host = "127.0.0.1", port = origin.port }
    start({ action = { type = "forward", targets = { target },
      tls = { mode = "terminate", certificate = sluice.certificate("a.example") } } },
      { accept_proxy = true, proxy_ips = { "127.0.0.1" } })
    local raw = connect()
    raw:send(v2(1, 0x11, ipv4))
    raw:begin_tls("a.example")
    raw:send(get)
    assert.equal("203.0.113.9", accept():read().headers["x-forwarded-for"])
  end)

  it("goes to a target that wants one", function()
    local target = { host = "127.0.0.1", port = origin.port }
    start({ action = { type = "forward", targets = { target }, sendProxyProtocol = true } },
      { accept_proxy = true, proxy_ips = { "127.0.0.1" } })
    local client = connect()
    client:send("PROXY TCP4 203.0.113.9 198.51.100.1 5000 80\r\n" .. get)
    local inner = accept()
    local line = ("PROXY TCP4 203.0.113.9 198.51.100.1 5000 %d\r\n"):format(port)
    assert.equal(line, inner:receive(#line))
    assert.equal("GET / HTTP/1.1", inner:read().line)
    inner:send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client:read()
    client:send(get) -- each visitor needs a connection of its own, or it would be another's
    assert.equal("PROXY ", accept():receive(6))
  end)

  it("goes to the target of a TCP route", function()
    local target = { host = "127.0.0.1", port = origin.port }
    start { match = { ports = port, protocol = "tcp" },
      action = { type = "forward", targets = { target }, sendProxyProtocol = true } }
    local client = connect()
    client:send("hello")
    local _, own_port = client.socket:getsockname()
    local line = ("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello"):format(own_port, port)
    assert.equal(line, accept():receive(#line))
  end)
end)

describe("TLS", function()
  local secure, secure_port

  before_each(function()
    begin()
    secure, secure_port = sluice.origin("secure", sluice.certificate("localhost"))
  end)

  after_each(function()
    finish()
    secure:stop()
  end)

  local function tls_route(tls, host, domains)
    return { match = { ports = port, domains = domains }, action = { type = "forward", tls = tls,
      targets = { { host = host or "127.0.0.1", port = secure_port } } } }
  end

  local function get(host, headers)
    local response, err = http.request { port = port, tls = true, host = host, headers = headers }
    return response and response.status or err, response and dkjson.decode(response.body)
  end

  it("is passed through by its name, and others are ended here", function()
    local ended = tls_route({ mode = "terminate-and-reencrypt",
      certificate = sluice.certificate("a.example") }, nil, "a.example")
    ended.name = "ended"
    program = sluice.start { config = { routes = { ended,
      tls_route({ mode = "passthrough" }, nil, "localhost") } } }
    local function shown(name)
      local client = assert(http.connect { port = port, tls = true, host = name })
      local subject = client:getpeercertificate():subject()
      client:close()
      return subject[1].value
    end
    assert.equal("localhost", shown("LOCALHOST"))
    assert.equal("a.example", shown("a.example"))
    local status, seen = get("localhost")
    assert.equal(200, status)
    assert.is_nil(seen.headers["x-forwarded-for"])
    status, seen = get("a.example")
    assert.equal(200, status)
    assert.same({ "127.0.0.1" }, seen.headers["x-forwarded-for"])
    assert.is_nil((http.connect { port = port, tls = true, host = "other.example" }))
  end)

  it("to the target is checked when the route says so", function()
    local trusted = os.tmpname()
    finally(function() os.remove(trusted) end)
    sluice.write(trusted, sluice.certificate("localhost").cert)
    local function status(host, verify, env)
      if program and not program.code then
        program:stop()
      end
      start(tls_route({ mode = "terminate-and-reencrypt", verify = verify,
        certificate = sluice.certificate("a.example") }, host), nil, env)
      return (get("a.example"))
    end
    assert.equal(200, status("localhost", false))
    assert.equal(502, status("localhost", true))
    assert.matches("certificate", sluice.logged(program, "target failed").detail)
    local trust = { SSL_CERT_FILE = trusted }
    assert.equal(200, status("localhost", true, trust))
    assert.equal(502, status("127.0.0.1", true, trust)) -- not the name in the certificate
  end)
end)
