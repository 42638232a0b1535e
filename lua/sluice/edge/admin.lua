--- The status endpoint of an edge.
--
--   GET /health    the process serves
--   GET /ready     there is a tunnel: 200, else 503
--   GET /status    the edge, its tunnels and ports

local server = require "sluice.admin.server"

local admin = {}

local answer = server.answer

local endpoints = {
  ["/health"] = {
    GET = function()
      return answer(200, { ok = true, status = "ok" })
    end,
  },
  ["/ready"] = {
    GET = function(edge)
      local is_up = edge:is_connected()
      return answer(is_up and 200 or 503, { ok = is_up, ready = is_up })
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
