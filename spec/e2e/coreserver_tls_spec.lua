-- core-server with Debian's mkcert, and in release mode with pebble as the authority.

local core_server = require "support.core_server"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"

local function run(...)
  local child = process.start { ... }
  local code = child:wait(sluice.patience)
  return code, child:text "stdout", child:text "stderr"
end

-- Says in a file that it was called, and is mkcert.
local counting_mkcert = [[
#!/bin/sh
echo "$*" >>"$(dirname "$0")/calls"
exec mkcert "$@"
]]

describe("core-server with mkcert", function()
  local origin, origin_port, server, home

  setup(function()
    home = core_server.new_home()
    sluice.write(home .. "/mkcert", counting_mkcert)
    assert(os.execute(("chmod +x '%s/mkcert'"):format(home)))
    origin, origin_port = sluice.origin "app"
    -- Makes the CA, for clients that want to have it before they come.
    assert(os.execute(("cd '%s' && CAROOT=ca mkcert first.localhost 2>/dev/null"):format(home)))
    server = core_server.start { home = home, env = { CORE_SERVER_MKCERT = home .. "/mkcert" } }
  end)

  teardown(function()
    origin:stop()
    assert.equal(0, server:stop())
  end)

  -- How often a certificate was made; for a name, if one is given.
  local function n_made(name)
    local file, n = io.open(home .. "/calls"), 0
    for line in file:lines() do
      if line:find("-key-file", 1, true) and (not name or line:find(" " .. name, 1, true)) then
        n = n + 1
      end
    end
    file:close()
    return n
  end

  local function curl(name, ...)
    return run("curl", "-sS", "--cacert", server.home .. "/ca/rootCA.pem", "--connect-to",
      ("%s:443:127.0.0.1:%d"):format(name, server.https_port), ("https://%s/"):format(name), ...)
  end

  local function handshake(name)
    local connection, err = http.connect { port = server.https_port, tls = true, host = name }
    if connection then
      connection:close()
    end
    return connection ~= nil, err
  end

  it("has a certificate for a name that was just added, which clients of its CA trust", function()
    server:add("app.localhost", origin_port)
    local code, out, err = curl "app.localhost"
    assert.equal(0, code, err)
    assert.matches('"x%-forwarded%-proto": %["https"%]', out)
    assert.matches('"host": ["app.localhost"]', out, 1, true)
    local _, cert = run("openssl", "x509", "-noout", "-ext", "subjectAltName", "-in",
      server.home .. "/certs/app.localhost-cert.pem")
    assert.matches("DNS:app.localhost", cert, 1, true)
    code, out = curl("app.localhost", "-o", "/dev/null", "-w", "%{http_version}")
    assert.same({ 0, "2" }, { code, (out:gsub("%s", "")) })
    assert.equal(1, n_made "app.localhost")
  end)

  it("passes a WebSocket", function()
    server:pass_websocket("ws.localhost",
      { port = server.https_port, tls = true, host = "ws.localhost" }, "Upgrade")
  end)

  it("makes one certificate however many handshakes wait for it", function()
    server:add("crowd.localhost", origin_port)
    local clients = {}
    for i = 1, 12 do
      clients[i] = process.start { "curl", "-sS", "-o", "/dev/null", "--cacert",
        server.home .. "/ca/rootCA.pem", "--connect-to",
        ("crowd.localhost:443:127.0.0.1:%d"):format(server.https_port),
        "https://crowd.localhost/" }
    end
    for _, client in ipairs(clients) do
      assert.equal(0, client:wait(sluice.patience), client:text "stderr")
    end
    assert.equal(1, n_made "crowd.localhost")
  end)

  it("makes none for names that nobody has added", function()
    server:add("real.localhost", origin_port)
    assert.is_true(handshake "real.localhost")
    local before = n_made()
    math.randomseed(7)
    local child = process.start { "python3", "-c", [[
import random, socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
refused = 0
for i in range(300):
    form = random.choice(["%x.localhost", "%x.example.com", "%x", "real.localhost.%x.test"])
    name = form % random.getrandbits(64)
    try:
        sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        context.wrap_socket(sock, server_hostname=name).close()
    except (ssl.SSLError, ConnectionError):
        refused += 1
print(refused)]], tostring(server.https_port) }
    assert.equal(0, child:wait(sluice.patience), child:text "stderr")
    assert.matches("^300\n", child:text "stdout")
    assert.equal(before, n_made())
    assert.is_true(handshake "real.localhost")
  end)

  it("makes none for names that are none, or without a name", function()
    local before = n_made()
    for _, name in ipairs { "../../evil", "-install", "a/b.localhost", "*.localhost" } do
      assert.is_false((handshake(name)))
    end
    assert.is_false((http.connect { port = server.https_port, tls = true } ~= nil))
    assert.equal(before, n_made())
  end)

  it("stops serving a name that was removed, and its certificate with it", function()
    server:add("gone.localhost", origin_port)
    assert.is_true(handshake "gone.localhost")
    server:command "remove gone.localhost"
    assert.is_false((handshake "gone.localhost"))
    assert.equal(404, server:get("gone.localhost").status)
  end)

  it("sends known names from HTTP to its own port, and no others anywhere", function()
    server:add("app.localhost", origin_port)
    local response = server:get("app.localhost:80", { path = "/a/b?c=d" })
    assert.equal(307, response.status)
    assert.equal(("https://app.localhost:%d/a/b?c=d"):format(server.https_port),
      response.headers.location)
    assert.equal(307, server:get("app.localhost", { method = "POST", body = "x" }).status)
    response = server:get "evil.example"
    assert.same({ 404 }, { response.status, response.headers.location })
  end)

  it("refuses a name on a connection that was made for another one", function()
    server:add("one.localhost", origin_port)
    server:add("two.localhost", origin_port)
    local client = peer.connect { port = server.https_port, tls = true, host = "one.localhost" }
    client:send "GET / HTTP/1.1\r\nHost: two.localhost\r\n\r\n"
    assert.equal(421, client:read().status)
    client:close()
  end)

  it("uses the files that are there, after a restart, too", function()
    server:add("kept.localhost", origin_port)
    assert.is_true(handshake "kept.localhost")
    local before = n_made "kept.localhost"
    assert.equal(0, server:restart())
    assert.equal(0, (curl "kept.localhost"))
    assert.equal(before, n_made "kept.localhost")
  end)

  it("makes the files again when one of them is missing or broken", function()
    for i, change in ipairs { "rm '%s-key.pem'", "rm '%s-cert.pem'", ": >'%s-cert.pem'",
      "cp '" .. home .. "/certs/half.localhost-cert.pem' '%s-key.pem'" } do
      local name = ("broken%d.localhost"):format(i)
      server:add("half.localhost", origin_port)
      server:add(name, origin_port)
      assert.is_true(handshake(name) and handshake "half.localhost")
      assert(os.execute(change:format(server.home .. "/certs/" .. name)))
    end
    assert.equal(0, server:restart())
    for i = 1, 4 do
      local name = ("broken%d.localhost"):format(i)
      assert.equal(0, (curl(name)))
      assert.equal(2, n_made(name))
    end
  end)
end)

describe("core-server with mkcert for any name", function()
  it("makes certificates for names that are not registered, too, as the original does", function()
    local server = core_server.start { env = { CORE_SERVER_MKCERT = "mkcert",
      CORE_SERVER_ANY_NAME = "on" } }
    finally(function() server:stop() end)
    local response = http.request { port = server.https_port, tls = true, host = "any.example" }
    assert.equal(404, response.status)
    assert.matches("^Domain Not Recognized\n", response.body)
    assert.is_nil((http.request { port = server.https_port, tls = true, host = "../evil" }))
  end)
end)
