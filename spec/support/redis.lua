--- A real Redis for specs, on a free port and a Unix socket, that keeps nothing.
--
--   local server = redis.new()
--   server.port, server.socket
--   server:kill()      -- at once
--   server:start()     -- again, on the same port
--   server:stop()

local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

local redis = {}
redis.__index = redis

--- @tparam[opt] table words for redis-server
function redis.new(words)
  local self = setmetatable({ port = sluice.free_port(), words = words or {} }, redis)
  self.folder = os.tmpname()
  os.remove(self.folder)
  assert(os.execute("mkdir " .. self.folder))
  self.socket = self.folder .. "/socket"
  return self:start()
end

function redis:start()
  self.child = process.start { "redis-server", "--port", tostring(self.port),
    "--bind", "127.0.0.1", "--unixsocket", self.socket, "--dir", self.folder, "--save", "",
    "--appendonly", "no", unpack(self.words) }
  self.child:wait_for("stdout", "Ready to accept connections", sluice.patience)
  return self
end

function redis:kill()
  self.child:kill(signal.SIGKILL)
  self.child:wait(sluice.patience)
end

function redis:stop()
  self.child:stop()
  os.execute("rm -r " .. self.folder)
end

return redis
