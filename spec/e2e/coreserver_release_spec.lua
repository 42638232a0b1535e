-- core-server in release mode, with Debian's pebble as the authority.

local core_server = require "support.core_server"
local http = require "support.http"
local pebble = require "support.pebble"
local process = require "support.process"
local sluice = require "support.sluice"

describe("core-server in release mode", function()
  local origin, origin_port, ca, ports, server

  setup(function()
    origin, origin_port = sluice.origin "app"
    ports = { http_port = sluice.free_port(), https_port = sluice.free_port() }
    ca = pebble.start { http_port = ports.http_port, tls_port = ports.https_port }
  end)

  teardown(function()
    origin:stop()
    ca:stop()
  end)

  after_each(function()
    local last = server
    server = nil
    if last then
      assert.equal(0, last:stop())
    end
  end)

  local function start(challenges, home)
    server = core_server.start {
      home = home, http_port = ports.http_port, https_port = ports.https_port,
      args = { "--release" },
      env = { CORE_SERVER_CERTS = false, CORE_SERVER_ACME_DIRECTORY = ca.directory,
        CORE_SERVER_ACME_CA_FILE = ca.ca_file, CORE_SERVER_ACME_EMAIL = "ops@example.com",
        CORE_SERVER_ACME_CHALLENGES = challenges },
    }
  end

  local function curl(name)
    local child = process.start { "curl", "-sS", "--max-time", "40", "--cacert", ca:root(),
      "--connect-to", ("%s:443:127.0.0.1:%d"):format(name, ports.https_port),
      "-w", "\n%{http_code}", ("https://%s/"):format(name) }
    local code = child:wait(sluice.patience * 2)
    return code == 0 and child:text "stdout" or child:text "stderr"
  end

  local function n_logged(message)
    local _, n = server.program:text("stderr"):gsub('"msg":"' .. message, "")
    return n
  end

  it("has a certificate with the first request, kept where the original keeps it", function()
    start "tls-alpn-01"
    server:add("fresh.example.com", origin_port)
    local out = curl "fresh.example.com"
    assert.matches("\n200$", out)
    assert.matches('"x%-forwarded%-proto": %["https"%]', out)
    local text = sluice.read(server.home .. "/certs/fresh.example.com")
    assert.matches("^%-%-%-%-%-BEGIN EC PRIVATE KEY", text)
    assert.equal(0, server:restart())
    assert.matches("\n200$", curl "fresh.example.com")
    assert.equal(text, sluice.read(server.home .. "/certs/fresh.example.com"))
    assert.equal(0, n_logged "a certificate was issued")
  end)

  it("answers http-01 beside the redirect", function()
    start "http-01"
    server:add("plain.example.com", origin_port)
    assert.matches("\n200$", curl "plain.example.com")
    local response = server:get("plain.example.com", { path = "/a?b" })
    assert.equal(307, response.status)
    assert.equal(("https://plain.example.com:%d/a?b"):format(ports.https_port),
      response.headers.location)
    response = server:get("plain.example.com", { path = "/.well-known/acme-challenge/x" })
    assert.equal(307, response.status)
  end)

  it("tells strangers nothing, and orders nothing for names that nobody has added", function()
    start()
    server:add("secret.example.com", sluice.free_port())
    for _, name in ipairs { "other.example.com", "localhost", "127.0.0.1" } do
      local response = server:get(name)
      assert.same({ 404, "Domain Not Recognized\n" }, { response.status, response.body })
    end
    for i = 1, 30 do
      assert.is_nil((http.connect { port = ports.https_port, tls = true,
        host = ("n%d.example.com"):format(i) }))
    end
    assert.equal(0, n_logged "no certificate was issued")
    local out = curl "secret.example.com"
    assert.matches("^secret.example.com does not answer\n\n502$", out)
  end)

  it("uses what Go's autocert has left", function()
    local home = core_server.new_home()
    local pair = sluice.certificate "old.example.com"
    assert(os.execute(("mkdir -m 700 '%s/certs'"):format(home)))
    local path = home .. "/certs/old.example.com"
    local convert = ("openssl ec 2>/dev/null >'%s'"):format(path)
    local pipe = io.popen(convert, "w")
    pipe:write(pair.key)
    pipe:close()
    sluice.write(path, sluice.read(path) .. pair.cert)
    start(nil, home)
    server:add("old.example.com", origin_port)
    local ca_file = home .. "/old.pem"
    sluice.write(ca_file, pair.cert)
    local child = process.start { "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
      "--cacert", ca_file, "--connect-to",
      ("old.example.com:443:127.0.0.1:%d"):format(ports.https_port), "https://old.example.com/" }
    assert.equal(0, child:wait(sluice.patience), child:text "stderr")
    assert.matches("^\n?200", child:text "stdout")
  end)
end)
