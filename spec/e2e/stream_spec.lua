-- Bodies in pieces, in a hook and in a server of the script's own (spec/fixtures/stream.lua), over
-- every version of HTTP; and the same between fetches and servers of one thread
-- (spec/fixtures/library/stream.lua).

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

local mib = 1024 * 1024
local bulk = (sluice.is_sanitized and 16 or 64) * mib
local growth = 24 * mib -- of the whole program, with whatever is on the way in kernel-sized buffers

local program, ports, origin

local function start()
  origin = peer.listen()
  ports = { hook = http.free_port(), tls = http.free_port(), slow = http.free_port() }
  program = sluice.start { script = "spec/fixtures/stream.lua", workers = 1, args = {
    dkjson.encode {
      routes = {
        sluice.route("plain", ports.hook, origin.port),
        mux.route("secure", ports.tls, origin.port, "app.example"),
      },
      limits = { write_timeout = 1500 },
    } } }
  ports.server = tonumber(program:wait_for("stdout", "^(%d+)$", sluice.patience))
end

-- What no test may leave behind: a body function that went on without its client.
local function stop()
  assert.equal(0, program:stop())
  origin:close()
  local log = program:text("stderr")
  assert.is_nil(log:find("the writer was told", 1, true))
  assert.is_nil(log:find("starting it again", 1, true))
end

local function ask(port, path, options)
  options = options or {}
  options.port, options.path = port, path
  local response, err = http.request(options)
  assert.is_table(response, err)
  return response
end

-- The line of on_done about the next request to this path that went wrong.
local function failed(path)
  while true do
    local entry = sluice.logged(program, "done")
    if entry.path == path and entry.error then
      return entry
    end
  end
end

local function peak()
  local status = sluice.read(("/proc/%d/status"):format(sluice.runtime_of(program)))
  return tonumber(status:match("VmHWM:%s*(%d+)")) * 1024
end

local function stays_small(fn)
  sluice.write(("/proc/%d/clear_refs"):format(sluice.runtime_of(program)), "5") -- a new peak
  local before = peak()
  fn()
  local more = peak() - before
  assert.is_true(sluice.is_sanitized or more < growth,
    ("%.0f MiB more"):format(more / mib))
end

local function shell(text, ...)
  local child = process.start { "bash", "-c", "set -o pipefail; " .. text:format(...) }
  local code = child:wait(sluice.patience * 2)
  return code, (child:text("stdout") .. child:text("stderr")):match("^%s*(.-)%s*$")
end

local function curl(flag, path)
  return ("curl -sSk %s --resolve app.example:%d:127.0.0.1 https://app.example:%d%s"):format(flag,
    ports.tls, ports.tls, path)
end

