-- What other tunnels had to learn: edges that come and go leave nothing behind (L4), a reader that
-- stands still costs nobody anything (L5, L9), a program that is out of descriptors serves again
-- when there are some (L7), streams that are full in both directions do not stop each other (L10),
-- and bulk and small requests get along (L11, L12).

local dirent = require "posix.dirent"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"
local socket = require "socket"
local tunnel = require "support.tunnel"
local visitor_program = require "support.visitor"

-- How much longer than on a machine without sanitizers things may take.
local slowness = sluice.patience / 20

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
      lab:stop()
    end)

    local function begin(options)
      options.transport = transport
      lab = tunnel.start(options)
    end

    local function connect(words, port)
      local visitor = assert(peer.connect { port = port or lab.ports.raw })
      table.insert(open, visitor)
      visitor:send(words)
      return visitor
    end

    local function is_talking(visitor)
      visitor:send("a word")
      assert.equal("a word", visitor:receive(6))
    end

    local function talk()
      local visitor = connect "ECHO\n"
      assert.matches("^PROXY ", visitor:read_line())
      is_talking(visitor)
      return visitor
    end

    local function is_served()
      local response = http.request { port = lab.ports.raw }
      return response and response.status == 200
    end

    -- Of the one process; what is not there has no entries.
    local function count(pid, what)
      local n = 0
      for name in dirent.files(("/proc/%d/%s"):format(pid, what)) do
        n = n + (name:sub(1, 1) ~= "." and 1 or 0)
      end
      return n
    end

    local function descriptors_and_threads(program)
      local pid = sluice.runtime_of(program)
      return count(pid, "fd"), count(pid, "task")
    end

    -- As an operator who is in a hurry: the second signal does not wait for open streams.
    local function end_at_once(edge)
      edge:kill(signal.SIGTERM)
      sluice.logged(edge, "ending: no new connections, open requests are finished")
      edge:kill(signal.SIGTERM)
      assert.equal(0, edge:wait(sluice.patience / 2))
    end

    -- The machine is gone, and nobody says anything.
    local function vanish(edge)
      local pid = sluice.runtime_of(edge)
      edge:kill(signal.SIGKILL)
      signal.kill(pid, signal.SIGKILL)
      edge:wait(sluice.patience / 2)
    end

    local function is_free(port)
      local listener, datagrams = socket.bind("127.0.0.1", port), assert(socket.udp())
      local is_bound = datagrams:setsockname("127.0.0.1", port)
      datagrams:close()
      return listener and listener:close() and is_bound
    end

    local function ports_are_free()
      for name, port in pairs(lab.ports) do
        tunnel.eventually(function() return is_free(port) end, "the port is not free: " .. name)
      end
    end

    -- An edge that lives for a moment, with streams that are idle, talk and are full.
    local function edge_comes_and_goes(how)
      local edge = lab:start_edge { transport = transport }
      table.insert(open, { close = function() edge:stop() end })
      edge:wait_for("stderr", '"msg":"ports"', sluice.patience)
      local visitors = { talk(), talk(), connect "GET /bytes/100000000 HTTP/1.0\r\n\r\n" }
      visitors[3]:receive(1000)
      how(edge)
      for i = 1, 2 do
        assert.equal("", (visitors[i]:read_all()))
      end
      for _, visitor in ipairs(visitors) do
        visitor:close()
      end
      ports_are_free()
    end

    it("leaves nothing behind in the hub, whatever becomes of its edges (L4)", function()
      begin { edge = false, hub = { resumeTimeout = 1, pingInterval = 1, deadAfter = 3 } }
      -- Neither edges nor their streams; the one connection of the origin is who asks.
      local function nothing_is_left()
        local n, n_open = #lab:hub_status().connectedEdges, tunnel.counts(lab.origin_port).open - 1
        return n == 0 and n_open == 0, ("%d edges, %d connections"):format(n, n_open)
      end
      edge_comes_and_goes(end_at_once)
      tunnel.eventually(nothing_is_left, "after the first edge")
      local fds, threads = descriptors_and_threads(lab.hub)
      for i = 1, sluice.is_sanitized and 6 or 20 do
        edge_comes_and_goes(i % 2 == 0 and vanish or end_at_once)
      end
      tunnel.eventually(nothing_is_left, "after the last edge")
      tunnel.eventually(function()
        local fds_now, threads_now = descriptors_and_threads(lab.hub)
        return fds_now <= fds and threads_now <= threads,
          ("%d and %d, not %d and %d"):format(fds_now, threads_now, fds, threads)
      end, "descriptors and threads of the hub")
    end)

    local function download(n)
      return process.start { "sh", "-c", ("curl -sS http://127.0.0.1:%d/bytes/%d | sha256sum")
        :format(lab.ports.raw, n) }
    end

    it("serves others while readers stand still, and does not grow (L5, L9)", function()
      begin {}
      assert.is_true(is_served())
      local before = { hub = sluice.memory_mib(lab.hub), edge = sluice.memory_mib(lab.edge) }
      local most = 500000000
      local still = connect("GET /bytes/" .. most .. " HTTP/1.0\r\n\r\n")
      local sender = connect("", lab.ports.deaf)
      local stuffed = sender:stuff(("x"):rep(100000000))
      assert.is_true(stuffed < 100000000, stuffed)
      local deaf = assert(lab.deaf:accept())
      table.insert(open, deaf) -- since nobody else would end this one
      local talker, active, n = talk(), {}, 20000000
      for i = 1, 4 do
        active[i] = download(n)
      end
      local hash = http.request({ port = lab.origin_port, path = "/sha256/" .. n }).body
      for _, child in ipairs(active) do
        assert.equal(0, child:wait(sluice.patience * 2), child:text("stderr"))
        assert.equal(hash, child:text("stdout"):match("^%x+"))
        is_talking(talker)
      end
      assert.is_true(lab:connected().bytesOut < most) -- it still stands
      for name, mib in pairs(before) do
        local grown = sluice.memory_mib(lab[name]) - mib
        assert.is_true(sluice.is_sanitized or grown < 64, ("the %s by %d MiB"):format(name, grown))
      end
      for _ = 1, 30 do -- and goes on when he reads, far beyond what was on its way
        still:receive(1000000)
      end
    end)

    -- From now on it can have so many more descriptors than it has.
    local function leave_few(program, n)
      local pid = sluice.runtime_of(program)
      local limit = count(pid, "fd") + n
      assert(os.execute(("prlimit --pid %d --nofile=%d"):format(pid, limit)))
    end

    local few, many = 50, 150 -- descriptors and visitors

    local function flood()
      local visitors = {}
      for i = 1, many do
        visitors[i] = connect "ECHO\n"
      end
      return visitors
    end

    local function recovers(first)
      for _, each in ipairs(open) do
        each:close()
      end
      open = {}
      tunnel.eventually(is_served, "nobody is served any more")
      assert.equal(first, lab:edge_status().connectedAt)
      tunnel.eventually(function()
        return lab:edge_status().activeStreams == 0 and lab:connected().activeStreams == 0
      end, "streams are left")
      talk()
    end

    it("serves again after its edge was out of descriptors (L7)", function()
      begin {}
      local first = lab:edge_status().connectedAt
      leave_few(lab.edge, few)
      local visitors = flood()
      lab.edge:wait_for("stderr", '"msg":"cannot accept connections', sluice.patience)
      assert.matches("^PROXY ", visitors[1]:read_line())
      is_talking(visitors[1])
      for i = 1, many - few / 2 do
        visitors[i]:close()
      end
      assert.matches("^PROXY ", visitors[many]:read_line()) -- he has waited all the time
      is_talking(visitors[many])
      recovers(first)
    end)

    it("serves again after its hub was out of descriptors (L7)", function()
      begin {}
      local first, served, refused = lab:edge_status().connectedAt, {}, 0
      leave_few(lab.hub, few)
      for _, visitor in ipairs(flood()) do
        local ok, line = pcall(visitor.read_line, visitor)
        if ok then
          assert.matches("^PROXY ", line)
          table.insert(served, visitor)
        else
          assert.is_truthy(visitor.ended == "closed" or visitor.ended == "reset", line)
          refused = refused + 1
        end
      end
      assert.is_true(refused > 0 and #served > 0, refused)
      for _, visitor in ipairs(served) do
        is_talking(visitor)
      end
      recovers(first)
    end)

    it("never stops on streams that are full in both directions (L10)", function()
      begin {}
      local visitors, n, seconds = visitor_program.start(), 32, 4
      table.insert(open, visitors)
      for i = 1, n do
        visitors:tell("flood", { id = i, port = lab.ports.raw, seconds = seconds })
      end
      for i = 1, n do
        local done = visitors:wait("flooded", i, sluice.patience * 3)
        assert.is_true(done.is_same and done.size > 1000000, done.size)
        assert.is_true(done.pause < sluice.patience / 2, done.pause)
      end
      assert.equal(1, lab:edge_status().links)
    end)
  end)
