--- Fake UDP sockets, which reach each other by their ports; everybody is at 127.0.0.1. A spec that
-- plays somebody else calls udp.deliver.

local world = require "sluice.testing.world"

local udp = {}

local methods = {}
methods.__index = methods

function udp.bind(options)
  local port = (options.port or 0) ~= 0 and options.port or world.free_port()
  if world.sockets[port] then
    return nil, ("cannot bind UDP %s:%d: Address already in use"):format(
      options.host or "127.0.0.1", port)
  end
  world.sockets[port] = setmetatable({
    _port = port, _max = options.max_datagram or 1500, _queue = {},
  }, methods)
  return world.sockets[port]
end

local function wake(self, ...)
  local receiver = self._receiver
  if receiver then
    self._receiver = nil
    receiver.timer:cancel()
    world.scheduler:resume(receiver.task, ...)
    return true
  end
end

--- A datagram arrives at a port. False when nobody is bound there.
function udp.deliver(port, bytes, from_ip, from_port)
  local socket = world.sockets[port]
  if not socket then
    return false
  end
  bytes = bytes:sub(1, socket._max + 1)
  if not wake(socket, bytes, from_ip, from_port) then
    table.insert(socket._queue, { bytes, from_ip, from_port })
  end
  return true
end

function methods:receive(timeout)
  assert(not self._receiver, "udp:receive: another task is receiving from this socket")
  local first = table.remove(self._queue, 1)
  if first then
    return unpack(first)
  end
  if self._closed then
    return nil, "closed"
  end
  local task = world.scheduler:current()
  if not task then
    error("udp:receive() outside of a task would wait for ever", 2)
  end
  self._receiver = { task = task, timer = world.scheduler:timer(timeout or math.huge, function()
    wake(self, nil, "timed out")
  end) }
  return world.scheduler:suspend()
end

function methods:send(bytes, ip, port)
  assert(type(bytes) == "string" and type(ip) == "string" and type(port) == "number")
  if self._closed then
    return nil, "closed"
  end
  udp.deliver(port, bytes, "127.0.0.1", self._port)
  return true
end

function methods:port()
  return self._port
end

function methods:close()
  if not self._closed then
    self._closed, self._queue = true, {}
    world.sockets[self._port] = nil
    wake(self, nil, "closed")
  end
end

return udp
