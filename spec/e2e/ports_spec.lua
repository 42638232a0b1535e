-- The ports of routes as sockets: which workers listen on them and where, what happens when one
-- cannot be had, and that a change of some leaves the others alone.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local sluice = require "support.sluice"
local socket = require "socket"

local n_workers = 3

-- What the kernel lists for a port: state 0A listens, 07 is any UDP socket.
local function sockets(transport, port)
  local state = transport == "tcp" and "0A" or "07"
  local n, addresses = 0, {}
  for _, family in ipairs { "", "6" } do
    for line in io.lines("/proc/net/" .. transport .. family) do
      local address, found = line:match(("^ *%%d+: (%%x+):%04X %%x+:%%x+ (%%x+)"):format(port))
      if found == state then
        n = n + 1
        addresses[address] = true
      end
    end
  end
  return n, addresses
end

describe("ports", function()
  local program, origin

  local function start(limits)
    program = sluice.start { script = "spec/fixtures/ports.lua", workers = n_workers,
      args = { dkjson.encode(limits) } }
    program.server_port = tonumber(program:wait_for("stdout", "^(%d+)$", sluice.patience))
  end

  before_each(function()
    start { max_connections = 1000 }
    origin = peer.listen()
  end)

  after_each(function()
    assert.equal(0, program:stop())
    assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
    origin:close()
  end)

  local function apply(list, options)
    options = options or {}
    options.routes = setmetatable(list, { __jsontype = "array" })
    local response = assert(http.request { method = "POST", port = program.server_port,
      body = dkjson.encode(options) })
    assert.equal(200, response.status)
    return dkjson.decode(response.body)
  end

  local function publish(...)
    local result = apply { ... }
    assert.is_nil(result.error)
  end

  -- A raw route to the origin; with a tunnel as the second choice when asked for.
  local function route(ports, changes)
    changes = changes or {}
    local r = sluice.route(changes.name or "raw", ports, origin.port)
    r.match.protocol = "tcp"
    r.match.transport = changes.transport
    r.match.via = changes.via
    r.action.targets[1].priority = 1
    if changes.tunnel then
      table.insert(r.action.targets, { tunnel = changes.tunnel })
    end
    return r
  end

  local function talk(pair)
    pair.client:send("ping\n")
    assert.equal("ping", pair.inner:read_line())
    pair.inner:send("pong\n")
    assert.equal("pong", pair.client:read_line())
  end

  local function open(port)
    local client = assert(peer.connect { port = port })
    local pair = { client = client, inner = assert(origin:accept(), "the origin was not asked") }
    talk(pair)
    return pair
  end

  local function close(pair)
    pair.client:close()
    pair.inner:close()
  end

  for _, transport in ipairs { "tcp", "udp" } do
    it("are for one worker when something goes into a tunnel: " .. transport, function()
      local port = http.free_port()
      publish(route(port, { transport = transport }))
      assert.equal(n_workers, (sockets(transport, port)))
      publish(route(port, { transport = transport, tunnel = "main" }))
      assert.equal(1, (sockets(transport, port)))
      publish(route(port, { transport = transport }))
      assert.equal(n_workers, (sockets(transport, port)))
      publish(route(port, { transport = transport }),
        route(port, { transport = transport, tunnel = "main", name = "other" }))
      assert.equal(1, (sockets(transport, port)))
      publish()
      assert.equal(0, (sockets(transport, port)))
      publish(route(port, { transport = transport, tunnel = "main" }))
      assert.equal(1, (sockets(transport, port)))
    end)
  end

  it("are open for bytes and datagrams alike when the route says all", function()
    local port = http.free_port()
    publish(route(port, { transport = "all" }))
    assert.equal(n_workers, (sockets("tcp", port)))
    assert.equal(n_workers, (sockets("udp", port)))
  end)

  it("are not open for what comes through a tunnel alone", function()
    local port = http.free_port()
    local other = http.free_port()
    local result = apply { route(port, { via = "tunnel", transport = "all" }), route(other) }
    assert.same({ other }, result.listening)
    assert.equal(0, (sockets("tcp", port)))
    assert.equal(0, (sockets("udp", port)))
    assert.is_nil((peer.connect { port = port }))
  end)

  it("go on while others of one worker come and go a hundred times", function()
    local plain, single, changing = http.free_port(), http.free_port(), http.free_port()
    local own = { route(plain), route(single, { tunnel = "main", name = "single" }) }
    local more = { route(changing, { tunnel = "main", name = "changing" }),
      route(changing, { transport = "udp", tunnel = "main", name = "changing-udp" }) }
    publish(own[1], own[2])
    local live = { open(plain), open(plain), open(single), open(single) }
    for i = 1, 100 do
      if i % 2 == 1 then
        publish(own[1], own[2], more[1], more[2])
        close(open(changing))
        assert.equal(1, (sockets("udp", changing)))
      else
        publish(own[1], own[2])
        assert.is_nil((peer.connect { port = changing }))
      end
      close(open(plain))
      close(open(single))
      for _, pair in ipairs(live) do
        talk(pair)
      end
    end
    assert.equal(n_workers, (sockets("tcp", plain)))
    assert.equal(1, (sockets("tcp", single)))
    for _, pair in ipairs(live) do
      close(pair)
    end
  end)

  describe("for datagrams", function()
    local target, target_port, visitors

    before_each(function()
      target = assert(socket.udp())
      assert(target:setsockname("127.0.0.1", 0))
      target:settimeout(sluice.patience)
      target_port = tonumber((select(2, target:getsockname())))
      visitors = {}
    end)

    after_each(function()
      target:close()
      for _, visitor in ipairs(visitors) do
        visitor:close()
      end
    end)

    local function visitor_of(port)
      local visitor = assert(socket.udp())
      assert(visitor:setpeername("127.0.0.1", port))
      visitor:settimeout(sluice.patience)
      table.insert(visitors, visitor)
      return visitor
    end

    local function datagrams(port, name)
      local r = sluice.route(name or "udp", port, target_port)
      r.match.transport = "udp"
      return r
    end

    -- One there and one back; the port from which the target was asked, and what came before.
    local function exchange(visitor, expects_header)
      visitor:send("question")
      local header = expects_header and assert(target:receivefrom())
      local said, ip, from = target:receivefrom()
      assert.equal("question", said)
      target:sendto("answer", ip, from)
      assert.equal("answer", visitor:receive())
      return from, header
    end

    it("carry them both ways, to a target that may hear first who sends them", function()
      local port = http.free_port()
      local r = datagrams(port)
      r.action.sendProxyProtocol = true
      publish(r)
      local sources = {}
      for _ = 1, 8 do
        local visitor = visitor_of(port)
        local from, header = exchange(visitor, true)
        assert.equal("\r\n\r\n\0\r\nQUIT\n\33\18\0\12\127\0\0\1\127\0\0\1", header:sub(1, 24))
        local own = tonumber((select(2, visitor:getsockname())))
        assert.equal(own, header:byte(25) * 256 + header:byte(26))
        assert.equal(port, header:byte(27) * 256 + header:byte(28))
        assert.equal(from, (exchange(visitor))) -- the same session: no header again
        sources[from] = true
      end
      local n = 0
      for _ in pairs(sources) do
        n = n + 1
      end
      assert.equal(8, n)
    end)

    it("keep their sessions while others come and go", function()
      local port, changing = http.free_port(), http.free_port()
      local own, more = datagrams(port), datagrams(changing, "changing")
      publish(own)
      local visitor, other = visitor_of(port)
      local from = exchange(visitor)
      for i = 1, 30 do
        if i % 2 == 1 then
          publish(own, more)
          other = visitor_of(changing)
          exchange(other)
        else
          publish(own)
          other:send("nobody is there")
        end
        assert.equal(from, (exchange(visitor)))
      end
    end)
  end)

  it("keep their connections when the number of workers changes", function()
    local port = http.free_port()
    publish(route(port))
    local live = {}
    for i = 1, 12 do
      live[i] = open(port)
    end
    publish(route(port, { tunnel = "main" }))
    live[13] = open(port)
    publish(route(port))
    for _, pair in ipairs(live) do
      talk(pair)
      close(pair)
    end
  end)

  describe("that cannot be had", function()
    local taken, blocker

    before_each(function()
      blocker = assert(socket.bind("*", 0))
      taken = tonumber((select(2, blocker:getsockname())))
    end)

    after_each(function()
      blocker:close()
    end)

    local function refused_by(result)
      local list = {}
      for _, bad in ipairs(result.refused) do
        list[bad.index] = bad.error
      end
      return list
    end

    it("refuse everything, or with tolerance the routes that need them", function()
      local port, third = http.free_port(), http.free_port()
      local busy = ("^port %d: cannot listen on .-: Address already in use$"):format(taken)
      local list = { route(taken), route(port, { name = "good" }),
        route({ third, taken }, { name = "half" }) }
      assert.matches(busy, apply(list).error)
      assert.equal(0, (sockets("tcp", port)))
      local result = apply(list, { tolerant = true })
      assert.equal(1, result.routes)
      local refused = refused_by(result)
      assert.matches(busy, refused[1])
      assert.matches(busy, refused[3])
      assert.is_nil(refused[2])
      assert.equal(n_workers, (sockets("tcp", port)))
      assert.equal(0, (sockets("tcp", third)))
      local live = open(port)
      blocker:close()
      result = apply(list, { tolerant = true })
      assert.same({ 3, {} }, { result.routes, result.refused })
      close(open(taken))
      talk(live)
      close(live)
    end)

    it("leave what is open as it is", function()
      local port = http.free_port()
      publish(route(port))
      local live = open(port)
      assert.equal(1, #apply({ route(port), route(taken, { name = "bad" }) },
        { tolerant = true }).refused)
      talk(live)
      close(live)
      close(open(port))
      assert.equal(n_workers, (sockets("tcp", port)))
    end)
  end)

  it("carry HTTP/3 or datagrams, not both", function()
    local port = http.free_port()
    local h3 = mux.route("h3", port, origin.port, "app.example")
    local datagrams = route(port, { transport = "udp" })
    local neither = ("port %d (UDP): datagrams cannot be taken where HTTP/3 is served, until the "
      .. "last of its connections has ended"):format(port)
    assert.equal(neither, apply({ h3, datagrams }).error)
    local result = apply({ h3, datagrams }, { tolerant = true })
    assert.same({ 1, { { index = 2, error = neither } } }, { result.routes, result.refused })
    publish(h3)
    publish()
    publish(datagrams)
    assert.equal(("port %d (UDP): HTTP/3 cannot be served where datagrams are taken; remove their "
      .. "route first"):format(port), apply({ h3 }).error)
    publish()
    publish(h3)
  end)

  it("are open on all addresses, or on the one that is set", function()
    local port = http.free_port()
    local r = route(port, { transport = "all" })
    publish(r)
    assert.same({ [("0"):rep(32)] = true }, (select(2, sockets("tcp", port))))
    program:stop()
    start { bind_address = "127.0.0.1" }
    publish(r)
    for _, transport in ipairs { "tcp", "udp" } do
      assert.same({ ["0100007F"] = true }, (select(2, sockets(transport, port))))
    end
    close(open(port))
    local code, _, err = sluice.run { "run", "spec/fixtures/ports.lua",
      dkjson.encode { bind_address = "localhost" } }
    assert.equal(1, code)
    assert.matches('"error":"bind_address: an IP address expected"', err)
  end)
end)
