-- Every hook of spec/fixtures/hooks.lua, as clients, targets and the log see it.

local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local sluice = require "support.sluice"

local program, gate, given, origins

local function start(changes)
  local pair, other = sluice.certificate("cert.example"), sluice.certificate("own.example")
  origins, gate = {}, peer.listen()
  local function origin(name, certificate)
    local child, port = sluice.origin(name, certificate)
    table.insert(origins, child)
    return port
  end
  given = {
    port = http.free_port(), tls_port = http.free_port(), raw_port = http.free_port(),
    second_port = http.free_port(), broken_port = http.free_port(), nobody = http.free_port(),
    origin = origin("first"), second = origin("second"),
    secure = origin("secure", sluice.certificate("localhost")),
    gate = ("http://127.0.0.1:%d/"):format(gate.port),
    cert = pair.cert, key = pair.key, other_key = other.key,
    own_cert = other.cert, own_key = other.key,
  }
  for name, value in pairs(changes or {}) do
    given[name] = value
  end
  program = sluice.start { script = "spec/fixtures/hooks.lua", workers = 1,
    args = { dkjson.encode(given) } }
end

local function stop()
  assert.equal(0, program:stop())
  gate:close()
  for _, child in ipairs(origins) do
    child:stop()
  end
  assert.is_nil(program:text("stderr"):find("starting it again", 1, true))
end

local function connect(options)
  options = options or {}
  options.port = options.port or given.port
  return peer.connect(options)
end

local function ask(path, options)
  options = options or {}
  options.port, options.path = options.port or given.port, path
  local response, err = http.request(options)
  assert.is_table(response, err)
  return response, dkjson.decode(response.body)
end

local function fails_with(pattern, path, status)
  assert.equal(status or 500, (ask(path)).status)
  assert.matches(pattern, sluice.logged(program, "the script failed").error)
end

