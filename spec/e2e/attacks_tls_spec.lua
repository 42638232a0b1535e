-- Group T of the attacks, as far as it is about HTTP/1 over TLS: names that disagree, tickets,
-- odd ClientHellos, renegotiation, plain HTTP on the TLS port.

local bit = require "bit"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"
local stat = require "posix.sys.stat"

describe("TLS:", function()
  local program, origin, port

  local function tls_route(name, domains, target_port, extra)
    local route = sluice.route(name, port, target_port,
      { match = { ports = port, domains = domains }, headers = { request = { ["x-route"] = name } },
        security = extra })
    route.action.tls = { mode = "terminate", certificate = sluice.certificate(name) }
    return route
  end

  setup(function()
    local origin_port
    origin, origin_port = sluice.origin("app")
    port = http.free_port()
    program = sluice.start { config = { routes = {
      tls_route("a.example", "a.example", origin_port),
      tls_route("b.example", "b.example", origin_port,
        { basicAuth = { users = { { username = "u", password = "p" } } } }),
      tls_route("wild.example", "*.wild.example", origin_port),
    } } }
  end)

  teardown(function()
    assert.equal(0, program:stop())
    origin:stop()
    assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
  end)

  -- A request for `host` on a connection whose handshake was for `sni`.
  local function ask(sni, host)
    local client = assert(peer.connect { port = port, tls = true, host = sni })
    client:send(("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(host))
    local response = client:read()
    client:close()
    return response.status, response.body:match('"x%-route": %["([^"]*)"')
  end

  local function is_served()
    local status, route = ask("a.example", "a.example")
    assert.equal(200, status)
    assert.equal("a.example", route)
  end

  it("T-01 a request for another host than that of the handshake gets 421", function()
    assert.equal(421, (ask("a.example", "b.example")))
    assert.equal(421, (ask("b.example", "a.example")))
    assert.equal(421, (ask("a.example", "x.wild.example")))
    is_served()
  end)

  it("T-01 without a name in the handshake nothing is guessed", function()
    local client = peer.connect { port = port, tls = true }
    assert.is_nil(client)
    is_served()
  end)

  it("T-02 a name is the same in upper case, with a dot at the end, with the port", function()
    for _, pair in ipairs {
      { "A.eXample.COM", "a.example", false }, { "A.eXAmple", "a.example", true },
      { "a.example", "A.EXAMPLE", true }, { "a.example.", "a.example", true },
      { "a.example", "a.example.", true }, { "a.example", "a.example:" .. port, true },
      { "A.EXAMPLE.", "A.example.:443", true },
    } do
      local sni, host, is_known = unpack(pair)
      if is_known then
        local status, route = ask(sni, host)
        assert.equal(200, status, sni .. " " .. host)
        assert.equal("a.example", route)
      else
        assert.is_nil((peer.connect { port = port, tls = true, host = sni }), sni)
      end
    end
  end)

  it("T-02 the policy of a route holds for every way to write its name", function()
    for _, name in ipairs { "b.example", "B.EXAMPLE", "b.example.", "B.Example." } do
      assert.equal(401, (ask(name, name)), name)
    end
  end)

  it("T-02 a wildcard is for names below it alone", function()
    for _, name in ipairs { "x.wild.example", "X.Wild.Example", "x.y.wild.example." } do
      assert.same({ 200, "wild.example" }, { ask(name, name) }, name)
    end
    for _, name in ipairs { "wild.example", "xwild.example", "x.wild.example.evil" } do
      assert.is_nil((peer.connect { port = port, tls = true, host = name }), name)
    end
  end)

  -- Runs `openssl s_client`; what talk() writes is its input, each piece a command of its own.
  local function s_client(words, talk)
    local fifo = os.tmpname()
    os.remove(fifo)
    assert(stat.mkfifo(fifo))
    local child = process.start { "sh", "-c", ("exec timeout 60 openssl s_client -connect "
      .. "127.0.0.1:%d -servername %s <%s 2>&1"):format(port, words, fifo) }
    local input = assert(io.open(fifo, "w"))
    input:setvbuf("no")
    os.remove(fifo)
    talk(child, input)
    input:close()
    child:wait(sluice.patience)
    return child:text("stdout")
  end

  local function say(text)
    return function(_, input)
      input:write(text)
    end
  end

  local function get(host)
    return ("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(host)
  end

  for _, version in ipairs { "tls1_2", "tls1_3" } do
    it("T-04 a ticket is good for its own host alone: " .. version, function()
      local session = os.tmpname()
      finally(function() os.remove(session) end)
      local first = s_client(("a.example -%s -ign_eof -sess_out %s"):format(version, session),
        say(get("a.example")))
      assert.matches("\nNew, TLSv1", first)
      assert.matches('"origin": "app"', first)
      for _ = 1, 4 do -- whichever worker takes it
        local again = s_client(("a.example -%s -ign_eof -sess_in %s"):format(version, session),
          say(get("a.example")))
        assert.matches("\nReused, TLSv1", again)
        assert.matches('"origin": "app"', again)
      end
      local other = s_client(("b.example -%s -ign_eof -sess_in %s"):format(version, session),
        say(get("a.example")))
      assert.is_nil(other:find("Reused, ", 1, true))
      assert.is_nil(other:find('"origin"', 1, true))
    end)
  end

  -- The ClientHello that a client sends with these options, without its record header.
  local function client_hello(...)
    local listener = peer.listen()
    local child = process.start { "openssl", "s_client", "-connect", "127.0.0.1:" .. listener.port,
      ... }
    local inner = listener:accept()
    local header = inner:receive(5)
    local hello = inner:receive(header:byte(4) * 256 + header:byte(5))
    inner:close()
    child:wait(sluice.patience)
    listener:close()
    return hello
  end

  local function u16(n)
    return string.char(bit.rshift(n, 8), bit.band(n, 255))
  end

  local function record(bytes)
    return "\22\3\1" .. u16(#bytes) .. bytes
  end

  local function records(bytes, size)
    local list = {}
    for i = 1, #bytes, size do
      table.insert(list, record(bytes:sub(i, i + size - 1)))
    end
    return table.concat(list)
  end

  -- Puts an extension behind those that are there.
  local function with_extension(hello, number, body)
    local at = 4 + 2 + 32 + 1
    at = at + 1 + hello:byte(at)                                       -- session id
    at = at + 2 + hello:byte(at) * 256 + hello:byte(at + 1)            -- cipher suites
    at = at + 1 + hello:byte(at)                                       -- compression methods
    local extensions = hello:sub(at + 2) .. u16(number) .. u16(#body) .. body
    local rest = hello:sub(5, at - 1) .. u16(#extensions) .. extensions
    return "\1\0" .. u16(#rest) .. rest
  end

  -- The type of the first record that comes back, and of an alert its number.
  local function answer(bytes)
    local client = assert(peer.connect { port = port })
    client:send(bytes)
    local header = client:receive(5)
    local body = client:receive(header:byte(4) * 256 + header:byte(5))
    client:close()
    return header:byte(1), header:byte(1) == 21 and body:byte(2) or nil
  end

  local handshake, alert = 22, 21

  it("T-07 a ClientHello may come in records of one byte", function()
    local hello = client_hello("-servername", "a.example")
    assert.equal(handshake, (answer(record(hello))))
    assert.equal(handshake, (answer(records(hello, 1))))
    assert.equal(handshake, (answer(records(hello, 100))))
    is_served()
  end)

  it("T-07 a ClientHello with 16 KB of extensions is understood", function()
    local hello = with_extension(client_hello("-servername", "a.example"), 21, ("\0"):rep(16000))
    assert.equal(handshake, (answer(records(hello, 16000))))
    is_served()
  end)

  it("T-07 a ClientHello with two names gets an alert", function()
    local function names(...)
      local list = ""
      for _, name in ipairs { ... } do
        list = list .. "\0" .. u16(#name) .. name
      end
      return u16(#list) .. list
    end
    local hello = client_hello("-noservername")
    local function answer_to(...)
      local with_names = hello
      for _, extension in ipairs { ... } do
        with_names = with_extension(with_names, 0, extension)
      end
      return (answer(record(with_names)))
    end
    assert.equal(handshake, answer_to(names("a.example")))
    assert.equal(alert, answer_to(names("a.example", "b.example")))
    assert.equal(alert, answer_to(names("a.example"), names("b.example")))
    assert.equal(alert, answer_to(names("a.example\0.evil")))
    assert.equal(alert, answer_to(names("")))
    assert.equal(alert, answer_to(""))
    is_served()
  end)

  it("T-07 a ClientHello that has no end is cut off", function()
    local client = assert(peer.connect { port = port })
    client:send(record("\1\255\255\255" .. ("\0"):rep(100)))
    for _ = 1, 20 do
      client:send(record(("\0"):rep(16000)))
    end
    local _, how = client:read_all()
    assert.is_not.equal("timeout", how)
    client:close()
    is_served()
  end)

  it("T-07 noise in place of a ClientHello is cut off", function()
    for _, noise in ipairs { "\22\3\1\0\0", "\22\3\1\255\255\1", "\22\3\1\0\1\2", "\128\46\1\3\1",
      ("\0"):rep(100), ("\255"):rep(100), "\21\3\1\0\2\2\40" } do
      local client = assert(peer.connect { port = port })
      client:send(noise)
      client:finish()
      local _, how = client:read_all()
      assert.is_not.equal("timeout", how, ("%q"):format(noise))
      client:close()
    end
    is_served()
  end)

  it("T-08 renegotiation is refused", function()
    local said = s_client("a.example -tls1_2", say("R\n"))
    assert.matches("RENEGOTIATING", said)
    assert.matches("no renegotiation", said)
    is_served()
  end)

  -- Updates the key so often, one after the other, or until the connection is closed.
  local function update_keys(child, input, n)
    child:wait_for("stdout", "^Verify return code", sluice.patience)
    for i = 1, n do
      input:write("K\n")
      if not pcall(child.wait_for, child, "stdout", "^KEYUPDATE", sluice.patience) then
        return i - 1
      end
    end
    return n
  end

  it("T-08 a few key updates are fine", function()
    local said = s_client("a.example -tls1_3", function(child, input)
      assert.equal(10, update_keys(child, input, 10))
      input:write(get("a.example"))
      child:wait_for("stdout", '"origin": "app"', sluice.patience)
    end)
    assert.matches("HTTP/1.1 200 OK", said)
  end)

  it("T-08 key updates without end are cut off", function()
    s_client("a.example -tls1_3", function(child, input)
      local n = update_keys(child, input, 200)
      assert.is_true(n >= 32 and n < 200, n .. " key updates were taken")
    end)
    is_served()
  end)

  it("T-11 plain HTTP on the TLS port gets a sentence", function()
    local client = assert(peer.connect { port = port })
    client:send(get("a.example"))
    local response = client:read()
    assert.equal(400, response.status)
    assert.equal("text/plain", response.headers["content-type"])
    assert.matches("https://", response.body)
    assert.equal("closed", select(2, client:read_all()))
    client:close()
    is_served()
  end)

  it("a handshake that drips is cut off", function()
    local other_port = http.free_port()
    local route = tls_route("a.example", "a.example", 1)
    route.match.ports = other_port
    local other = sluice.start { config = { limits = { handshake_timeout = 300 },
      routes = { route } } }
    local client = assert(peer.connect { port = other_port })
    client:send("\22\3\1\2")
    local _, how = client:read_all()
    client:close()
    assert.equal(0, other:stop())
    assert.is_not.equal("timeout", how)
  end)
end)
