-- How connections through a tunnel end (L17): every order, over TLS and over QUIC. What was sent
-- arrives, the end arrives as what it was, and nothing is left behind on any of the four sides.

local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local signal = require "posix.signal"
local sluice = require "support.sluice"
local tunnel = require "support.tunnel"

for _, transport in ipairs(tunnel.transports) do
  describe("a connection through a tunnel over " .. transport, function()
    local lab

    setup(function()
      lab = tunnel.start { transport = transport }
    end)

    teardown(function()
      lab:stop()
    end)

    local function connect(mode)
      local visitor = assert(peer.connect { port = lab.ports.raw })
      visitor:send(mode .. "\n")
      if mode == "ECHO" then
        assert.matches("^PROXY ", visitor:read_line())
      end
      return visitor
    end

    -- Both ends of the tunnel and the origin have forgotten all but who asks.
    local function nothing_is_left()
      tunnel.eventually(function()
        local counts = tunnel.counts(lab.origin_port)
        local edge, hub = lab:edge_status(), lab:connected()
        local left = ("origin %d, edge %d, hub %d"):format(counts.open - 1, edge.activeStreams,
          hub.activeStreams)
        return left == "origin 0, edge 0, hub 0", left
      end, "something is left")
    end

    after_each(nothing_is_left)

    it("ends when the visitor has said all, and has heard all", function()
      local visitor, text = connect "ECHO", ("0123456789"):rep(30000)
      visitor:carry(text, visitor)
      visitor:send("the end")
      visitor:finish()
      assert.same({ "the end", "closed" }, { visitor:read_all() })
      visitor:close()
    end)

    it("ends when the origin has said all, and has heard all", function()
      local visitor = connect "BYE"
      assert.same({ "bye\n", "closed" }, { visitor:read_all() })
      local text = ("0123456789"):rep(30000)
      assert.equal(#text, visitor:stuff(text))
      visitor:finish()
      tunnel.eventually(function()
        return tunnel.counts(lab.origin_port).heard == #text
      end, "the origin has not heard all")
      visitor:close()
    end)

    it("ends when both have said all at once", function()
      for _ = 1, 20 do
        local visitor = connect "BYE"
        visitor:finish()
        assert.same({ "bye\n", "closed" }, { visitor:read_all() })
        visitor:close()
      end
    end)

    it("ends when the visitor resets it", function()
      local visitor = connect "ECHO"
      visitor:send("hello")
      assert.equal("hello", visitor:receive(5))
      visitor:reset()
    end)

    it("ends when the origin resets it", function()
      local visitor = connect "QUIT"
      assert.equal("soon\n", visitor:receive(5))
      visitor:send("x")
      assert.same({ "", "reset" }, { visitor:read_all() })
      visitor:close()
    end)

    it("ends when the origin resets it at once", function()
      local visitor = connect "GONE"
      assert.equal("", (visitor:read_all()))
      visitor:close()
    end)

    it("ends when the visitor goes away in the middle of a download", function()
      for _, how in ipairs { "close", "reset" } do
        local visitor = assert(peer.connect { port = lab.ports.raw })
        visitor:send("GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        visitor:receive(100000)
        visitor[how](visitor)
        nothing_is_left()
      end
    end)

    it("ends when the visitor goes away before he has said anything", function()
      for _ = 1, 20 do
        peer.connect({ port = lab.ports.raw }):close()
      end
    end)

    it("ends when nobody is at the target", function()
      assert.equal("", (tunnel.visit(lab.ports.nobody)))
    end)

    it("waits for a reader that takes its time, at both ends", function()
      local visitor = assert(peer.connect { port = lab.ports.raw })
      visitor:send("GET /bytes/30000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      local head = visitor:read_head()
      assert.equal("30000000", head.headers["content-length"])
      -- Others are served meanwhile (L9).
      for _ = 1, 10 do
        assert.equal(200, http.request({ port = lab.ports.raw }).status)
      end
      assert.equal(30000000, #visitor:read_all(sluice.patience * 2))
      visitor:close()
    end)
  end)

  describe("a tunnel over " .. transport .. " that is lost for good", function()
    it("ends its connections", function()
      local lab = tunnel.start { transport = transport }
      lab.may_have_crashed = true
      finally(function() lab:stop() end)
      local visitor = assert(peer.connect { port = lab.ports.raw })
      visitor:send("ECHO\n")
      assert.matches("^PROXY ", visitor:read_line())
      -- The next runtime of the hub knows nothing of this one's tunnels.
      signal.kill(sluice.runtime_of(lab.hub), signal.SIGKILL)
      local heard, ended = visitor:read_all()
      assert.equal("", heard)
      assert.is_true(ended == "closed" or ended == "reset", ended)
      visitor:close()
      tunnel.eventually(function()
        local response = http.request { port = lab.ports.raw }
        return response and response.status == 200 and dkjson.decode(response.body).proxy
      end, "the tunnel does not come back")
      tunnel.eventually(function()
        return lab:edge_status().activeStreams == 0
      end, "the edge still has streams")
    end)
  end)
end
