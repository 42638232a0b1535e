-- What the tunnel and its connections survive: reloads, kills, a second edge with the same name,
-- ports that come and go under load.

local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"
local tunnel = require "support.tunnel"
local tunnel_peer = require "support.tunnel_peer"

for _, transport in ipairs(tunnel.transports) do
  describe("a tunnel over " .. transport, function()
    local lab, open

    before_each(function()
      lab, open = tunnel.start { transport = transport }, {}
    end)

    after_each(function()
      for _, each in ipairs(open) do
        each:close()
      end
      lab:stop()
    end)

    local function talk()
      local visitor = assert(peer.connect { port = lab.ports.raw })
      table.insert(open, visitor)
      visitor:send("ECHO\n")
      assert.matches("^PROXY TCP4 ", visitor:read_line())
      return visitor
    end

    local function goes_on(visitor)
      for i = 1, 5 do
        visitor:send("word " .. i)
        assert.equal("word " .. i, visitor:receive(6))
      end
    end

    local function download()
      return process.start { "sh", "-c", ("curl -sS --limit-rate 20M http://127.0.0.1:%d/bytes/%d "
        .. "| sha256sum"):format(lab.ports.raw, 20000000) }
    end

    local function is_whole(child)
      assert.equal(0, child:wait(sluice.patience * 2), child:text("stderr"))
      local hash = http.request({ port = lab.origin_port, path = "/sha256/20000000" }).body
      assert.equal(hash, child:text("stdout"):match("^%x+"))
    end

    it("goes on when the scripts are loaded again", function()
      local visitor, child = talk(), download()
      for _, program in ipairs { lab.hub, lab.edge } do
        for _ = 1, 3 do
          program:kill(signal.SIGHUP)
          sluice.logged(program, "script reloaded")
          goes_on(visitor)
        end
      end
      goes_on(talk())
      is_whole(child)
      assert.equal(1, lab:edge_status().links)
      lab:set_ports(lab.ports) -- and the new scripts are in charge
    end)

    -- Until a visitor is served again.
    local function seconds_until_served()
      local began = process.now()
      tunnel.eventually(function()
        local response = http.request { port = lab.ports.raw }
        return response and response.status == 200 and dkjson.decode(response.body).proxy
      end, "nobody is served")
      return process.now() - began
    end

    for _, side in ipairs { "hub", "edge" } do
      it("is back soon after the end of its " .. side, function()
        local visitor = talk()
        signal.kill(sluice.runtime_of(lab[side]), signal.SIGKILL)
        visitor:read_all()
        local seconds = seconds_until_served()
        assert.is_true(seconds < (sluice.is_sanitized and sluice.patience or 3), seconds)
        goes_on(talk())
        lab.may_have_crashed = true
      end)
    end

    it("gives way to a newer edge of its name, and comes back (L3)", function()
      goes_on(talk())
      local other = tunnel_peer.edge(lab.hub_port)
      table.insert(open, other)
      assert.matches("listenPorts", other:greet(tunnel.edge_id, tunnel.secret))
      other:wait "ended" -- since ours was first, and connects again
      seconds_until_served()
      goes_on(talk())
      assert.equal(1, #lab:hub_status().connectedEdges)
    end)

    it("opens and closes ports 60 times under load", function()
      local visitor, port = talk(), http.free_port()
      local child = process.start { "curl", "-sS", "-Z", "--parallel-max", "4", "-o", "/dev/null",
        "-w", "%{http_code}\n", "--retry", "0",
        ("http://127.0.0.1:%d/bytes/100000?[1-300]"):format(lab.ports.raw) }
      for i = 1, 30 do
        lab:set_ports { raw = lab.ports.raw, web = lab.ports.web, new = port }
        if i % 10 == 0 then
          tunnel.eventually(function()
            local response = http.request { port = port }
            return response and response.status == 200
          end, "the new port is not open")
        end
        lab:set_ports { raw = lab.ports.raw, web = lab.ports.web }
      end
      goes_on(visitor)
      assert.equal(0, child:wait(sluice.patience * 2), child:text("stderr"))
      assert.equal(300, select(2, child:text("stdout"):gsub("200\n", "")))
      assert.equal(1, lab:edge_status().links)
    end)
  end)
end

describe("a hub", function()
  it("turns away an edge whose secret is wrong, or that on_edge does not want", function()
    local lab = tunnel.start { edge = false }
    finally(function() lab:stop() end)
    for id, secret in pairs { [tunnel.edge_id] = "guess", nobody = tunnel.secret,
      banned = tunnel.secret } do
      local edge = lab:start_edge { id = id, secret = secret }
      edge:wait_for("stderr", "refused", sluice.patience)
      assert.equal(0, #lab:hub_status().connectedEdges)
      assert.equal(0, edge:stop())
      assert.is_nil(edge:text("stderr"):find(secret, 1, true))
    end
    assert.is_nil(lab.hub:text("stderr"):find(tunnel.secret, 1, true))
  end)

  it("drops an edge that is not allowed any more", function()
    local lab = tunnel.start {}
    finally(function() lab:stop() end)
    local before = lab:ask("GET", "/edges")
    assert.is_nil(before.body:find(tunnel.secret, 1, true))
    assert.equal(200, lab:ask("PUT", "/edges", "[]").status)
    tunnel.eventually(function() return #lab:hub_status().connectedEdges == 0 end)
    local bad = lab:ask("PUT", "/edges", '[{"id":"a b","secret":"x"}]')
    assert.equal(400, bad.status)
    assert.matches("%[1?0?%]%.id", bad.body)
    lab:set_ports(lab.ports)
    tunnel.eventually(function() return #lab:hub_status().connectedEdges == 1 end)
  end)
end)
