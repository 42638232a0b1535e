--- scripts/core-server.lua for end-to-end specs: on free ports, with a home of its own.
--
--   local server = core_server.start()
--   server:add("app.localhost", port)
--   assert.equal(200, server:get("app.localhost").status)
--   server:stop()

local assert = require "luassert"
local dkjson = require "dkjson"
local http = require "support.http"
local peer = require "support.peer"
local process = require "support.process"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"
local socket = require "socket"
local unix = require "socket.unix"

local core_server = {}
core_server.__index = core_server

core_server.script = "scripts/core-server.lua"

--- A folder that is empty.
function core_server.new_home()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute(("mkdir -m 700 '%s'"):format(path)))
  return path
end

local function environment(self, given)
  local env = {
    HOME = self.home, XDG_CONFIG_HOME = self.home .. "/config",
    CORE_SERVER_HTTP_PORT = tostring(self.http_port),
    CORE_SERVER_HTTPS_PORT = tostring(self.https_port),
    CORE_SERVER_COMMAND_PORT = tostring(self.command_port),
    CORE_SERVER_CERTS = self.home .. "/certs", CORE_SERVER_MKCERT = "off",
    CORE_SERVER_MODE = false, CORE_SERVER_BIND_ADDRESS = "127.0.0.1",
    CAROOT = self.home .. "/ca",
  }
  for name, value in pairs(given or {}) do
    env[name] = value
  end
  return env
end

--- Its program, started once more.
function core_server:start_program()
  return sluice.start { script = core_server.script, env = environment(self, self._env),
    args = self._args, prefix = self._prefix }
end

--- The same, without waiting for it.
function core_server:spawn_program()
  return process.start({ sluice.binary, "run", core_server.script, "--workers", "2" },
    environment(self, self._env))
end

--- Starts one and waits until it is ready.
-- @tparam[opt] table options `env`, `args`, `prefix`, as in support.sluice; `home`, and the ports
-- http_port, https_port, command_port: instead of new ones
function core_server.start(options)
  options = options or {}
  local self = setmetatable({
    home = options.home or core_server.new_home(),
    http_port = options.http_port or sluice.free_port(),
    https_port = options.https_port or sluice.free_port(),
    command_port = options.command_port or sluice.free_port(),
    _env = options.env, _args = options.args, _prefix = options.prefix,
  }, core_server)
  self.folder = self.home .. "/config/core-web-server"
  self.state_file = self.folder .. "/forward_targets.txt"
  self.program = self:start_program()
  return self
end

--- Starts another one of the same kind in its place, which is returned by program:stop().
function core_server:restart()
  local code = self.program:stop()
  self.program = self:start_program()
  return code
end

--- Sends a datagram.
function core_server:say(bytes, address)
  local udp = assert((address or ""):find(":", 1, true) and socket.udp6() or socket.udp4())
  assert(udp:sendto(bytes, address or "127.0.0.1", self.command_port))
  return udp
end

--- Sends a datagram and returns the answer; nil when none comes.
function core_server:ask(bytes, seconds, address)
  local udp = self:say(bytes, address)
  udp:settimeout(seconds or sluice.patience)
  local answer = udp:receive()
  udp:close()
  return answer
end

--- A command over the Unix socket: the lines of the answer before the last one, and the last one.
function core_server:command(text)
  local connection = assert(unix.stream())
  connection:settimeout(sluice.patience)
  assert(connection:connect(self.folder .. "/control.sock"))
  assert(connection:send(text .. "\n"))
  local lines = {}
  while true do
    local line = assert(connection:receive "*l")
    if line == "ok" or line:find("^error: ") then
      connection:close()
      return table.concat(lines, "\n"), line
    end
    table.insert(lines, line)
  end
end

--- Registers a name and waits until it is live.
function core_server:add(name, port)
  local _, last = self:command(("add %s %d"):format(name, port))
  assert(last == "ok", last)
end

--- What it says about itself.
function core_server:status()
  return dkjson.decode((self:command "status"))
end

--- Asks over HTTP.
function core_server:get(name, options)
  local request = { port = self.http_port, host = name }
  for key, value in pairs(options or {}) do
    request[key] = value
  end
  return assert(http.request(request))
end

--- Words both ways through a WebSocket to a service that registers as `name`.
-- @tparam string name
-- @tparam table at of peer.connect
-- @tparam string connection the Connection field of the browser
function core_server:pass_websocket(name, at, connection)
  local listener = peer.listen()
  self:add(name, listener.port)
  local client = peer.connect(at)
  client:send(("GET / HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\nUpgrade: websocket\r\n"
    .. "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    :format(name, connection))
  local inner = raw_websocket.accept(listener)
  assert.equal(101, client:read_head().status)
  inner:send(raw_websocket.frame "down")
  assert.equal("down", client:receive(6):sub(3))
  client:send "up"
  assert.equal("up", inner:receive(2))
  client:close()
  inner:close()
  listener:close()
end

--- A request that a service registered as slow.test has and does not answer yet.
-- @treturn function answers it, and checks that the visitor gets the answer
function core_server:hold_request()
  local listener = peer.listen()
  self:add("slow.test", listener.port)
  local client = peer.connect { port = self.http_port }
  client:send "GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n"
  local inner = listener:accept()
  inner:read_head()
  return function()
    inner:send "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"
    assert.equal("late", client:read().body)
    client:close()
    inner:close()
    listener:close()
  end
end

--- The state file.
function core_server:state()
  return sluice.read(self.state_file)
end

--- Tries until a function returns something; that.
function core_server.eventually(fn)
  local deadline = process.now() + sluice.patience
  while true do
    local result = fn()
    if result or process.now() > deadline then
      return result
    end
    socket.sleep(0.02)
  end
end

--- Ends it, and forgets its home.
function core_server:stop()
  local code = self.program:stop()
  os.execute(("rm -rf '%s'"):format(self.home))
  return code
end

return core_server