-- Lets a hook go on that waits for the gate.
local function open_gate(body)
  local inner = assert(gate:accept(), "no hook waits")
  inner:read()
  inner:send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s")
    :format(#(body or ""), body or ""))
  inner:close()
end

describe("on_connect", function()
  setup(start)
  teardown(stop)

  it("sees who is there", function()
    local client = connect()
    local _, own_port = client.socket:getsockname()
    local line = sluice.logged(program, "connected")
    assert.same({ "127.0.0.1", tonumber(own_port), "127.0.0.1", given.port, "tcp" },
      { line.ip, line.port, line.to, line.to_port, line.transport })
    client:close()
  end)

  local function is_closed(from)
    local client = connect { from = from }
    local said, how = "", "closed"
    if client then
      client:send("GET / HTTP/1.1\r\nHost: app\r\n\r\n")
      said, how = client:read_all()
      client:close()
    end
    assert.equal("", said)
    assert.is_not.equal("timeout", how)
  end

  it("may deny", function()
    is_closed("127.0.0.9")
    assert.equal(200, (ask("/")).status)
  end)

  it("that throws closes", function()
    is_closed("127.0.0.8")
    assert.matches("no such luck", sluice.logged(program, "the script failed").error)
  end)

  it("may do nothing else", function()
    is_closed("127.0.0.10")
    assert.matches("reply cannot be returned here %(only nil, or: deny%)",
      sluice.logged(program, "the script failed").error)
  end)
end)

describe("on_hello", function()
  setup(start)
  teardown(stop)

  local function handshake(name)
    return http.connect { port = given.tls_port, tls = true, host = name }
  end

  -- The name in the certificate that is shown.
  local function shown(name)
    local client, err = handshake(name)
    assert.is_truthy(client, err)
    local subject = client:getpeercertificate():subject()[1].value
    client:close()
    return subject
  end

  local function is_refused(name)
    assert.is_nil((handshake(name)))
  end

  -- A handshake that waits for the gate: a client of its own, since ours would wait, too.
  local function with_gate(name, body)
    local process = require "support.process"
    local child = process.start { "sh", "-c", ("timeout 60 openssl s_client -connect "
      .. "127.0.0.1:%d -servername %s </dev/null 2>&1"):format(given.tls_port, name) }
    open_gate(body)
    child:wait(sluice.patience)
    return child:text("stdout")
  end

  it("that returns nothing leaves it to the route", function()
    assert.equal("own.example", shown("own.example"))
    assert.equal("own.example", shown("any.example"))
    is_refused("not.of.ours")
  end)

  it("sees the name and the protocols", function()
    local process = require "support.process"
    local child = process.start { "sh", "-c", ("timeout 60 openssl s_client -connect "
      .. "127.0.0.1:%d -servername Own.Example -alpn h2,http/1.1 </dev/null 2>&1")
      :format(given.tls_port) }
    child:wait(sluice.patience)
    local line
    repeat
      line = sluice.logged(program, "hello")
    until line.alpn ~= ""
    assert.same({ "own.example", "h2,http/1.1", "127.0.0.1" }, { line.sni, line.alpn, line.ip })
  end)

  it("gives a certificate", function()
    assert.equal("cert.example", shown("cert.example"))
    local response, seen = ask("/", { port = given.tls_port, tls = true, host = "cert.example" })
    assert.is_true(response.status == 502 or seen ~= nil) -- the target speaks TLS, we do not
  end)

  it("may wait for it", function()
    assert.matches("subject=CN *= *cert.example", with_gate("wait.example", given.key))
  end)

  it("passes the connection on", function()
    assert.equal("localhost", shown("pass.example"))
    local _, seen = ask("/x", { port = given.tls_port, tls = true, host = "pass.example" })
    assert.equal("secure", seen.origin)
    assert.is_nil(seen.headers["x-forwarded-for"])
    assert.matches("subject=CN *= *localhost", with_gate("wait-pass.example"))
  end)

  it("may deny", function()
    is_refused("deny.example")
    assert.matches("unrecognized name", with_gate("wait-deny.example"))
  end)

  it("that throws closes", function()
    is_refused("throw.example")
    assert.matches("no such luck", sluice.logged(program, "the script failed").error)
    is_refused("mismatch.example")
    assert.matches("cert: ", sluice.logged(program, "the script failed").error)
  end)

  it("is forgotten when the client goes", function()
    local client = assert(peer.connect { port = given.tls_port })
    local listener = peer.listen()
    local process = require "support.process"
    local child = process.start { "openssl", "s_client", "-connect",
      "127.0.0.1:" .. listener.port, "-servername", "wait.example" }
    local inner = listener:accept()
    local header = inner:receive(5)
    client:send(header .. inner:receive(header:byte(4) * 256 + header:byte(5)))
    inner:close()
    listener:close()
    child:wait(sluice.patience)
    local waiting = assert(gate:accept(), "no hook waits")
    client:close()
    assert.is_not.equal("timeout", select(2, waiting:read_all()))
    waiting:close()
  end)
end)

describe("on_request", function()
  setup(start)
  teardown(stop)

  it("that returns nothing leaves it to the route", function()
    assert.equal("first", select(2, ask("/")).origin)
  end)

  it("may deny", function()
    local response, body = ask("/deny")
    assert.same({ 403, "Forbidden" }, { response.status, body.error })
    response = ask("/deny/body")
    assert.same({ 429, "slow down\n", "text/plain" },
      { response.status, response.body, response.headers["content-type"] })
  end)

  it("may reply", function()
    local response = ask("/reply")
    assert.same({ 201, "made\n", "text/x", "1" }, { response.status, response.body,
      response.headers["content-type"], response.headers["x-made"] })
    response = ask("/reply/empty")
    assert.same({ 204, "" }, { response.status, response.body })
    assert.is_nil(response.headers["content-length"])
    assert.is_true(("0123456789"):rep(500000) == (ask("/reply/long")).body)
    response = ask("/reply", { method = "HEAD" })
    assert.same({ 201, "", "5" }, { response.status, response.body,
      response.headers["content-length"] })
  end)

  it("may reply to a request with a body, and the connection goes on", function()
    local client = connect()
    for _ = 1, 3 do
      client:send("POST /reply HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n\r\n"
        .. ("x"):rep(100000))
      assert.equal("made\n", client:read().body)
    end
    client:close()
  end)

  it("may redirect", function()
    local response = ask("/redirect", { host = "a.example" })
    assert.same({ 308, "https://a.example/new" }, { response.status, response.headers.location })
  end)

  it("may choose a route", function()
    assert.equal("second", select(2, ask("/route")).origin)
    assert.equal(500, (ask("/route/none")).status)
    assert.equal("no such route",
      sluice.logged(program, "on_request chose a route that does not exist").route)
  end)

  it("may choose a target", function()
    assert.equal("second", select(2, ask("/target")).origin)
    assert.equal(502, (ask("/target/down")).status)
    assert.equal("secure", select(2, ask("/target/tls")).origin)
    assert.equal(502, (ask("/target/tls/verified")).status)
  end)

  it("may wait", function()
    assert.equal("first", select(2, ask("/sleep")).origin)
    assert.matches("^nil .", (ask("/fetch/fails")).body)
    local client = connect()
    client:send("GET /fetch HTTP/1.1\r\nHost: app\r\n\r\n")
    assert.equal(200, (ask("/")).status) -- the worker does not wait
    open_gate("yes")
    assert.same({ "yes" }, dkjson.decode(client:read().body).headers["x-fetched"])
    client:close()
  end)

  it("is forgotten when the client goes", function()
    local client = connect()
    client:send("GET /fetch HTTP/1.1\r\nHost: app\r\n\r\n")
    local waiting = assert(gate:accept(), "no hook waits")
    client:reset()
    assert.is_not.equal("timeout", select(2, waiting:read_all()))
    waiting:close()
  end)

  it("reads the body, which is forwarded", function()
    local _, seen = ask("/body", { method = "POST", body = ("x"):rep(1000000) })
    assert.same({ "1000000" }, seen.headers["x-body-size"])
    assert.same({ "1000000" }, seen.headers["content-length"])
    assert.is_true(seen.body == ("x"):rep(1000000))
    _, seen = ask("/body/twice", { method = "POST", body = "hello" })
    assert.same({ "true" }, seen.headers["x-same"])
    assert.equal("hello", seen.body)
    _, seen = ask("/body")
    assert.same({ "0" }, seen.headers["x-body-size"])
  end)

  it("reads a body in chunks", function()
    local client = connect()
    client:send("POST /body/reply HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n")
    assert.is_true(client:is_quiet())
    client:send("hello\r\n7\r\n, world\r\n0\r\n\r\n")
    assert.equal("HELLO, WORLD", client:read().body)
    client:close()
  end)

  it("that reads the body makes the client send it", function()
    local client = connect()
    client:send("POST /body HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\n"
      .. "Content-Length: 5\r\n\r\n")
    assert.equal(100, client:read().status)
    client:send("hello")
    assert.equal("hello", dkjson.decode(client:read().body).body)
    client:close()
  end)

  it("is told when the body is too large, and it is forwarded all the same", function()
    local long = ("x"):rep(3000000)
    for _, path in ipairs { "/body", "/body/limit" } do
      local _, seen = ask(path, { method = "POST", body = long })
      assert.same({ "too large" }, seen.headers["x-body-size"])
      assert.is_true(seen.body == long)
    end
    local client = connect()
    client:send("POST /body/limit HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "14\r\n01234567890123456789\r\n")
    client:send("0\r\n\r\n")
    assert.equal(200, client:read().status)
    client:close()
  end)

  it("changes what the target sees", function()
    local _, seen = ask("/edit", { headers = { Cookie = "a=b" } })
    assert.equal("/other?q=1", seen.path)
    assert.same({ "inner.example:81" }, seen.headers.host)
    assert.same({ "1", "2" }, seen.headers["x-a"])
    assert.is_nil(seen.headers.cookie)
  end)

  it("sees the request", function()
    local _, info = ask("/info?a=1&b", { method = "POST", host = "App.Example:80",
      headers = { Cookie = "a=1; b=2; b=3", ["x-list"] = "1" } })
    assert.is_true(info.headers >= 4)
    info.headers = nil
    assert.same({ method = "POST", path = "/info", query = "a=1&b", target = "/info?a=1&b",
      host = "app.example", scheme = "http", version = "1.1", ip = "127.0.0.1",
      local_port = given.port, transport = "tcp", id = "number", cookie = "2", list = "1",
      hash = true }, info)
    _, info = ask("/info", { port = given.tls_port, tls = true, host = "own.example" })
    assert.same({ "https", "TLSv1.3", "own.example" }, { info.scheme, info.tls, info.sni })
  end)

  it("that throws gives 500", function()
    fails_with("hooks.lua:%d+: no such luck", "/throw")
  end)

  it("may return nothing but verbs, and of those its own", function()
    fails_with("a number cannot be returned here", "/verb/number")
    fails_with("a table without a verb cannot be returned here", "/verb/none")
    fails_with("passthrough cannot be returned here %(only nil, or: deny, reply, redirect, route, "
      .. "target", "/verb/foreign")
    fails_with("reply.status: a number from 200 to 599 expected", "/verb/odd")
  end)
end)

describe("on_response", function()
  setup(start)
  teardown(stop)

  it("changes what the client sees", function()
    local response = ask("/response/edit")
    local headers = response.headers
    assert.same({ 202, "200", "127.0.0.1:" .. given.origin, "1, 2", "/response/edit" }, {
      response.status, headers["x-status"], headers["x-target"], headers["x-b"],
      headers["x-seen"] })
    assert.is_nil(headers.server)
  end)

  it("may reply instead", function()
    local client = connect()
    for _ = 1, 2 do
      client:send("GET /response/reply HTTP/1.1\r\nHost: app\r\n\r\n")
      local response = client:read()
      assert.same({ 200, "instead\n", "1" }, { response.status, response.body,
        response.headers["x-instead"] })
    end
    client:close()
  end)

  it("that throws gives 502", function()
    fails_with("no such luck", "/response/throw", 502)
  end)

  it("may not wait, nor return anything else", function()
    fails_with("sleep cannot be called in on_response", "/response/wait", 502)
    fails_with("deny cannot be returned here %(only nil, or: reply%)", "/response/deny", 502)
  end)
end)

describe("on_failure", function()
  setup(start)
  teardown(stop)

  local function broken(path)
    return ask(path, { port = given.broken_port })
  end

  it("may say it better", function()
    local response, failure = broken("/failure/reply")
    assert.same({ 502, "1" }, { response.status, response.headers["x-failed"] })
    assert.same({ status = 502, error = "no target could be reached", route = "broken",
      target = "127.0.0.1:" .. given.nobody }, failure)
    local entry = sluice.logged(program, "done")
    assert.same({ 502, "no target could be reached" }, { entry.status, entry.error })
  end)

  it("may leave it as it is", function()
    local response = broken("/")
    assert.same({ 502, nil }, { response.status, response.headers["x-failed"] })
  end)

  it("is not asked when the target answers", function()
    local response = ask("/failure/reply")
    assert.same({ 200, nil }, { response.status, response.headers["x-failed"] })
  end)

  it("that throws gives the plain answer", function()
    for path, message in pairs {
      ["/failure/throw"] = "no such luck",
      ["/failure/wait"] = "sleep cannot be called in on_failure",
      ["/failure/deny"] = "deny cannot be returned here %(only nil, or: reply%)",
    } do
      assert.equal(502, (broken(path)).status)
      assert.matches(message, sluice.logged(program, "the script failed").error)
    end
  end)
end)

describe("on_done", function()
  setup(start)
  teardown(stop)

  it("knows what an exchange was", function()
    ask("/some/path?q", { method = "POST", host = "a.example:1", body = "hello" })
    local entry = sluice.logged(program, "done")
    assert.is_true(entry.duration >= 0 and entry.duration < 60)
    assert.equal("number", type(entry.id))
    assert.is_true(entry.bytes_out > 50)
    assert.same({ "exchange", "app", "127.0.0.1:" .. given.origin, "POST", "a.example",
      "/some/path", 200, "1.1", "127.0.0.1", 5, nil }, { entry.kind, entry.route, entry.target,
      entry.method, entry.host, entry.path, entry.status, entry.version, entry.ip,
      entry.bytes_in, entry.error })
  end)

  it("knows what went wrong", function()
    ask("/target/down")
    local entry = sluice.logged(program, "done")
    assert.same({ 502, "no target could be reached" }, { entry.status, entry.error })
    ask("/throw")
    entry = sluice.logged(program, "done")
    assert.equal(500, entry.status)
    assert.matches("on_request", entry.error)
    ask("/deny")
    entry = sluice.logged(program, "done")
    assert.same({ 403, nil, nil }, { entry.status, entry.error, entry.target })
  end)

  it("knows that the client has gone", function()
    local client = connect()
    client:send("GET /fetch HTTP/1.1\r\nHost: app\r\n\r\n")
    local waiting = assert(gate:accept(), "no hook waits")
    client:reset()
    waiting:read_all()
    waiting:close()
    local entry = sluice.logged(program, "done")
    assert.equal(499, entry.status)
    assert.is_string(entry.error)
  end)

  it("knows what a raw stream was", function()
    local request = "GET /raw HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"
    local client = connect { port = given.raw_port }
    client:send(request)
    local said = client:read_all()
    client:close()
    local entry = sluice.logged(program, "done")
    assert.same({ "stream", "raw", #request, #said, "127.0.0.1" },
      { entry.kind, entry.route, entry.bytes_in, entry.bytes_out, entry.ip })
    assert.is_nil(entry.status)
    assert.equal("127.0.0.1:" .. given.origin, entry.target)
  end)

  it("that throws is logged", function()
    assert.equal(200, (ask("/done/throw")).status)
    local line = sluice.logged(program, "the script failed")
    assert.equal("on_done", line["in"])
    assert.matches("no such luck", line.error)
  end)
end)

describe("a hook that waits for too long", function()
  teardown(stop)

  it("is given up", function()
    start { limits = { hook_timeout = 200 } }
    assert.equal(500, (ask("/sleep/long", { host = "a.example" })).status)
    local line = sluice.logged(program, "on_request waits for too long: the request was refused")
    assert.equal("a.example", line.host)
    assert.is_nil((http.connect { port = given.tls_port, tls = true, host = "wait.example" }))
  end)
end)

describe("with on_error = continue a hook that throws", function()
  setup(function()
    start { on_error = "continue" }
  end)
  teardown(stop)

  it("counts as one that returned nothing", function()
    local paths = { "/throw", "/response/throw" }
    if os.getenv("SLUICE_FLAVOUR") ~= "tsan" then -- it holds back the signal that ends a loop
      table.insert(paths, "/loop")
    end
    for _, path in ipairs(paths) do
      assert.equal(200, (ask(path)).status, path)
      assert.is_string(sluice.logged(program, "the script failed").error)
    end
    local client = connect { from = "127.0.0.8" }
    client:send("GET / HTTP/1.1\r\nHost: app\r\n\r\n")
    assert.equal(200, client:read().status)
    client:close()
  end)

  it("but not one that returned what it may not", function()
    assert.equal(500, (ask("/verb/number")).status)
    assert.equal(502, (ask("/response/deny")).status)
  end)
end)
