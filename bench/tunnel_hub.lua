-- The hub of the benchmark: scripts/hub.lua, with every stream and session going to one port. The
-- arguments: the port of the tunnel, that of the origin, JSON of the edges, and a folder.

local sluice = require "sluice"
local admin = require "sluice.hub.admin"
local hub = require "sluice.hub"
local settings = require "sluice.hub.settings"

local port, origin, edges, folder = unpack(sluice.args)

local script = {}

function script.on_stream()
  return sluice.target("127.0.0.1", tonumber(origin))
end

function script.start()
  local service = hub.new(assert(settings.compile {
    tunnelPort = tonumber(port), edges = assert(sluice.json.decode(edges)), stateDir = folder,
  }))
  local admin_port = tonumber(sluice.env("ADMIN_PORT"))
  if admin_port then
    assert(admin.new(service, { host = "127.0.0.1", port = admin_port, max_body = 1048576,
      prefix = "ADMIN" }):start())
  end
  return service:start()
end

return script
