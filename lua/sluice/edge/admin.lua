--- The status endpoint of an edge.
--
--   GET /health    the process serves
--   GET /ready     there is a tunnel: 200, else 503
--   GET /status    the edge, its tunnels and ports

local server = require "sluice.admin.server"

local admin = {}

local answer = server.answer

local endpoints = {
  ["/health"] = server.health,
  ["/ready"] = {
    GET = function(edge)
      return server.readiness(edge:is_connected())
    end,
  },
  ["/status"] = {
    GET = function(edge)
      return answer(200, edge:status())
    end,
  },
}

--- @tparam table edge as sluice.edge
-- @tparam table settings from sluice.admin.settings
function admin.new(edge, settings)
  return server.new(settings, function(path)
    return endpoints[path]
  end, edge)
end

return admin