describe("bodies in pieces", function()
  setup(start)
  teardown(stop)

  for _, place in ipairs { "hook", "server" } do
    describe("in a " .. place, function()
      local port

      before_each(function()
        port = ports[place]
      end)

      it("are written with what waits in between", function()
        local client = peer.connect { port = port }
        client:send("GET /words HTTP/1.1\r\nHost: a\r\n\r\n")
        local response = client:read()
        assert.same({ 200, "one two three", "chunked" },
          { response.status, response.body, response.headers["transfer-encoding"] })
        local cookies = {}
        for _, field in ipairs(response.list) do
          if field[1] == "Set-Cookie" then
            table.insert(cookies, field[2])
          end
        end
        assert.same({ "a=1", "b=2" }, cookies)
        client:send("GET /pairs HTTP/1.1\r\nHost: a\r\n\r\n") -- the connection goes on
        response = client:read()
        assert.same({ "whole", "a=1, b=2" }, { response.body, response.headers["set-cookie"] })
        client:close()
      end)

      it("end with the connection for HTTP/1.0", function()
        local client = peer.connect { port = port }
        client:send("GET /words HTTP/1.0\r\nHost: a\r\n\r\n")
        local text, how = client:read_all()
        assert.matches("\r\n\r\none two three$", text)
        assert.equal("closed", how)
        client:close()
      end)

      it("come back while they are sent", function()
        local client = peer.connect { port = port }
        client:send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _, word in ipairs { "one", "two" } do
          client:send(("%x\r\n%s\r\n"):format(#word, word))
          if word == "one" then
            assert.equal(200, client:read_head().status)
          end
          assert.equal(("%x\r\n%s\r\n"):format(#word, word), client:receive(#word + 5))
        end
        client:send("0\r\n\r\n")
        assert.equal("0\r\n\r\n", client:receive(5))
        client:close()
      end)

      it("are asked for only when somebody reads", function()
        local client = peer.connect { port = port }
        client:send("POST /count HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
          .. "Content-Length: 5\r\n\r\n")
        assert.equal(100, client:read().status)
        client:send("hello")
        assert.equal("5 true nil", client:read().body)
        client:send("POST /words HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
          .. "Content-Length: 5\r\n\r\n")
        assert.equal(200, client:read().status)
        client:close()
      end)

      it("are read partly before the answer begins, and partly after", function()
        local body = ("0123456789"):rep(30000)
        assert.equal("012|" .. body:sub(4) .. "|nil nil",
          ask(port, "/echo/early", { method = "POST", body = body }).body)
        assert.equal("300000 true nil", ask(port, "/count", { method = "POST", body = body }).body)
        assert.equal("0 true nil", ask(port, "/count").body)
      end)

      it("may be empty, and are not made for nothing", function()
        assert.same({ 200, "", "0" }, { ask(port, "/nothing").status, ask(port, "/nothing").body,
          ask(port, "/nothing").headers["content-length"] })
        local response = ask(port, "/head", { method = "HEAD" })
        assert.same({ 200, "b" }, { response.status, response.headers["x-a"] })
        for _, status in ipairs { 204, 304 } do
          response = ask(port, "/head?" .. status)
          assert.same({ status, "" }, { response.status, response.body })
        end
        assert.is_nil(program:text("stderr"):find("the body function was called", 1, true))
      end)

      it("have the length that was announced, or break off", function()
        local response = ask(port, "/length?25,25")
        assert.same({ ("x"):rep(25), "25" }, { response.body, response.headers["content-length"] })
        assert.equal(500, ask(port, "/length?25,0").status)
        assert.matches("25 bytes shorter than its content%-length",
          sluice.logged(program, "the script failed").error)
        for lengths, written in pairs { ["25,15"] = 15, ["25,35"] = 20 } do
          local client = peer.connect { port = port }
          client:send("GET /length?" .. lengths .. " HTTP/1.1\r\nHost: a\r\n\r\n")
          assert.matches("\r\n\r\n" .. ("x"):rep(written) .. "$", (client:read_all()))
          assert.matches(written == 15 and "10 bytes shorter than its content%-length"
            or "5 bytes more than the content%-length",
            sluice.logged(program, "the script failed").error)
          client:close()
        end
      end)

      it("that fail do not look whole", function()
        assert.equal(500, ask(port, "/throw?early").status)
        local client = peer.connect { port = port }
        client:send("GET /throw?late HTTP/1.1\r\nHost: a\r\n\r\n")
        local text = client:read_all()
        assert.matches("^HTTP/1.1 200 .-\r\n\r\n3e8\r\n" .. ("x"):rep(1000) .. "\r\n$", text)
        client:close()
        for _ = 1, 2 do
          assert.matches("on purpose", sluice.logged(program, "the script failed").error)
        end
      end)

      it("that give up do not look whole, and are nobody's mistake", function()
        local client = peer.connect { port = port }
        client:send("GET /throw?false HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.matches("\r\n\r\n3e8\r\n" .. ("x"):rep(1000) .. "\r\n$", (client:read_all()))
        client:close()
        ask(port, "/throw?early")
        assert.matches("on purpose", sluice.logged(program, "the script failed").error)
      end)

      it("let others run, however often a function writes or reads", function()
        local n = sluice.is_sanitized and 20000 or 100000
        assert.same({ 0, tostring(n) }, { shell("curl -sS 'http://127.0.0.1:%d/lines?%d' | wc -l",
          port, n) })
        assert.same({ 0, tostring(n) }, { shell("head -c %d /dev/zero | "
          .. "curl -sS --data-binary @- http://127.0.0.1:%d/bytes", n, port) })
      end)

      it("break off when their function leaves a task behind", function()
        local client = peer.connect { port = port }
        client:send("GET /torn HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("the body function returned while another task was writing",
          sluice.logged(program, "the script failed").error)
        assert.is_nil((client:read_all()):find("0\r\n\r\n$"))
        client:close()
      end)

      it("are misused in vain", function()
        assert.matches("the body is being read with req:read",
          ask(port, "/misuse/body", { method = "POST", body = "x" }).body)
        assert.matches("^req:read: the body was asked for with req:body.-\n"
          .. "out:read: the body was asked for", ask(port, "/misuse/read").body)
        assert.matches("after that by out:read",
          ask(port, "/misuse/after", { method = "POST", body = "x" }).body)
        assert.equal("now", ask(port, "/misuse/later").body)
        local line = sluice.logged(program, "later")
        assert.same({ "closed", "closed" }, { line.read, line.write })
        assert.equal("1 2 3 done", ask(port, "/tasks").body)
      end)

      it("go on no longer than their client", function()
        for _ = 1, 3 do
          local client = peer.connect { port = port }
          client:send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
          client:read_head()
          client:receive(9)
          client:reset()
          if place == "hook" then
            assert.equal(200, failed("/hang").status)
          end
        end
      end)

      it("do not fill the memory", function()
        stays_small(function()
          assert.same({ 0, tostring(bulk) },
            { shell("curl -sS 'http://127.0.0.1:%d/zeros?%d' | wc -c", port, bulk) })
          local give = ("head -c %d /dev/zero | "):format(bulk)
          local hash = select(2, shell(give .. "sha256sum"))
          assert.same({ 0, hash }, { shell(give
            .. "curl -sS -T - http://127.0.0.1:%d/echo | sha256sum", port) })
        end)
      end)
    end)
  end

  it("wait for a client that does not read", function()
    local client = peer.connect { port = ports.server }
    client:send("GET /zeros HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.equal(200, client:read_head().status)
    local last, times = nil, 0
    while times < 20 do -- until it stands still
      local now = tonumber(ask(ports.server, "/written").body)
      assert.is_true(now < 32 * mib, now .. " bytes")
      last, times = now, now == last and times + 1 or 0
    end
    client:reset()
  end)

  it("do not wait for it for ever", function()
    local clients = { peer.connect { port = ports.hook } }
    clients[1]:send("GET /zeros HTTP/1.1\r\nHost: a\r\n\r\n")
    for _, version in ipairs(mux.versions) do
      local client = mux.connect(version, { port = ports.tls, host = "app.example", hold = true })
      client:request { path = "/zeros", live = true }
      table.insert(clients, client)
    end
    for _, client in ipairs(clients) do
      assert.equal("timed out", failed("/zeros").error)
      client:close()
    end
  end)

  it("go through a fetch both ways", function()
    local relayed = ("/relay?%s"):format("/echo")
    stays_small(function()
      local give = ("head -c %d /dev/zero | "):format(bulk)
      local hash = select(2, shell(give .. "sha256sum"))
      assert.same({ 0, hash }, { shell(give .. "curl -sS -X POST -H 'X-Port: %d' -T - "
        .. "http://127.0.0.1:%d%s | sha256sum", ports.server, ports.hook, relayed) })
      assert.same({ 0, tostring(bulk) }, { shell("curl -sS -H 'X-Port: %d' "
        .. "'http://127.0.0.1:%d/relay?/zeros?%d' | wc -c", ports.server, ports.hook, bulk) })
    end)
  end)

  it("that break off at a fetch break off here", function()
    local client = peer.connect { port = ports.hook }
    client:send(("GET /relay?/throw?late HTTP/1.1\r\nHost: a\r\nX-Port: %d\r\n\r\n")
      :format(ports.server))
    assert.matches("x\r\n$", (client:read_all()))
    client:close()
  end)

  it("that a hook has read cannot be forwarded", function()
    assert.equal(500, ask(ports.hook, "/forward", { method = "POST", body = "x" }).status)
    assert.equal("/forward", sluice.logged(program,
      "on_request has read the body with req:read() and forwards the request").path)
  end)

  it("that are empty can be read and forwarded", function()
    local client = peer.connect { port = ports.hook }
    client:send("POST /forward/empty HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    local inner = origin:accept()
    assert.equal("nil", inner:read().headers["x-read"])
    inner:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert.equal("ok", client:read().body)
    inner:close()
    client:close()
  end)

  it("cannot come from on_response", function()
    local client = peer.connect { port = ports.hook }
    client:send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
    local inner = origin:accept()
    inner:read()
    inner:send("HTTP/1.1 200 OK\r\nX-Answer: function\r\nContent-Length: 0\r\n\r\n")
    assert.equal(502, client:read().status)
    assert.matches("nothing can wait here for a function",
      sluice.logged(program, "the script failed").error)
    inner:close()
    client:close()
  end)

  it("that are cut short end who reads them", function()
    for path, status in pairs { ["/count"] = 499, ["/echo"] = 200 } do
      local client = peer.connect { port = ports.hook }
      client:send(("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"):format(path))
      client:finish()
      client:read_all()
      assert.equal(status, failed(path).status)
      client:close()
    end
  end)

  it("of another script go on when a new one has come", function()
    local client = peer.connect { port = ports.hook }
    client:send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    client:read_head()
    assert.equal("3\r\none\r\n", client:receive(8))
    program:kill(signal.SIGHUP)
    ports.server = tonumber(program:wait_for("stdout", "^(%d+)$", sluice.patience))
    client:send("3\r\ntwo\r\n0\r\n\r\n")
    assert.equal("3\r\ntwo\r\n0\r\n\r\n", client:receive(13))
    client:close()
  end)

  it("give way to a WebSocket with headers", function()
    for _, port in ipairs { ports.hook, ports.server } do
      local client = peer.connect { port = port }
      client:send("GET /websocket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
        .. "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
      local head = client:read_head()
      assert.same({ 101, "a=1, b=2", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }, { head.status,
        head.headers["set-cookie"], head.headers["sec-websocket-accept"] })
      client:close()
    end
  end)

  for _, version in ipairs(mux.versions) do
    local errors = mux.errors[version]

    describe("over " .. version, function()
      local client

      before_each(function()
        client = mux.connect(version, { port = ports.tls, host = "app.example" })
      end)

      after_each(function()
        client:close()
      end)

      it("are written, come back, and have no bytes where there are none", function()
        local response = client:ask { path = "/words" }
        assert.same({ 200, "one two three" }, { response.status, response.body })
        assert.equal("a=1, b=2", response.headers["set-cookie"])
        response = client:ask { method = "POST", path = "/echo/early", body = "hello world" }
        assert.equal("hel|lo world|nil nil", response.body)
        assert.equal("", client:ask({ path = "/nothing" }).body)
        assert.equal(204, client:ask({ path = "/head?204" }).status)
        assert.equal(200, client:ask({ path = "/head", method = "HEAD" }).status)
        assert.equal(("x"):rep(25), client:ask({ path = "/length?25,25" }).body)
      end)

      it("come back while they are sent", function()
        local id = client:request { method = "POST", path = "/echo", open = true, live = true }
        client:send(id, "one")
        assert.equal("one", client:wait("data", id).bytes)
        client:send(id, "two", true)
        assert.equal("onetwo", client:response(id).body)
      end)

      it("that fail are reset", function()
        assert.equal(500, client:ask({ path = "/throw?early" }).status)
        for _, path in ipairs { "/throw?late", "/length?25,15", "/length?25,35" } do
          local id = client:request { path = path }
          assert.equal(errors.internal, client:wait("reset", id).code, path)
        end
        assert.equal(200, client:ask({ path = "/words" }).status)
      end)

      it("go on no longer than their client", function()
        local id = client:request { path = "/hang", live = true }
        client:wait("data", id)
        client:cancel(id)
        assert.equal(200, failed("/hang").status)
      end)

      it("do not fill the memory", function()
        local flag = version == "h2" and "--http2" or "--http3-only"
        stays_small(function()
          assert.same({ 0, tostring(bulk) },
            { shell(curl(flag, "'/zeros?" .. bulk .. "'") .. " | wc -c") })
          local give = ("head -c %d /dev/zero | "):format(bulk)
          assert.same({ 0, bulk .. " true nil" }, { shell(give .. curl(flag .. " -X POST -T -",
            "/count")) })
        end)
      end)
    end)
  end
end)

it("between fetches and servers of a script", function()
  local code, out, err = sluice.run { "run", "spec/fixtures/library/stream.lua", "--workers", "1",
    "--no-supervisor" }
  assert.equal(0, code, out .. err)
  assert.matches("%d+ cases, 0 failed\n$", out)
end)
