local coreflow = require "support.coreflow"
local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
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
    if last_ingress then
      assert.equal(0, last_ingress:stop())
      assert.is_nil(last_ingress:text("stderr"):find("PRIVATE KEY", 1, true))
    end
  end)

  local function get(host, options)
    local request = { port = ingress.https_port, tls = true, host = host }
    for name, value in pairs(options or {}) do
      request[name] = value
    end
    return http.request(request)
  end

  local function status(host, options)
    local response = get(host, options)
    return response and response.status
  end

  local function wait_for_log(text)
    return ingress:wait_for("stderr", "^.*" .. text .. ".*$", sluice.patience)
  end

  local wires = {
    modern = { "--strict", "--initial" },
    legacy = { "--legacy", "--initial" },
  }

  for name, flags in pairs(wires) do
    describe("with the real libraries of the " .. name .. " wire", function()
      local function start_server(hosts, ...)
        local all = { unpack(flags) }
        for _, flag in ipairs { ... } do
          table.insert(all, flag)
        end
        server = coreflow.server(port, hosts, all)
      end

      it("serves what is pushed by a server that starts later", function()
        ingress = coreflow.ingress(port)
        wait_for_log "cannot connect"
        start_server { entry("a.test", origin_port) }
        assert.equal("ok", server:next("answer").status)
        assert.matches(name, wait_for_log '"msg":"connected"')
        assert.equal(200, status "a.test")
      end)

      it("serves the last of a burst and answers all of it", function()
        ingress = coreflow.ingress(port)
        start_server({ entry("a.test", origin_port) }, "--vary", "--burst", "20")
        for _ = 1, 20 do
          local answer = server:next("answer")
          assert.equal("ok", answer.status, answer.errorText)
        end
        assert.equal(200, status "push-20.test")
        assert.not_equal(200, status "push-1.test")
        assert.is_nil(server:said():find('"fault"', 1, true))
      end)

      it("comes back after the connection was lost, and serves meanwhile", function()
        ingress = coreflow.ingress(port)
        start_server { entry("a.test", origin_port) }
        server:next("answer")
        server:set { entry("b.test", origin_port) }
        server:drop()
        server:next("gone")
        assert.equal(200, status "a.test")
        server:next("tagged")
        assert.equal("ok", server:next("answer").status)
        assert.equal(200, status "b.test")
        assert.not_equal(200, status "a.test")
      end)

      it("takes nothing away when Coreflow ends", function()
        ingress = coreflow.ingress(port)
        start_server { entry("a.test", origin_port) }
        server:next("answer")
        server:stop()
        wait_for_log "cannot connect"
        assert.equal(200, status "a.test")
        start_server { entry("b.test", origin_port) }
        assert.equal("ok", server:next("answer").status)
        assert.equal(200, status "b.test")
      end)
    end)
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
      for i = 1, 5 do
        server:set { entry("a.test", origin_port), entry("new" .. i .. ".test", origin_port) }
        server:push()
        assert.equal("ok", server:next("answer").status)
      end
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

  -- A server that does what it should not.
  describe("with a server that breaks the rules", function()
    local listener

    before_each(function()
      listener = peer.listen()
      ingress = coreflow.ingress(listener.port)
    end)

    after_each(function()
      listener:close()
    end)

    local function answer_tag(ws)
      local request = dkjson.decode((ws:read_frame()))
      ws:send(frame(dkjson.encode { method = request.method, response = { success = true },
        correlation = { id = request.correlation.id, phase = "response" } }))
      return ws
    end

    local function accept_tagged()
      return answer_tag(raw_websocket.accept(listener))
    end

    local function push_text(hosts)
      return dkjson.encode { method = "updateRouting", request = { reverseConfigs = hosts },
        response = dkjson.null, correlation = { id = "uni_1", phase = "request" } }
    end

    local function answer_of(ws)
      return dkjson.decode((ws:read_frame())).response
    end

    -- Takes the attempts on the other wire away until there is one on the modern one.
    local function accept_modern()
      while true do
        local ws = raw_websocket.accept(listener)
        if ws.head.line == "GET / HTTP/1.1" then
          return answer_tag(ws)
        end
        ws:close()
      end
    end

    it("takes fragments, binary messages and pings", function()
      local ws = accept_tagged()
      local text = push_text { entry("a.test", origin_port) }
      ws:send(frame(text:sub(1, 10), { fin = false }))
      ws:send(frame("hello", { opcode = 9 }))
      ws:send(frame(text:sub(11, 500), { opcode = 0, fin = false }))
      ws:send(frame(text:sub(501), { opcode = 0 }))
      local payload, opcode = ws:read_frame()
      assert.same({ "hello", 10 }, { payload, opcode })
      assert.equal("ok", answer_of(ws).status)
      assert.equal(200, status "a.test")
      ws:send(frame(push_text { entry("b.test", origin_port) }, { opcode = 2 }))
      assert.equal("ok", answer_of(ws).status)
      assert.equal(200, status "b.test")
    end)

    it("goes on after messages that make no sense", function()
      local ws = accept_tagged()
      for _, text in ipairs { "{", "[]", "null", '"x"', '{"a":1}',
        '{"method":"updateRouting","request":{"reverseConfigs":[]}}' } do
        ws:send(frame(text))
      end
      ws:send(frame(push_text { entry("a.test", origin_port) }))
      assert.equal("ok", answer_of(ws).status)
      ws:send(frame((push_text({}):gsub("updateRouting", "unknown"))))
      assert.equal("There is no available method for this call on the server side",
        dkjson.decode((ws:read_frame())).error.text)
      ws:send(frame(push_text("no list")))
      assert.equal("error", answer_of(ws).status)
      assert.equal(200, status "a.test")
    end)

    it("comes back after each offence, with nothing applied half", function()
      local first = accept_tagged()
      first:send(frame(push_text { entry("a.test", origin_port) }))
      assert.equal("ok", answer_of(first).status)
      local text = push_text { entry("b.test", origin_port) }
      local offences = {
        masked = frame(text, { mask = true }),
        cut = frame(text:sub(1, 300), { length = #text }),
        reserved = string.char(0xf1, 2) .. "{}",
        ["not UTF-8"] = frame("\"\255\""),
      }
      local ws = first
      for name, bytes in pairs(offences) do
        ws:send(bytes)
        if name == "cut" then
          ws:close()
        else
          ws:read_all()
        end
        wait_for_log "the connection is lost"
        assert.equal(200, status "a.test", name)
        ws = accept_modern()
      end
      ws:send(frame(text))
      assert.equal("ok", answer_of(ws).status)
      assert.equal(200, status "b.test")
    end)

    it("does not believe a wrong accept key, and tries again", function()
      local ws = raw_websocket.accept(listener, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
      assert.equal("", (ws:read_all()))
      listener:accept():close() -- the other wire
      wait_for_log "cannot connect"
      local again = accept_modern()
      again:send(frame(push_text {}))
      assert.equal("ok", answer_of(again).status)
    end)

    it("takes a push of 50 MB, and refuses one beyond 96 MiB", function()
      local ws = accept_tagged()
      local padding = ("x"):rep(50 * 1000 * 1000)
      ws:send(frame(push_text { entry("a.test", origin_port, { padding = padding }) }))
      assert.equal("ok", answer_of(ws).status)
      assert.equal(200, status "a.test")
      ws:send(frame("the beginning", { length = 97 * 1048576 }))
      local payload, opcode = ws:read_frame()
      assert.same({ 8, 1009 }, { opcode, payload:byte(1) * 256 + payload:byte(2) })
      ws:close()
      wait_for_log "the connection is lost"
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
