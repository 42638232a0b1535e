--- An issuer and its certificates, in the fake world, for specs of sluice.certificates.

local keys = require "sluice.testing.keys"
local sluice = require "sluice"

local certificates = {}

--- An issuer that gives certificates for 90 days, after a second, unless it is told otherwise:
-- `problem`, a function of a name; `takes`, `days`. `calls` has what it was asked for.
function certificates.issuer()
  local issuer = { calls = {}, active = 0, most = 0, takes = 1, days = 90 }
  function issuer:issue(name, before)
    table.insert(self.calls, { name = name, before = before, at = sluice.now() })
    self.active = self.active + 1
    self.most = math.max(self.most, self.active)
    sluice.sleep(self.takes)
    self.active = self.active - 1
    local problem = self.problem and self.problem(name)
    if problem then
      return nil, unpack(problem, 1, 3)
    end
    local key = keys.new_key()
    return { key = key:pem "sec1", cert = keys.fake_certificate(key, { name }, {
      days = self.days, not_before = sluice.time() }) }
  end
  return issuer
end

--- A certificate of 90 days with its key, as a storage has it.
function certificates.kept(name, days, from)
  local key = keys.new_key()
  return key:pem "sec1" .. keys.fake_certificate(key, { name }, {
    days = days or 90, not_before = from or sluice.time() })
end

return certificates
