local coreflow = require "support.coreflow"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"

local entry = coreflow.entry
local frame = raw_websocket.frame

describe("Coreflow mode", function()
  local origin, origin_port, ingress, server, port

  setup(function()
    coreflow.install()
    origin, origin_port = sluice.origin("app")
  end)

  teardown(function()
    origin:stop()
  end)

  before_each(function()
    port = sluice.free_port()
  end)

  after_each(function()
    local last_ingress, last_server = ingress, server
    ingress, server = nil, nil
    if last_server then
      last_server:stop()
    end
    coreflow.stop(last_ingress)
  end)

  local function get(host, options)
    return coreflow.get(ingress, host, options)
  end

  local function status(host, options)
    return coreflow.status(ingress, host, options)
  end

  local function wait_for_log(text)
    return coreflow.wait_for_log(ingress, text)
  end

  describe("for visitors", function()
    before_each(function()
      ingress = coreflow.ingress(port)
    end)

    local function push(hosts)
      server = coreflow.server(port, hosts, { "--initial", "--strict" })
      return server:next("answer")
    end

    it("sends from HTTP to HTTPS, before any push, too", function()
      local function redirect()
        local response = http.request { port = ingress.http_port, host = "a.test:80",
          path = "/a/b?c=d&e" }
        assert.equal(301, response.status)
        assert.equal("https://a.test/a/b?c=d&e", response.headers.location)
      end
      redirect()
      push { entry("a.test", origin_port) }
      redirect()
    end)

    it("asks for the pushed password and says its version", function()
      push { entry("a.test", origin_port,
        { authentication = { type = "Basic", user = "admin", pass = "secret" } }) }
      assert.equal(401, status "a.test")
      assert.equal(401, status("a.test", { headers = { Authorization = "Basic YTpi" } }))
      local response = get("a.test", { headers = { Authorization = "Basic YWRtaW46c2VjcmV0" } })
      assert.equal(200, response.status)
      local _, version = sluice.run { "version" }
      assert.equal(version:match("%d+%.%d+%.%d+"), response.headers.servezone_coretraffic_version)
      assert.equal('h3=":443"; ma=86400', response.headers["alt-svc"])
    end)

    it("does the same over HTTP/3, and announces nothing there", function()
      push { entry("a.test", origin_port,
        { authentication = { type = "Basic", user = "admin", pass = "secret" } }) }
      local function head(user)
        local child = process.start { "curl", "-sSk", "--http3-only", "-D", "-", "-o", "/dev/null",
          "--resolve", ("a.test:%d:127.0.0.1"):format(ingress.https_port), "-u", user,
          ("https://a.test:%d/"):format(ingress.https_port) }
        child:wait(sluice.patience)
        return child:text("stdout")
      end
      assert.matches("^HTTP/3 401", head "admin:wrong")
      local good = head "admin:secret"
      assert.matches("^HTTP/3 200", good)
      assert.matches("\nservezone_coretraffic_version: %d+%.%d+%.%d+", good)
      assert.is_nil(good:find("alt-svc", 1, true))
    end)

    it("serves the good hosts of a push that has bad ones, and tells Coreflow", function()
      local pair = sluice.certificate("another.test")
      local answer = push {
        entry("a.test", origin_port),
        entry("broken.test", origin_port, { publicKey =
          "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }),
        entry("other.test", origin_port, { privateKey = pair.key }),
        entry("nowhere.test", origin_port, { destinationPorts = {} }),
        entry("c.test", origin_port),
      }
      assert.equal("error", answer.status)
      assert.matches("broken.test: publicKey: ", answer.errorText, 1, true)
      assert.matches("other.test: privateKey: ", answer.errorText, 1, true)
      assert.matches("nowhere.test: destinationPorts: is empty", answer.errorText, 1, true)
      assert.equal(200, status "a.test")
      assert.equal(200, status "c.test")
      server:push()
      server:next("answer")
      wait_for_log '"msg":"routes are live"'
      wait_for_log '"msg":"routes are live"'
      local _, times = ingress:text("stderr"):gsub('"host":"broken.test"', "")
      assert.equal(1, times)
    end)

    it("keeps a host whose new certificate is bad", function()
      push { entry("a.test", origin_port) }
      server:set { entry("a.test", origin_port, { publicKey =
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" }) }
      server:push()
      assert.equal("error", server:next("answer").status)
      assert.equal(200, status "a.test")
    end)

    it("keeps connections and WebSockets open through pushes", function()
      local listener = peer.listen()
      push { entry("a.test", listener.port) }
      local client = peer.connect { port = ingress.https_port, tls = true, host = "a.test" }
      client:send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        .. "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n")
      local inner = raw_websocket.accept(listener)
      assert.equal(101, client:read_head().status)
      local kept = peer.connect { port = ingress.https_port, tls = true, host = "a.test" }
      for i = 1, 5 do
        server:set { entry("a.test", origin_port), entry("new" .. i .. ".test", origin_port) }
        server:push()
        assert.equal("ok", server:next("answer").status)
        kept:send("GET / HTTP/1.1\r\nHost: new" .. i .. ".test\r\n\r\n")
        assert.equal(200, kept:read().status) -- the same connection, by the routes of the last push
      end
      kept:close()
      inner:send(frame("still here"))
      assert.equal("still here", client:receive(12):sub(3))
      client:send("up")
      assert.equal("up", inner:receive(2))
      assert.equal(200, status "a.test") -- new requests go where the last push says
      client:close()
      inner:close()
      listener:close()
    end)

    it("keeps its routes through a reload of the script", function()
      push { entry("a.test", origin_port) }
      ingress:kill(require("posix.signal").SIGHUP)
      wait_for_log "script reloaded"
      server:next("tagged")
      assert.equal("ok", server:next("answer").status)
      assert.equal(200, status "a.test")
    end)
  end)

  it("says with --check what it would connect to", function()
    local code, out = sluice.run({ "run", "scripts/coretraffic.lua", "--check" },
      { CORETRAFFIC_MODE = false, COREFLOW_URL = "http://elsewhere:3001" })
    assert.equal(0, code)
    assert.matches("would connect to http://elsewhere:3001 as coretraffic", out, 1, true)
  end)
end)
