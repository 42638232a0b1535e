-- Targets that speak HTTP/2, which are not sluice: nghttpd, and python3-h2 behind
-- spec/support/h2_origin.py. Clients come over HTTP/1.1 and HTTP/2.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local mux_client = require "support.mux_client"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"

local host = "app.example"

local function with_certificate(argv)
  local pair, files = sluice.certificate(host), {}
  for _, part in ipairs { "cert", "key" } do
    local path = os.tmpname()
    sluice.write(path, pair[part])
    table.insert(files, path)
  end
  return argv, files
end

local function remove(files)
  for _, path in ipairs(files) do
    os.remove(path)
  end
end

local function start_origin(is_tls)
  local argv, files = { "python3", "spec/support/h2_origin.py" }, {}
  if is_tls then
    argv, files = with_certificate(argv)
    table.insert(argv, files[1])
    table.insert(argv, files[2])
  end
  local child = process.start(argv)
  local port = tonumber(child:wait_for("stdout", "^(%d+)$", sluice.patience))
  remove(files)
  return child, port
end

describe("a target of HTTP/2", function()
  local program, origin, port, open

  before_each(function()
    port, open = http.free_port(), {}
  end)

  after_each(function()
    for _, connection in ipairs(open) do
      connection:close()
    end
    assert.equal(0, program:stop())
    assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
    if origin then
      origin:stop()
      origin = nil
    end
  end)

  -- options: tls of the target, backend, limits
  local function start(options)
    local target_port
    origin, target_port = start_origin(options.tls)
    local route = mux.route("app", port, target_port, host)
    route.action.options = { backendProtocol = options.backend or "http2" }
    route.action.tls.mode = options.tls and "terminate-and-reencrypt" or "terminate"
    program = mux.start { routes = { route }, limits = options.limits, workers = 1 }
  end

  local function connect()
    local client = mux_client.connect("h2", { port = port, host = host })
    table.insert(open, client)
    return client
  end

  local function ask(options)
    options.port, options.tls, options.host = port, true, host
    return assert(http.request(options))
  end

  local function asked(response)
    assert.equal(200, response.status, response.body)
    return dkjson.decode(response.body)
  end

  local function field(seen, name)
    local values = {}
    for _, pair in ipairs(seen.headers) do
      if pair[1] == name then
        table.insert(values, pair[2])
      end
    end
    return #values > 0 and table.concat(values, " & ") or nil
  end

  it("sees a request of HTTP/1.1 as one of its own", function()
    start {}
    local seen = asked(ask { method = "POST", path = "/a?b=c", body = "hello",
      headers = { Cookie = "a=1", TE = "trailers" } })
    assert.equal("POST", field(seen, ":method"))
    assert.equal("/a?b=c", field(seen, ":path"))
    assert.equal(host, field(seen, ":authority"))
    assert.equal("http", field(seen, ":scheme"))
    assert.equal("https", field(seen, "x-forwarded-proto"))
    assert.equal("5", field(seen, "content-length"))
    assert.equal("trailers", field(seen, "te"))
    assert.equal("a=1", field(seen, "cookie"))
    assert.is_nil(field(seen, "connection"))
    assert.is_nil(field(seen, "host"))
    assert.equal("hello", seen.body)
  end)

  for _, case in ipairs {
    { name = "in plain text", tls = false, backend = "http2" },
    { name = "over TLS", tls = true, backend = "http2" },
    { name = "that was found out", tls = true, backend = "auto" },
  } do
    it("is asked over one connection " .. case.name, function()
      start(case)
      local client = connect()
      local ids = {}
      for i = 1, 20 do
        ids[i] = client:request { path = "/" .. i }
      end
      for i = 1, 20 do
        local seen = asked(client:response(ids[i]))
        assert.equal("/" .. i, field(seen, ":path"))
        assert.equal(1, seen.connection)
      end
      assert.equal(1, asked(ask { path = "/again" }).connection)
    end)

    it("takes and gives long bodies " .. case.name, function()
      start(case)
      local size = 3000000
      local client = connect()
      local up = client:request { method = "POST", path = "/upload", size = size }
      local down = client:request { path = "/bytes/" .. size }
      local sent, got = client:response(up), client:response(down)
      assert.equal(size, got.size)
      assert.equal(got.sha256, sent.body)
    end)
  end

  it("that speaks HTTP/1.1 only is asked so", function()
    local target_port
    origin, target_port = sluice.origin("old", sluice.certificate(host))
    local route = mux.route("app", port, target_port, host)
    route.action.options = { backendProtocol = "auto" }
    route.action.tls.mode = "terminate-and-reencrypt"
    program = mux.start { routes = { route }, workers = 1 }
    local client = connect()
    local ids = {}
    for i = 1, 5 do
      ids[i] = client:request { path = "/" .. i }
    end
    for i = 1, 5 do
      assert.equal(200, client:response(ids[i]).status)
    end
  end)

  it("that speaks HTTP/1.1 only is a failure when HTTP/2 is demanded", function()
    local target_port
    origin, target_port = sluice.origin("old")
    local route = mux.route("app", port, target_port, host)
    route.action.options = { backendProtocol = "http2" }
    program = mux.start { routes = { route }, workers = 1 }
    assert.equal(502, ask({}).status)
    assert.equal("the target does not speak HTTP/2",
      sluice.logged(program, "target failed").detail)
  end)

  describe("with gRPC", function()
    local grpc = { { "content-type", "application/grpc" }, { "te", "trailers" } }

    it("talks in both directions at once, and ends with a status", function()
      start {}
      local client = connect()
      local id = client:request { method = "POST", path = "/grpc", headers = grpc, open = true,
        live = true }
      client:wait("head", id)
      for _, word in ipairs { "one", "two", "three" } do
        client:send(id, word)
        assert.equal(word, client:wait("data", id).bytes)
      end
      client:tell("trailers", { id = id, headers = { { "x-last", "7" } } })
      local response = client:response(id)
      assert.equal("onetwothree", response.body)
      assert.same({ "grpc-status", "0" }, response.trailers[1])
      assert.matches('"x%-last", "7"', response.trailers[2][2])
    end)

    it("may answer with a head alone", function()
      start {}
      local response = connect():ask { method = "POST", path = "/grpc/none", headers = grpc,
        body = "x" }
      assert.equal("12", response.headers["grpc-status"])
      assert.equal(0, response.size)
    end)
  end)

  it("gets trailers of HTTP/1.1 and sends its own there", function()
    start {}
    local client = peer.connect { port = port, tls = true, host = host }
    table.insert(open, client)
    client:send("POST /trailers HTTP/1.1\r\nHost: " .. host .. "\r\n"
      .. "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 9\r\n\r\n")
    local response = client:read()
    local seen = dkjson.decode(response.body)
    assert.equal("hi", seen.body)
    assert.same({ { "x-sum", "9" } }, seen.trailers)
    assert.same({ ["x-first"] = "1", ["x-second"] = "2" }, response.trailers)
  end)

  it("may give hints", function()
    start {}
    local client = connect()
    local id = client:request { path = "/hint" }
    assert.equal(103, client:wait("interim", id).status)
    assert.equal(200, client:response(id).status)
  end)

  it("answers HEAD without a body", function()
    start {}
    local response = connect():ask { method = "HEAD" }
    assert.equal(200, response.status)
    assert.equal(0, response.size)
  end)

  it("that refuses a request is asked again, whatever the method", function()
    start {}
    local seen = asked(ask { method = "POST", path = "/refused" })
    assert.equal(2, seen.connection)
  end)

  it("that says GOAWAY gets another connection", function()
    start {}
    assert.equal(1, asked(ask { path = "/goaway" }).connection)
    assert.equal(2, asked(ask {}).connection)
    assert.equal(2, asked(ask {}).connection)
  end)

  it("that does not answer does not hold up the others", function()
    start { limits = { response_timeout = 1000 } }
    local client = connect()
    local never = client:request { path = "/never" }
    assert.equal("/", field(asked(client:ask {}), ":path"))
    assert.equal(504, client:response(never).status)
    assert.equal(200, client:ask({}).status)
  end)

  it("goes on after clients that give up", function()
    start {}
    local client = connect()
    assert.equal(1, asked(client:ask {}).connection) -- one that nobody waits for is not finished
    for _ = 1, 5 do
      client:cancel(client:request { path = "/never" })
    end
    assert.equal(1, asked(client:ask {}).connection)
  end)

  it("talks WebSocket with clients of HTTP/1.1", function()
    start {}
    local client = peer.connect { port = port, tls = true, host = host }
    table.insert(open, client)
    client:send("GET /chat HTTP/1.1\r\nHost: " .. host .. "\r\nConnection: Upgrade\r\n"
      .. "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    local head = client:read_head()
    assert.equal(101, head.status)
    assert.equal("websocket", head.headers.upgrade)
    assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", head.headers["sec-websocket-accept"])
    client:send("raw bytes")
    assert.equal("raw bytes", client:receive(9))
  end)

  it("talks WebSocket with clients of HTTP/2", function()
    start {}
    local client = connect()
    local id = client:request { method = "CONNECT", protocol = "websocket", path = "/chat",
      headers = { { "sec-websocket-version", "13" } }, open = true, live = true }
    assert.equal(200, client:wait("head", id).status)
    client:send(id, "raw bytes")
    assert.equal("raw bytes", client:wait("data", id).bytes)
    client:send(id, "", true)
    assert.equal("raw bytes", client:response(id).body)
  end)

  it("may be nghttpd", function()
    local target_port, folder = http.free_port(), os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
    finally(function()
      os.execute("rm -r " .. folder)
    end)
    sluice.write(folder .. "/page", ("0123456789"):rep(100000))
    origin = process.start { "nghttpd", "--no-tls", "-v", "-d", folder, "--trailer", "x-after: 1",
      "-m", "10", "-b", "50", tostring(target_port) }
    origin:wait_for("stdout", "^IPv4: listen.*$", sluice.patience)
    local route = mux.route("app", port, target_port, host)
    route.action.options = { backendProtocol = "http2" }
    program = mux.start { routes = { route }, workers = 1 }
    local client = connect()
    local ids = {}
    for i = 1, 50 do
      ids[i] = client:request { path = "/page" }
    end
    for i = 1, 50 do
      local response = client:response(ids[i])
      assert.equal(200, response.status)
      assert.equal(1000000, response.size)
      assert.same({ { "x-after", "1" } }, response.trailers)
    end
    assert.equal(404, client:ask({ path = "/none" }).status)
  end)
end)
