--- Where commands come in: datagrams on the loopback addresses, and a Unix socket.
--
-- Datagrams come from whoever is on this machine. Those of the original's clients get no answer,
-- whatever happens; only commands that it never had get one. The socket is for the same user and
-- for root, which the kernel vouches for, and answers each line: what was asked for, then a line
-- `ok`, or `error: …`.

local check = require "sluice.check"
local commands = require "sluice.coreserver.commands"
local sluice = require "sluice"

local listeners = {}
listeners.__index = listeners

local hosts = { "127.0.0.1", "::1" }
local max_answer = 60000 -- bytes that fit a datagram
local max_clients, client_timeout = 32, 60

-- Complaints about commands in the log, in any second: everybody here can send ten thousand.
local max_complaints = 20

--- @tparam table options `port` of UDP and `socket`, a path, nil for none; `execute`:
-- execute(command, waits) returns an answer, or nil and what is wrong; with `waits` only when
-- everything is done
function listeners.new(options)
  return setmetatable({
    _port = options.port, _socket = options.socket, _execute = options.execute, _udp = {},
    _served = {}, _second = 0, _complaints = 0,
  }, listeners)
end

local function complain(self, text, fields)
  local second = math.floor(sluice.now())
  if second ~= self._second then
    if self._complaints > max_complaints then
      sluice.log.warn("more commands were ignored",
        { number = self._complaints - max_complaints })
    end
    self._second, self._complaints = second, 0
  end
  self._complaints = self._complaints + 1
  if self._complaints <= max_complaints then
    sluice.log.warn(text, fields)
  end
end

-- What is said to a command; and when something is wrong, what, and the word if it is known.
local function answer(self, text, waits)
  local command, err, word = commands.read(text)
  local said
  if command then
    word = command.word
    said, err = self._execute(command, waits)
  end
  return said and said .. "ok\n" or ("error: %s\n"):format(err), word, not said and err or nil
end

-- Datagrams.

local function is_loopback(ip)
  return ip:find("^127%.") or ip == "::1" or ip:find("^::ffff:127%.")
end

local function fitting(self, said)
  if #said <= max_answer then
    return said
  end
  return ("error: the answer does not fit a datagram, ask %s\n")
    :format(self._socket or "over a Unix socket")
end

local function on_datagram(self, udp, bytes, ip, port)
  if not is_loopback(ip) then
    complain(self, "a command from elsewhere was dropped", { ip = ip })
    return
  end
  local said, word, err = answer(self, bytes)
  if commands.is_answered(word) then
    udp:send(fitting(self, said), ip, port)
  elseif err then
    complain(self, "a command was ignored", { command = check.show(bytes), error = err,
      from = ("%s:%d"):format(ip, port) })
  end
end

local function serve_udp(self, udp)
  while true do
    local bytes, ip, port = udp:receive()
    if not bytes then
      return
    end
    on_datagram(self, udp, bytes, ip, port)
  end
end

-- A port that is shared could be that of anybody of the same user: only who takes over may share.
-- Others must find it free, and share it from then on with who takes over from them.
local function bind(self, host, is_shared)
  local options = { host = host, port = self._port, max_datagram = commands.max }
  if not is_shared then
    local probe, err = sluice.udp.bind(options)
    if not probe then
      return nil, err
    end
    probe:close()
  end
  options.reuse_port = true
  return sluice.udp.bind(options)
end

--- Binds the addresses that are not bound yet. There may be no IPv6.
-- @tparam boolean is_shared whether a core-server that we take over from has them, too
-- @treturn ?true
-- @treturn ?string why not
-- @treturn ?boolean whether somebody else has the port
function listeners:bind_udp(is_shared)
  if self._is_closed then
    return nil, "closed"
  end
  for _, host in ipairs(self._port and hosts or {}) do
    if not self._udp[host] then
      local udp, err = bind(self, host, is_shared)
      local is_taken = err ~= nil and err:find("in use", 1, true) ~= nil
      if not udp and (is_taken or host == hosts[1]) then
        return nil, err, is_taken
      end
      self._udp[host] = udp
    end
  end
  return true
end

--- Tells whoever has the port to go, as the original does.
function listeners:send_shutdown()
  local udp = sluice.udp.bind { host = hosts[1], port = 0 }
  if udp then
    udp:send("shutdown", hosts[1], self._port)
    udp:close()
  end
end

--- Begins to do what is asked for. What has come since the ports were opened has waited.
function listeners:serve()
  self._is_ready = true
  for host, udp in pairs(self._udp) do
    if not self._served[host] then
      self._served[host] = true
      sluice.spawn(serve_udp, self, udp)
    end
  end
end

-- The socket.

local own_uid

-- Whose process this is, as it is seen from here.
local function uid()
  if not own_uid then
    local text = sluice.file.read "/proc/self/status"
    own_uid = tonumber(text and text:match("\nUid:%s+%d+%s+(%d+)"))
  end
  return own_uid
end

local function may_command(sock)
  local peer = sock:peer()
  return peer and (peer.uid == 0 or peer.uid == uid()), peer and peer.uid
end

local function serve_client(self, sock)
  local is_welcome, who = may_command(sock)
  if not is_welcome then
    complain(self, "a command of another user was dropped", { uid = who })
    sock:write "error: this core-server belongs to somebody else\n"
    return
  end
  while not self._is_ready do
    sluice.sleep(0.01) -- the names are not loaded yet
  end
  sock:settimeout(client_timeout)
  while true do
    local line = sock:read_line(commands.max)
    if not line then
      return
    end
    local said = answer(self, line, true)
    if not sock:write(said) then
      return
    end
  end
end

--- Listens on the Unix socket. Without one there is nothing to do.
-- @treturn ?true
-- @treturn ?string why not
function listeners:open_socket()
  if self._is_closed then
    return nil, "closed"
  elseif not self._socket or self._server then
    return true
  end
  local server, err = sluice.tcp.listen { unix = self._socket, mode = 384, -- 0600
    max_connections = max_clients, handler = function(sock)
      serve_client(self, sock)
    end }
  self._server = server
  return server and true, err
end

--- Closes the ports, for good.
function listeners:close_udp()
  self._is_closed = true
  for host, udp in pairs(self._udp) do
    self._udp[host] = nil
    udp:close()
  end
end

--- Closes everything.
function listeners:close()
  self:close_udp()
  if self._server then
    self._server:close()
    self._server = nil
  end
end

return listeners
