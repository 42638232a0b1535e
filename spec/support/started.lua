--- Runs a function as a task of the fake core, as far as it gets.
--
--   local result = started(function() return subscription:receive() end)
--   assert.same({ "message", "topic" }, result())

local sluice = require "sluice"

--- @tparam function fn
-- @treturn function what it has returned by then, as a table; nil: it is still waiting
return function(fn)
  local results
  sluice.spawn(function()
    results = { fn() }
  end)
  return function()
    return results
  end
end
