local core_server = require "support.core_server"
local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

describe("core-server without mkcert", function()
  local origin, origin_port, server

  setup(function()
    origin, origin_port = sluice.origin "app"
    server = core_server.start()
  end)

  teardown(function()
    origin:stop()
    assert.equal(0, server:stop())
  end)

  local function status(name)
    return server:get(name).status
  end

  local function has_name(name)
    for _, entry in ipairs(server:status().names) do
      if entry.domain == name then
        return entry
      end
    end
  end

  it("serves a name that somebody sends with nc, as soon as it is sent", function()
    local text = server.home .. "/text" -- nc -w0 leaves when a pipe has nothing for it yet
    sluice.write(text, "add nc.localhost " .. origin_port)
    local child = process.start { "sh", "-c",
      ("nc -u -w0 127.0.0.1 %d <%s"):format(server.command_port, text) }
    assert.equal(0, child:wait(sluice.patience))
    assert.is_true(core_server.eventually(function()
      return status "nc.localhost" == 200
    end))
  end)

  it("takes commands over IPv6, too", function()
    assert.equal("error: unknown.test is not known\n",
      server:ask("remove unknown.test", nil, "::1"))
  end)

  it("tells the service who came, and keeps the name", function()
    server:add("app.localhost", origin_port)
    local response = server:get("app.localhost:99", { path = "/a%2Fb//../c?x=1;y&z=%zz",
      headers = { ["X-Forwarded-Proto"] = "gopher", ["X-Forwarded-For"] = "6.6.6.6" } })
    assert.equal(200, response.status)
    local seen = dkjson.decode(response.body)
    assert.equal("/a%2Fb//../c?x=1;y&z=%zz", seen.path)
    local headers = seen.headers
    assert.same({ { "app.localhost:99" }, { "http" }, { "127.0.0.1" }, { "app.localhost:99" } },
      { headers.host, headers["x-forwarded-proto"], headers["x-forwarded-for"],
        headers["x-forwarded-host"] })
  end)

  it("does not mind case, ports and final dots", function()
    server:add("Case.Localhost.", origin_port)
    for _, name in ipairs { "case.localhost", "CASE.localhost", "case.localhost.",
      "case.localhost:1" } do
      assert.equal(200, status(name))
    end
    assert.matches("case.localhost " .. origin_port, server:state(), 1, true)
  end)

  it("serves what listens on IPv6 alone", function()
    local child = process.start { "python3", "-c", [[
import http.server, socket
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
server = Server(("::1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_address[1], flush=True)
server.serve_forever()]] }
    finally(function() child:stop() end)
    server:add("six.localhost", tonumber(child:wait_for("stdout", "^(%d+)$", sluice.patience)))
    assert.equal(200, status "six.localhost")
  end)

  it("passes a WebSocket", function()
    server:pass_websocket("ws.localhost", { port = server.http_port }, "keep-alive, Upgrade")
  end)

  it("passes each event of a stream at once", function()
    local listener = peer.listen()
    server:add("sse.localhost", listener.port)
    local client = peer.connect { port = server.http_port }
    client:send "GET / HTTP/1.1\r\nHost: sse.localhost\r\n\r\n"
    local inner = listener:accept()
    inner:read_head()
    inner:send "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    assert.equal(200, client:read_head().status)
    for i = 1, 3 do
      inner:send(("data: %d\n\n"):format(i))
      assert.matches("%x+", client:read_line()) -- one chunk for each
      assert.equal(("data: %d\n\n\r\n"):format(i), client:receive(11))
    end
    inner:close()
    client:close()
    listener:close()
  end)

  describe("says", function()
    it("404 to unknown names, and which there are to people at this machine", function()
      server:add("known.localhost", origin_port)
      local response = server:get "unknown.localhost"
      assert.equal(404, response.status)
      assert.matches("^Domain Not Recognized\n", response.body)
      assert.matches(("http://known.localhost:%d/ -> localhost:%d\n"):format(server.http_port,
        origin_port), response.body, 1, true)
      assert.equal("nosniff", response.headers["x-content-type-options"])
      -- A name of the Internet can be made to point here by whoever has it.
      response = server:get "rebind.example.com"
      assert.equal(404, response.status)
      assert.is_nil(response.body:find("known.localhost", 1, true))
      assert.matches(("http://localhost:%d/ says"):format(server.http_port), response.body, 1, true)
    end)

    it("502 with the name and port of what does not answer, and remembers it", function()
      local port = sluice.free_port()
      server:add("down.localhost", port)
      assert.is_false(has_name("down.localhost").stale)
      local response = server:get "down.localhost"
      assert.equal(502, response.status)
      assert.matches(("down.localhost: the service on localhost:%d does not answer"):format(port),
        response.body, 1, true)
      assert.is_true(core_server.eventually(function()
        return has_name("down.localhost").stale
      end))
      local late = process.start { "python3", "-m", "http.server", "--bind", "127.0.0.1",
        tostring(port) }
      finally(function() late:kill(signal.SIGKILL) late:wait() end)
      assert.is_true(core_server.eventually(function()
        return not has_name("down.localhost").stale
      end))
      assert.equal(200, status "down.localhost")
    end)

    it("508 to what comes back to where it began", function()
      local other_port = sluice.free_port()
      local other = sluice.start { config = { routes = {
        sluice.route("back", other_port, server.http_port) } } }
      finally(function() other:stop() end)
      server:add("loop.localhost", other_port)
      local response = server:get "loop.localhost"
      assert.equal(508, response.status)
      assert.matches("loop.localhost is a loop", response.body, 1, true)
    end)
  end)

  describe("over the Unix socket", function()
    it("says what it did, and what it did not", function()
      server:add("socket.localhost", origin_port)
      assert.equal(200, status "socket.localhost")
      local list, last = server:command "list"
      assert.equal("ok", last)
      assert.matches("socket.localhost " .. origin_port, list, 1, true)
      assert.same({ "", "ok" }, { server:command "remove socket.localhost" })
      assert.equal(404, status "socket.localhost")
      for text, expected in pairs {
        ["remove socket.localhost"] = "error: socket.localhost is not known",
        ["add x 0"] = "error: 0 is not a port (1 to 65535)",
        ["hello"] = "error: unknown command",
        ["add a.test " .. server.http_port] = "error: port " .. server.http_port
          .. " is one of ours: that would be a loop",
      } do
        assert.same({ "", expected }, { server:command(text) })
      end
    end)

    it("is for its user alone", function()
      local file = server.folder .. "/control.sock"
      local child = process.start { "stat", "-c", "%a %u", file }
      assert.equal(0, child:wait(sluice.patience))
      assert.matches("^600 ", child:text "stdout")
      if require("posix.unistd").getuid() ~= 0 then
        return -- only root can become somebody else
      end
      assert(os.execute(("chmod 777 '%s' && chmod -R a+rx '%s'"):format(file, server.home)))
      child = process.start { "setpriv", "--reuid", "65534", "--clear-groups", "python3", "-c", [[
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"list\n")
print(s.recv(1000).decode())]], file }
      assert.equal(0, child:wait(sluice.patience), child:text "stderr")
      assert.matches("^error: this core%-server belongs to somebody else", child:text "stdout")
    end)

    it("is not disturbed by one who sends no line end", function()
      local unix = require "socket.unix"
      local connection = assert(unix.stream())
      connection:settimeout(sluice.patience)
      assert(connection:connect(server.folder .. "/control.sock"))
      connection:send(("x"):rep(5000))
      assert.is_nil((connection:receive "*l"))
      connection:close()
      assert.same({ "", "ok" }, { server:command("add again.localhost " .. origin_port) })
    end)
  end)

  describe("ignores with a line in the log", function()
    -- Each of them, then a command that is answered: by then the one before was read.
    local function ignored(bytes)
      local before = server:state()
      assert.is_nil(server:ask(bytes, 0.05))
      assert.is_string(server:ask "list")
      assert.equal(before, server:state())
      return server.program:wait_for("stderr", '"msg":"a command was ignored".-"error":"(.-[^\\])"',
        sluice.patience)
    end

    it("what is not complete or no port", function()
      assert.equal("domain and port are missing", ignored "add")
      assert.equal("the port is missing", ignored "add x")
      assert.matches("^0 is not a port", ignored "add x 0")
      assert.matches("^70000 is not a port", ignored "add x 70000")
      assert.matches("one line", ignored "add x\n80", 1, true)
      assert.equal("unknown command", ignored "ADD x 80")
      assert.equal("unknown command", ignored "")
    end)

    it("64 KB, NUL, bytes that are no text, and names of other alphabets", function()
      assert.equal("longer than 1024 bytes", ignored("add a.com 80" .. (" "):rep(65000)))
      assert.equal("longer than 1024 bytes", ignored(("x"):rep(1025)))
      assert.matches("is not a domain name", ignored "add a\0b.com 80", 1, true)
      assert.matches("xn-- form", ignored "add \255\254.com 80", 1, true)
      assert.matches("xn-- form", ignored "add bücher.de 80", 1, true)
      assert.equal("unknown command", ignored "\0\0\0\0")
    end)

    it("its own ports, addresses, patterns and localhost", function()
      assert.matches("one of ours", ignored("add a.test " .. server.http_port), 1, true)
      assert.matches("is an address", ignored "add 127.0.0.1 80", 1, true)
      assert.matches("is an address", ignored "add ::1 80", 1, true)
      assert.matches("is a pattern", ignored "add *.a.test 80", 1, true)
      assert.matches("this machine itself", ignored "add localhost 80", 1, true)
    end)

    it("nothing of what the original takes", function()
      local udp = server:say(("add extra.localhost \t %d and more"):format(origin_port))
      udp:close()
      assert.is_true(core_server.eventually(function()
        return has_name "extra.localhost" ~= nil
      end))
    end)
  end)

  it("keeps names and requests through a reload", function()
    server:add("kept.localhost", origin_port)
    local client = peer.connect { port = server.http_port }
    client:send "GET / HTTP/1.1\r\nHost: kept.localhost\r\n\r\n"
    assert.equal(200, client:read().status)
    server.program:kill(signal.SIGHUP)
    server.program:wait_for("stderr", '"msg":"script reloaded"', sluice.patience)
    client:send "GET / HTTP/1.1\r\nHost: kept.localhost\r\n\r\n"
    assert.equal(200, client:read().status)
    client:close()
    assert.is_true(core_server.eventually(function()
      return server:ask("list", 0.2) ~= nil
    end))
    server:add("after.localhost", origin_port)
    assert.equal(200, status "after.localhost")
  end)

  it("remembers across a restart, in the form of the original", function()
    server:add("last.localhost", origin_port)
    local before = server:state()
    assert.matches(("\nlast.localhost %d$"):format(origin_port), before)
    assert.equal(0, server:restart())
    assert.equal(before, server:state())
    assert.equal(200, status "last.localhost")
  end)
end)

describe("the state file of a core-server", function()
  local server

  after_each(function()
    server:stop()
  end)

  it("is read with its mistakes, and loses them with the next change", function()
    local home = core_server.new_home()
    assert(os.execute(("mkdir -p '%s/config/core-web-server'"):format(home)))
    sluice.write(home .. "/config/core-web-server/forward_targets.txt",
      "a.test 1000\r\n\n*.b.test 1000\nc.test 0\nd.test 1001 later\na.test 1002\n\255 7\n")
    server = core_server.start { home = home }
    assert.equal("a.test 1000\nd.test 1001", (server:command "list"))
    local _, times = server.program:text("stderr"):gsub("a line of the state file is wrong", "")
    assert.equal(3, times)
    server:add("e.test", 1003)
    assert.equal("a.test 1000\nd.test 1001\ne.test 1003", server:state())
    local child = process.start { "stat", "-c", "%a", server.state_file }
    child:wait(sluice.patience)
    assert.matches("^644\n", child:text "stdout")
  end)

  it("is not needed", function()
    server = core_server.start { env = { HOME = false, XDG_CONFIG_HOME = false } }
    assert.is_nil(server:ask("add a.test 1000", 0.05))
    assert.equal("a.test 1000\nok\n", server:ask "list")
    server.program:kill(signal.SIGHUP)
    server.program:wait_for("stderr", '"msg":"script reloaded"', sluice.patience)
    assert.equal("a.test 1000\nok\n", core_server.eventually(function()
      return server:ask("list", 0.2)
    end))
  end)
end)

describe("core-server", function()
  it("says what is wrong with its settings", function()
    local code, _, err = sluice.run({ "run", core_server.script },
      { CORE_SERVER_MODE = "production" })
    assert.equal(1, code)
    assert.matches("CORE_SERVER_MODE: must be local or release", err, 1, true)
  end)

  it("says with --check what it would do", function()
    local code, out = sluice.run({ "run", core_server.script, "--check", "--release" }, {})
    assert.equal(0, code)
    assert.matches("release mode: would serve HTTP on port 80 and HTTPS on port 443", out, 1, true)
  end)

  it("takes no commands over UDP when that is switched off", function()
    local server = core_server.start { env = { CORE_SERVER_UDP = "off" } }
    finally(function() server:stop() end)
    assert.is_nil(server:ask("list", 0.1))
    assert.same({ "", "ok" }, { server:command "list" })
  end)

  it("ends in order when the socket says so, too", function()
    local server = core_server.start()
    finally(function() server:stop() end)
    local answer = server:hold_request()
    assert.same({ "", "ok" }, { server:command "shutdown" })
    assert.is_true(core_server.eventually(function()
      return not http.connect { port = server.http_port }
    end))
    answer()
    assert.equal(0, server.program:wait(sluice.patience))
  end)

  it("says which port it cannot have", function()
    local taken = http.free_port()
    local socket = require "socket"
    local holder = assert(socket.bind("127.0.0.1", taken))
    local home = core_server.new_home()
    local code, _, err = sluice.run({ "run", core_server.script }, { HOME = home,
      CORE_SERVER_HTTP_PORT = tostring(taken), CORE_SERVER_MKCERT = "off",
      CORE_SERVER_COMMAND_PORT = tostring(http.free_port()),
      CORE_SERVER_BIND_ADDRESS = "127.0.0.1" })
    holder:close()
    os.execute(("rm -rf '%s'"):format(home))
    assert.equal(1, code)
    assert.matches(tostring(taken), err, 1, true)
  end)
end)
