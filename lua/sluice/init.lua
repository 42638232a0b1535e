--- The public module: `local sluice = require "sluice"`.
--
-- Assembled from the C bindings when a runtime is around (it puts them into
-- package.preload["sluice.core"]), else from the fake core of sluice.testing, so that a policy
-- loads under plain LuaJIT and busted, too. The core has the layout of this module, plus functions
-- that only library modules may call (`internal` in sluice.api).

local api = require "sluice.api"
local suggest = require "sluice.suggest"
local verbs = require "sluice.verbs"
local websocket = require "sluice.websocket"

local core = package.preload["sluice.core"] and require "sluice.core"
  or require "sluice.testing.core"

-- A name of the core is for scripts, unless all that api.lua says of it is internal.
local internal = {}
for _, row in ipairs(api.functions) do
  local name = row.name:match("^sluice%.(%w+)")
  if name then
    internal[name] = row.internal and internal[name] ~= false
  end
end

local sluice = {}
for name, value in pairs(core) do
  if not internal[name] then
    sluice[name] = value
  end
end
for name, value in pairs(verbs) do
  sluice[name] = value
end
sluice.websocket = websocket -- a verb that can be called, with a function in it

-- A misspelt name fails where it stands instead of as "attempt to call a nil value".
return setmetatable(sluice, {
  __index = function(_, name)
    error(("sluice.%s does not exist%s"):format(tostring(name), suggest.hint(name, sluice)), 2)
  end,
})
