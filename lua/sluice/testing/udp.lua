--- Fake UDP sockets, which reach each other by their ports; everybody is at 127.0.0.1. A spec that
-- plays somebody else calls udp.deliver.

local inbox = require "sluice.testing.inbox"
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
    _port = port, _max = options.max_datagram or 1500, _inbox = inbox.new "udp:receive",
  }, methods)
  return world.sockets[port]
end

--- A datagram arrives at a port. False when nobody is bound there.
function udp.deliver(port, bytes, from_ip, from_port)
  local socket = world.sockets[port]
  if not socket then
    return false
  end
  socket._inbox:put(bytes:sub(1, socket._max + 1), from_ip, from_port)
  return true
end

function methods:receive(timeout)
  return self._inbox:take(timeout)
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
    self._closed = true
    world.sockets[self._port] = nil
    self._inbox:clear()
    self._inbox:close(nil, "closed")
  end
end

return udp
