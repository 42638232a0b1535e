-- The end of a hub or an edge with visitors in the tunnel: they go on, others are turned away.

local http = require "support.http"
local peer = require "support.peer"
local signal = require "posix.signal"
local sluice = require "support.sluice"
local tunnel = require "support.tunnel"

for _, transport in ipairs(tunnel.transports) do
  describe("a tunnel over " .. transport, function()
    local lab

    before_each(function()
      lab = tunnel.start { transport = transport }
    end)

    after_each(function()
      lab:stop()
    end)

    local function goes_on(visitor)
      for i = 1, 5 do
        visitor:send("word " .. i)
        assert.equal("word " .. i, visitor:receive(6))
      end
    end

    for _, side in ipairs { "edge", "hub" } do
      it("lets its visitors finish when the " .. side .. " ends", function()
        local program = lab[side]
        local visitor = assert(peer.connect { port = lab.ports.raw })
        visitor:send("ECHO\n")
        assert.matches("^PROXY TCP4 ", visitor:read_line())
        program:kill(signal.SIGTERM)
        sluice.logged(program, "ending: no new connections, open requests are finished")
        tunnel.eventually(function()
          return not http.request { port = lab.ports.raw }
        end, "visitors are still served")
        goes_on(visitor)
        assert.is_nil(program:text("stderr"):match "tunnel down" or
          program:text("stderr"):match "edge down")
        visitor:finish()
        assert.equal("", (visitor:read_all()))
        visitor:close()
        assert.equal(0, program:wait(sluice.patience))
        lab[side] = nil
      end)
    end
  end)
end
