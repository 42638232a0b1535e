-- An edge and a hub, both ours, over TLS and over QUIC: what visitors of the edge see of the origin
-- behind the hub, and what the hub's script sees of them. How connections end is in
-- tunnel_close_spec, what survives bad networks and restarts in tunnel_life_spec and
-- tunnel_netns_spec, attacks in attacks_tunnel_spec.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local process = require "support.process"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"
local socket = require "socket"
local tunnel = require "support.tunnel"

local bulk = 20000000
local visitor_ip = "127.0.0.5"

for _, transport in ipairs(tunnel.transports) do
  describe("a tunnel over " .. transport, function()
    local lab, open

    before_each(function()
      open = {}
    end)

    after_each(function()
      for _, each in ipairs(open) do
        each:close()
      end
    end)

    setup(function()
      lab = tunnel.start { transport = transport, tells = true }
    end)

    teardown(function()
      lab:stop()
    end)

    local function shell(text)
      local child = process.start { "sh", "-c", text }
      assert.equal(0, child:wait(sluice.patience * 3), child:text("stderr"))
      return child:text("stdout")
    end

    local function curl(words)
      return shell(("curl -sSk --interface %s %s"):format(visitor_ip, words))
    end

    local function raw_url(path)
      return ("http://127.0.0.1:%d%s"):format(lab.ports.raw, path)
    end

    local function connect(port)
      local visitor = assert(peer.connect { port = port or lab.ports.raw, from = visitor_ip })
      table.insert(open, visitor)
      return visitor
    end

    local function say_hello(visitor)
      visitor:send("ECHO\n")
      local _, port = visitor.socket:getsockname()
      local line = ("PROXY TCP4 %s 127.0.0.1 %s %d\n"):format(visitor_ip, port, lab.ports.raw)
      assert.equal(line, visitor:receive(#line))
      return visitor
    end

    local function origin_hash(n)
      return http.request({ port = lab.origin_port, path = "/sha256/" .. n }).body
    end

    it("says who the visitor is", function()
      local said = dkjson.decode(curl(raw_url "/hello"))
      assert.equal("/hello", said.path)
      assert.matches(("^PROXY TCP4 127%%.0%%.0%%.5 127%%.0%%.0%%.1 %%d+ %d$")
        :format(lab.ports.raw), said.proxy)
    end)

    it("carries 20 MB down and up", function()
      local hash = origin_hash(bulk)
      assert.equal(hash, curl(raw_url("/bytes/" .. bulk) .. " | sha256sum"):match("^%x+"))
      local up = shell(("curl -sS http://127.0.0.1:%d/bytes/%d | curl -sS -T - %s"):format(
        lab.origin_port, bulk, raw_url "/upload"))
      assert.equal(hash, dkjson.decode(up).sha256)
    end)

    it("carries both directions at once", function()
      local visitor, text = say_hello(connect()), ("0123456789abcdef"):rep(250000)
      assert.is_true(visitor:carry(text, visitor) == text)
    end)

    it("is a conversation", function()
      local visitor = say_hello(connect())
      for i = 1, 50 do
        local word = "word " .. i
        visitor:send(word)
        assert.equal(word, visitor:receive(#word))
      end
    end)

    it("keeps visitors apart (L1)", function()
      local visitors, n = {}, 20
      for i = 1, n do
        visitors[i] = say_hello(connect())
      end
      for round = 1, 10 do
        for i, visitor in ipairs(visitors) do
          visitor:send(string.char(64 + i):rep(1000 * round))
        end
        for i, visitor in ipairs(visitors) do
          assert.equal(string.char(64 + i):rep(1000 * round), visitor:receive(1000 * round))
        end
      end
    end)

    it("makes one connection to the origin for many small writes (L2)", function()
      local before = tunnel.counts(lab.origin_port).connections
      local visitor = say_hello(connect())
      for _ = 1, 200 do
        visitor:send("x")
      end
      assert.equal(("x"):rep(200), visitor:receive(200))
      assert.equal(before + 2, tunnel.counts(lab.origin_port).connections) -- and who counts
    end)

    it("carries a WebSocket", function()
      local visitor = connect()
      visitor:send("GET /websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        .. "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
      assert.equal(101, visitor:read_head().status)
      for _, text in ipairs { "one", ("two"):rep(10000), "" } do
        visitor:send(raw_websocket.frame(text, { mask = true }))
        local expected = raw_websocket.frame(text)
        assert.is_true(visitor:receive(#expected) == expected)
      end
    end)

    local function datagrams(port)
      local visitor = assert(socket.udp())
      table.insert(open, visitor)
      assert(visitor:setsockname(visitor_ip, 0))
      assert(visitor:setpeername("127.0.0.1", port))
      local _, from = visitor:getsockname()
      -- A datagram may be lost; whoever asks asks again.
      return function(text)
        local expected = ("%s %s %s"):format(visitor_ip, from, text)
        visitor:settimeout(1)
        tunnel.eventually(function()
          visitor:send(text)
          return visitor:receive() == expected
        end, "no answer to a datagram")
      end
    end

    it("carries datagrams, with the visitor's address before the first one (L14)", function()
      local one, other = datagrams(lab.ports.raw), datagrams(lab.ports.raw)
      for i = 1, 10 do
        one("one " .. i)
        other("other " .. i)
      end
      one(("x"):rep(1100))
      if transport == "tls" then
        one(("x"):rep(8000))
      end
    end)

    it("ends in routes of the hub itself", function()
      local said = dkjson.decode(curl(("--resolve app.example:%d:127.0.0.1 "
        .. "https://app.example:%d/inner"):format(lab.ports.web, lab.ports.web)))
      assert.equal("/inner", said.path)
      assert.same({ visitor_ip }, said.headers["x-forwarded-for"])
      assert.same({ visitor_ip .. " " .. tunnel.edge_id }, said.headers["x-seen"])
    end)

    for _, version in ipairs { "http1.1", "http2" } do
      it("ends in routes of the hub itself, with " .. version, function()
        local out = curl(("--%s --resolve app.example:%d:127.0.0.1 -o /dev/null -w "
          .. "'%%{http_code} %%{size_download} ' 'https://app.example:%d/bytes/[1000-1020]'")
          :format(version, lab.ports.web, lab.ports.web))
        for n = 1000, 1020 do
          assert.matches("200 " .. n .. " ", out)
        end
      end)
    end

    it("carries HTTP/3, whose visitor is known, too", function()
      local client = mux.connect("h3", { port = lab.ports.web, host = "app.example",
        from = visitor_ip })
      table.insert(open, client)
      local response = client:ask { path = "/inner" }
      assert.equal(200, response.status)
      assert.same({ visitor_ip }, dkjson.decode(response.body).headers["x-forwarded-for"])
      response = client:ask { path = "/bytes/3000000" }
      assert.equal(origin_hash(3000000), response.sha256)
    end)

    it("asks on_stream, which may refuse", function()
      assert.equal("", (tunnel.visit(lab.ports.denied)))
      assert.equal(200, http.request({ port = lab.ports.raw }).status)
    end)

    it("tells on_stream of the visitor, the port and the edge", function()
      say_hello(connect())
      local line = sluice.logged(lab.hub, "stream")
      while line.ip ~= visitor_ip or line.udp do
        line = sluice.logged(lab.hub, "stream")
      end
      assert.same({ tunnel.edge_id, lab.ports.raw, false }, { line.edge, line.port, line.udp })
    end)

    it("has a status on both sides", function()
      say_hello(connect())
      local status = lab:edge_status()
      assert.is_true(status.connected)
      assert.equal(1, status.links)
      assert.is_true(status.streamsOpened > 0 and status.bytesIn > 0 and status.bytesOut > 0)
      assert.equal(transport, status.transport)
      assert.equal(0, status.framesUnknown)
    end)

    it("opens and closes ports while it runs (L19)", function()
      local visitor, port = say_hello(connect()), http.free_port()
      local function is_open()
        local other = peer.connect { port = port }
        if not other then
          return false
        end
        other:send("ECHO\n")
        other:finish()
        local said = other:read_all()
        other:close()
        return said:find("^PROXY ") ~= nil
      end
      for _ = 1, 3 do
        lab:set_ports { raw = lab.ports.raw, web = lab.ports.web, denied = lab.ports.denied,
          new = port }
        tunnel.eventually(is_open, "the new port is not open")
        lab:set_ports(lab.ports)
        tunnel.eventually(function() return not is_open() end, "the old port is open")
      end
      visitor:send("still here")
      assert.equal("still here", visitor:receive(10))
      assert.equal(1, lab:edge_status().links)
    end)
  end)
end
