--- The status of tunnels in the words of the admin API: camelCase, as remoteingress has it.

local status = {}

local function camel(name)
  return (name:gsub("_(%l)", string.upper))
end

-- What the hub has said holds the ticket of the tunnel.
local hidden = { answer = true, config = true }

--- A copy with the keys of the API.
-- @tparam table value from edge:status() or hub:status()
-- @treturn table
function status.shown(value)
  local copy = {}
  for name, member in pairs(value) do
    if not hidden[name] then
      copy[camel(name)] = type(member) == "table" and status.shown(member) or member
    end
  end
  return copy
end

return status
