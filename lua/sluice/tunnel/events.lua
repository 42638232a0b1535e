--- What happens to tunnels, on the topic "tunnel" of sluice.bus: a JSON object with the member
-- `event`. Events inform; nothing is counted by them.
--
-- @usage
--   sluice.bus.subscribe("tunnel", function(message)
--     local event = sluice.json.decode(message)
--   end)

local sluice = require "sluice"

local events = {}

--- @tparam string name "tunnelConnected", …
-- @tparam[opt] table fields
function events.publish(name, fields)
  local event = { event = name }
  for key, value in pairs(fields or {}) do
    event[key] = value
  end
  sluice.bus.publish("tunnel", sluice.json.encode(event))
end

return events
