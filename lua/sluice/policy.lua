--- The global security policy: who may connect at all, checked before any route.
--
-- The keys are those of the body of POST /security-policy. The lists come under three names each,
-- as different clients write them; they are joined.

local check = require "sluice.check"

local policy = {}

local allow_keys = { "ipAllowList", "allowedIps", "allowedCidrs" }
local block_keys = { "ipBlockList", "blockedIps", "blockedCidrs" }

local known = { maxConnectionsPerIP = true, connectionRateLimitPerMinute = true }
for _, names in ipairs { allow_keys, block_keys } do
  for _, name in ipairs(names) do
    known[name] = true
  end
end

-- An empty allow list is none: it allows everybody.
local function joined(c, value, names)
  local list = {}
  for _, name in ipairs(names) do
    if value[name] ~= nil then
      for _, pattern in ipairs(c:ip_patterns(value[name], name .. "[%d]")) do
        table.insert(list, pattern)
      end
    end
  end
  return #list > 0 and list or nil
end

local function limit(c, value, name)
  return value[name] ~= nil and c:integer(value[name], 0, 1000000000, "a limit", name) or nil
end

local function compile(c, value)
  local p = c:object(value, known)
  return {
    allow = joined(c, p, allow_keys),
    block = joined(c, p, block_keys),
    max_connections_per_ip = limit(c, p, "maxConnectionsPerIP"),
    connections_per_minute = limit(c, p, "connectionRateLimitPerMinute"),
  }
end

--- Checks a policy and flattens it for the data plane. An unknown key is an error: a security
-- setting that is ignored is worse than one that is refused.
-- @tparam table value
-- @tparam[opt] string place where it stands, for the complaint
-- @treturn ?table
-- @treturn ?string what is wrong
-- @usage local flat, err = policy.compile { blockedIps = { "203.0.113.0/24" } }
function policy.compile(value, place)
  return check.run(compile, check.new(place), value)
end

return policy