end

-- Over a line that is slower than both ends, so that there is something to be first at. QUIC has a
-- flow control and a pacing of its own: what its streams get is not decided by the same queue.
describe("a slow line of a tunnel over tls", function()
  local rate = 10000000 -- bytes a second: enough for ten streams with as much as is promised to one
  local lab, line, visitors

  before_each(function()
    lab = tunnel.start { edge = false }
    line = process.start { "python3", "spec/support/tunnel_link.py", tostring(lab.hub_port),
      tostring(rate) }
    local port = line:wait_for("stdout", "^(%d+)$", sluice.patience)
    lab.edge = lab:start_edge { env = { EDGE_HUB_PORT = port } }
    lab.edge:wait_for("stderr", '"msg":"ports"', sluice.patience)
    visitors = visitor_program.start()
  end)

  after_each(function()
    visitors:close()
    local has_ended, left = pcall(tunnel.eventually, function()
      return lab:connected().activeStreams == 0
    end, "streams are left") -- an edge that ends at once would not have told all
    local ok, err = pcall(lab.stop, lab)
    line:stop()
    assert(has_ended, left)
    assert(ok, err)
  end)

  local function take(id)
    visitors:tell("open", { id = id, port = lab.ports.raw,
      bytes = visitor_program.hex("GIVE 1000000000000\n") })
  end

  local function sizes()
    visitors:tell "sizes"
    return visitors:wait("sizes").sizes
  end

  -- Most requests are fast, and none has to wait for the bulk to pause.
  local function requests_are_quick()
    local all = {}
    for i = 1, 11 do
      local began = process.now()
      assert.equal(200, http.request({ port = lab.ports.raw }).status)
      all[i] = process.now() - began
    end
    table.sort(all)
    assert.is_true(all[6] < 0.5 * slowness, all[6])
    assert.is_true(all[11] < 3 * slowness, all[11])
  end

  it("is shared by bulk and small requests (L11, L12)", function()
    take "bulk"
    tunnel.eventually(function() return (sizes().bulk or 0) > rate end, "no bulk")
    requests_are_quick()
    tunnel.eventually(function()
      return lab:connected().queue.sustained == 1
    end, "the bulk does not become what it is")
    requests_are_quick()

    for i = 1, 8 do
      take("fresh " .. i)
    end
    local function is_on(now)
      for i = 1, 8 do
        if (now["fresh " .. i] or 0) < 100000 then
          return false
        end
      end
      return true
    end
    tunnel.eventually(function() return is_on(sizes()) end, "not all get something")
    local began, before = process.now(), sizes()
    tunnel.eventually(function()
      return sizes().bulk - before.bulk >= 3000000
    end, "the bulk starves")
    local seconds, after = process.now() - began, sizes()
    assert.is_true(seconds < 5 * slowness, seconds)
    for i = 1, 8 do
      local id = "fresh " .. i
      assert.is_true(after[id] - before[id] > 300000, id)
    end
  end)
end)
