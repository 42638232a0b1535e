-- Many edges in one process, for the benchmark of a restarted hub: each has a tunnel of its own,
-- and connects as scripts/edge.lua does. The arguments: the port of the hub, and how many edges.

local sluice = require "sluice"
local edge = require "sluice.edge"
local settings = require "sluice.edge.settings"

local port, count = tonumber(sluice.args[1]), tonumber(sluice.args[2])

local script = {}

function script.start()
  local hubs = {}
  for i = 1, count do
    hubs[i] = { hubHost = "127.0.0.1", hubPort = port, edgeId = "edge-" .. i,
      secret = "secret of " .. i }
  end
  local service = edge.new(assert(settings.compile { hubs = hubs, mode = "all", transport = "tls",
    stun = false }))
  assert(service:start())
  service:run()
  return true
end

return script
