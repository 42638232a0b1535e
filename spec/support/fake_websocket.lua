--- A WebSocket for unit specs: a scripted server on the other side, on the fake clock.
--
--   local server = fake_websocket.server()
--   local socket = typedsocket.new { …, connect = server.connect }
--   server:expect()             -- the last connection: `url`, `sent` (an array), `closed`
--   connection:say(text)        -- what the client receives next
--   connection:drop("closed")   -- the connection ends

local json = require "sluice.testing.json"
local world = require("sluice.testing").world

local fake_websocket = {}

local connection = {}
connection.__index = connection

-- Wakes the task that waits in receive(), if one does.
local function wake(self)
  local task = self.waiting
  self.waiting = nil
  if task then
    world.scheduler:resume(task)
  end
end

function connection:receive(timeout)
  if not self.inbox[1] and not self.ended then
    local expired = false
    self.waiting = world.scheduler:current()
    local timer = timeout and world.scheduler:timer(timeout, function()
      expired = true
      wake(self)
    end)
    world.scheduler:suspend()
    if timer then
      timer:cancel()
    end
    if expired then
      return nil, "timed out"
    end
  end
  if self.inbox[1] then
    return unpack(table.remove(self.inbox, 1))
  end
  return nil, self.ended
end

function connection:receive_json(timeout)
  local message, kind = self:receive(timeout)
  if not message then
    return nil, kind
  end
  local value, err = json.decode(message)
  if value == nil then
    return nil, err, "invalid"
  end
  return value, kind
end

function connection:send(text)
  if self.ended then
    return nil, self.ended
  end
  table.insert(self.sent, text)
  return true
end

function connection:close()
  self.closed = true
  self:drop("closed")
end

function connection:say(text, kind)
  table.insert(self.inbox, { text, kind or "text" })
  wake(self)
end

function connection:drop(reason)
  self.ended = self.ended or reason
  wake(self)
end

--- A server that takes the connections for which `accepts(url)` is true, all of them at first.
function fake_websocket.server()
  local server = { connections = {}, attempts = {} }
  function server.connect(url, options)
    table.insert(server.attempts, url)
    if server.accepts and not server.accepts(url) then
      return nil, "connection refused"
    end
    local new = setmetatable({ url = url, options = options, inbox = {}, sent = {} }, connection)
    table.insert(server.connections, new)
    return new
  end
  function server:last()
    return self.connections[#self.connections]
  end
  return server
end

return fake_websocket
