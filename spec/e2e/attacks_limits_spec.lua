-- Group LM of the attacks: clients that send too much, too slowly, or never read. What they meet is
-- a limit, and nobody else notices.

local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"
local poll = require "posix.poll"
local socket = require "socket"

local head = "GET / HTTP/1.1\r\nHost: app\r\n"
local bulk = ("x"):rep(64 * 1024 * 1024)

describe("a client that", function()
  local program, origin, port

  before_each(function()
    origin, port = peer.listen(), http.free_port()
  end)

  after_each(function()
    assert.equal(0, program:stop())
    origin:close()
    assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
  end)

  local function start(limits, options)
    options = options or {}
    options.workers = 1
    options.config = { limits = limits, routes = { sluice.route("app", port, origin.port) } }
    program = sluice.start(options)
  end

  local function connect()
    return assert(peer.connect { port = port })
  end

  local function serve(inner, headers)
    inner:read()
    inner:send("HTTP/1.1 200 OK\r\n" .. (headers or "") .. "Content-Length: 2\r\n\r\nok")
  end

  -- The connection with this request; those of attacks that got to the origin are over.
  local function accept(line)
    while true do
      local inner = assert(origin:accept(), "the origin was not asked")
      local ok, request = pcall(inner.read_head, inner)
      if ok and request.line == line then
        return inner
      end
      inner:close()
    end
  end

  -- A request on a new connection, which the origin answers.
  local function is_served()
    local client = connect()
    client:send("GET /served HTTP/1.1\r\nHost: app\r\n\r\n")
    local inner = accept("GET /served HTTP/1.1")
    inner:send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert.equal("ok", client:read().body)
    inner:close()
    client:close()
  end

  local function is_refused(client, status)
    assert.equal(status, client:read().status)
    assert.equal("", (client:read_all()))
    client:close()
  end

  local function sends(status, text)
    local client = connect()
    client:send(text)
    is_refused(client, status)
    is_served()
  end

  it("LM-01 sends a target of 64 KB gets 414", function()
    start()
    sends(414, "GET /" .. ("a"):rep(65536) .. " HTTP/1.1\r\nHost: app\r\n\r\n")
    sends(414, "GET /" .. ("a"):rep(65536))
    sends(414, ("a"):rep(65536))
  end)

  it("LM-02 sends large or many headers gets 431", function()
    start()
    sends(431, head .. "X-A: " .. ("a"):rep(65536) .. "\r\n\r\n")
    sends(431, head .. "X-A: " .. ("a"):rep(65536))
    sends(431, head .. ("a"):rep(65536))
    sends(431, head .. ("a: b\r\n"):rep(20000) .. "\r\n")
    sends(431, head .. "Transfer-Encoding: chunked\r\n\r\n0\r\n" .. ("a: b\r\n"):rep(20000))
  end)

  it("LM-02 meets the limits that the operator has set", function()
    start { max_target = 100, max_head = 200, max_headers = 3 }
    sends(414, "GET /" .. ("a"):rep(101) .. " HTTP/1.1\r\nHost: app\r\n\r\n")
    sends(431, head .. "X-A: " .. ("a"):rep(200) .. "\r\n\r\n")
    sends(431, head .. "X-A: 1\r\nX-B: 2\r\nX-C: 3\r\n\r\n")
  end)

  it("LM-04 drips its head gets 408, and others are served meanwhile", function()
    start { head_timeout = 1500 }
    local slow, n_refused = {}, 0
    for i = 1, 200 do
      slow[i] = connect()
      slow[i]:send(head .. "X-A: ")
    end
    local deadline = process.now() + sluice.patience
    while n_refused < #slow do
      assert(process.now() < deadline, n_refused .. " of the slow ones were refused")
      is_served()
      n_refused = 0
      for _, client in ipairs(slow) do
        client:send("a")
        n_refused = n_refused + (client:is_quiet() and 0 or 1)
      end
    end
    for _, client in ipairs(slow) do
      assert.equal(408, client:read().status)
      client:close()
    end
  end)

  it("LM-04 says nothing at all gets 408", function()
    start { head_timeout = 300 }
    is_refused(connect(), 408)
    is_served()
  end)

  it("LM-05 declares a body and sends none gets 408", function()
    start { body_timeout = 300 }
    for _, framing in ipairs { "Content-Length: 5", "Transfer-Encoding: chunked" } do
      local client = connect()
      client:send("POST / HTTP/1.1\r\nHost: app\r\n" .. framing .. "\r\n\r\n")
      local inner = origin:accept()
      is_refused(client, 408)
      local _, how = inner:read_all()
      assert.equal("reset", how) -- so that the origin cannot take it for the whole
      inner:close()
    end
    is_served()
  end)

  it("LM-05 stops in the middle of its body gets 408", function()
    start { body_timeout = 300 }
    local client = connect()
    client:send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nhe")
    is_refused(client, 408)
    is_served()
  end)

  it("LM-05 sends its body far too slowly gets 408", function()
    start { body_timeout = 500, min_body_rate = 1000000 }
    local client = connect()
    client:send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000\r\n\r\n")
    local inner = origin:accept()
    local deadline = process.now() + sluice.patience
    while client:is_quiet() do
      assert(process.now() < deadline, "it is still waited for")
      client:send("x")
      is_served()
    end
    is_refused(client, 408)
    inner:close()
  end)

  it("LM-07 never reads holds back its origin and is cut off", function()
    start { write_timeout = 3000 }
    local client = assert(socket.tcp())
    client:setoption("recv-buffer-size", 4096)
    assert(client:connect("127.0.0.1", port))
    client:send(head .. "\r\n")
    local inner = origin:accept()
    inner:read()
    inner:send("HTTP/1.1 200 OK\r\nContent-Length: " .. #bulk .. "\r\n\r\n")
    local sent = inner:stuff(bulk)
    assert.is_true(sent < 32 * 1024 * 1024, sent .. " bytes were taken")
    is_served()
    local _, how = inner:read_all()
    assert.matches("^[cr][le][os]", how) -- closed or reset, not timeout
    client:close()
  end)

  it("LM-07 drips a body while it does not read is cut off all the same", function()
    start { write_timeout = 1000, body_timeout = 60000 }
    local client = connect()
    client:send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000\r\n\r\n")
    local inner = origin:accept()
    inner:read_head()
    inner:send("HTTP/1.1 200 OK\r\nContent-Length: " .. #bulk .. "\r\n\r\n")
    inner:stuff(bulk)
    local deadline = process.now() + sluice.patience
    while client:send("a") do
      assert(process.now() < deadline, "it is still served")
      is_served()
    end
    client:close()
    inner:close()
  end)

  it("LM-08 idles makes room when all connections are taken", function()
    start { max_connections = 8 }
    local idle = {}
    for i = 1, 8 do
      idle[i] = connect()
      idle[i]:send(head .. "\r\n")
      local inner = origin:accept()
      serve(inner, "Connection: close\r\n")
      assert.equal("ok", idle[i]:read().body)
      inner:close()
    end
    is_served()
    assert.equal("closed", select(2, idle[1]:read_all())) -- the oldest one
    for i = 2, 8 do
      assert.is_true(idle[i]:is_quiet(), "the idle connection " .. i)
      idle[i]:close()
    end
  end)

  it("LM-08 works is not closed for one that comes", function()
    start { max_connections = 2 }
    local busy = {}
    for i = 1, 2 do
      busy[i] = connect()
      busy[i]:send(head .. "\r\n")
      busy[i].inner = origin:accept()
    end
    local third = connect()
    assert.equal("", (third:read_all()))
    program:wait_for("stderr", '"msg":"connection refused: all connections are in use')
    for _, client in ipairs(busy) do
      serve(client.inner, "Connection: close\r\n")
      assert.equal("ok", client:read().body)
      client:close()
      client.inner:close()
    end
    is_served()
  end)

  it("LM-08 idles for too long is closed", function()
    start { idle_timeout = 300 }
    local client = connect()
    client:send(head .. "\r\n")
    serve(origin:accept())
    assert.equal("ok", client:read().body)
    assert.equal("closed", select(2, client:read_all()))
    client:close()
  end)

  -- CPU time of the runtime process, in seconds.
  local function cpu_seconds(pid)
    local stat = sluice.read(("/proc/%d/stat"):format(pid)):match("%) (.*)$")
    local fields = {}
    for field in stat:gmatch("%S+") do
      table.insert(fields, field)
    end
    return (fields[12] + fields[13]) / 100
  end

  it("LM-10 takes the last descriptor leaves those that are served alone", function()
    start({ max_connections = 10000, idle_timeout = 600000 },
      { prefix = { "sh", "-c", 'ulimit -n 96; exec "$@"', "sh" } })
    local pid = sluice.runtime_of(program)
    local client = connect()
    client:send(head .. "\r\n")
    local inner = origin:accept()
    serve(inner)
    assert.equal("ok", client:read().body)

    local flood = {}
    for i = 1, 150 do
      flood[i] = connect()
    end
    program:wait_for("stderr", '"msg":"cannot accept connections')
    client:send(head .. "\r\n")
    serve(inner)
    assert.equal("ok", client:read().body) -- both of its connections were open before

    local before = cpu_seconds(pid)
    assert.is_true(flood[150]:is_quiet())
    poll.rpoll(flood[150].socket:getfd(), 1000) -- nothing comes of it
    assert.is_true(flood[150]:is_quiet())
    assert.is_true(cpu_seconds(pid) - before < 0.3, "it spins")

    for _, one in ipairs(flood) do
      one:close()
    end
    client:close()
    inner:close()
    is_served()
  end)
end)
