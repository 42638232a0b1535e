--- Which services are down. Workers say when one did not answer; from then on it is asked again and
-- again until something listens there.

local sluice = require "sluice"

local health = {}
health.__index = health

local interval, probe_timeout = 2, 0.5
local max_probes = 200 -- in a round

--- @tparam function find find(domain): the entry with its port, nil when nobody knows the name
function health.new(find)
  return setmetatable({ _find = find, _down = {}, _n = 0 }, health)
end

local function is_up(port)
  for _, host in ipairs { "127.0.0.1", "::1" } do
    local sock = sluice.tcp.connect(host, port, { timeout = probe_timeout })
    if sock then
      sock:close()
      return true
    end
  end
  return false
end

--- A service did not answer.
function health:note_down(domain)
  local entry = self._find(domain)
  if entry and not self._down[domain] then
    self._down[domain] = sluice.time()
    self._n = self._n + 1
    sluice.log.warn("a service does not answer", { name = domain, port = entry.port })
  end
end

--- A service is to be taken for one that is up: it was added again, or removed.
function health:forget(domain)
  if self._down[domain] then
    self._down[domain] = nil
    self._n = self._n - 1
  end
end

--- Asks those that are down.
function health:look_again()
  local asked = 0
  for domain in pairs(self._down) do
    local entry = self._find(domain)
    if asked == max_probes then
      return
    elseif not entry or is_up(entry.port) then
      self:forget(domain) -- taking a key away does not disturb pairs()
      sluice.log.info("a service is back", { name = domain })
    end
    asked = asked + 1
  end
end

--- Listens to the workers.
function health:start(topic)
  sluice.bus.subscribe(topic, function(domain)
    self:note_down(domain)
  end)
  sluice.every(interval, function()
    self:look_again()
  end)
end

--- Since when it is down, in seconds since 1970; nil: it is not, as far as anybody knows.
function health:down_since(domain)
  return self._down[domain]
end

--- How many are down.
function health:count()
  return self._n
end

return health
