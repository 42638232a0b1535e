--- Takeovers without another sluice, for specs.
--
--   testing.world.offers["run/sluice.sock"] = true  -- somebody is there
--   … sluice.takeover.from("run/sluice.sock"), sluice.takeover.done()
--   assert.is_nil(testing.world.offers["run/sluice.sock"])
--   assert.equal("run/sluice.sock", testing.world.offered)

local world = require "sluice.testing.world"

local takeover = {}

function takeover.offer(path)
  world.offered = path
  return true
end

function takeover.from(path)
  if not world.offers[path] then
    return nil, "nobody is there"
  end
  world.taken = path
  return true
end

function takeover.done()
  if not world.taken then
    return nil, "there is nobody to take over from"
  end
  world.offers[world.taken] = nil
  world.taken = nil
  return true
end

return takeover
