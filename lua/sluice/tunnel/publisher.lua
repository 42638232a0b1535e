--- Routes that a tunnel needs, beside those of the operator: made live with tolerance, since one
-- port that is taken must not cost the others. What could not be had is logged once, and tried
-- again every 30 s.
--
-- @usage
--   local p = publisher.new { own = assert(publisher.compile(routes)) }
--   p:set { { key = "tcp 443", route = { … } }, … } -- waits until they are live

local check = require "sluice.check"
local latest = require "sluice.latest"
local routes = require "sluice.routes"
local sluice = require "sluice"

local publisher = {}
publisher.__index = publisher

-- Seconds until what was refused is tried again.
local retry_after = 30

--- Compiles the operator's own routes.
-- @tparam table list
-- @treturn ?table { key, spec }, …
-- @treturn ?string what is wrong
function publisher.compile(list)
  local specs, notes = routes.compile(list)
  if not specs then
    return nil, notes
  end
  for _, warning in ipairs(notes.warnings) do
    sluice.log.warn(warning)
  end
  local own = {}
  for i, spec in ipairs(specs) do
    own[i] = { key = spec.name, spec = spec }
  end
  return own
end

--- Checks the settings of an edge or a hub, the routes of the operator included.
-- @tparam function compile as for sluice.check.run
-- @tparam table given
-- @treturn ?table what compile returned, with `own`
-- @treturn ?string what is wrong, with its path
function publisher.settings(compile, given)
  local result, err = check.run(compile, given)
  if not result then
    return nil, err
  end
  result.own, err = publisher.compile(given.routes or {})
  return result.own and result, err
end

--- The priority of routes that exist for what nobody else has a route for.
publisher.last = -2147483648

-- A route that was published once is known again by its table, so specs are kept by their key.
local function compiled(self, wanted)
  local list, kept = {}, {}
  for i, entry in ipairs(self._own) do
    list[i] = entry
  end
  for _, entry in ipairs(wanted) do
    kept[entry.key] = self._specs[entry.key] or assert(routes.compile_one(entry.route))
    list[#list + 1] = { key = entry.key, spec = kept[entry.key] }
  end
  self._specs = kept
  return list
end

local function tell(self, failed)
  for key, err in pairs(failed) do
    if self.failed[key] ~= err then
      sluice.log.warn("this cannot be served, it is tried again every 30 s",
        { what = key, error = err })
    end
  end
  for key in pairs(self.failed) do
    if not failed[key] then
      sluice.log.info("this is served now, or not wanted any more", { what = key })
    end
  end
  self.failed = failed
end

local function plan_retry(self, is_needed)
  if self._retry then
    self._retry:cancel()
    self._retry = nil
  end
  if is_needed then
    self._retry = sluice.timer(retry_after, function()
      self._retry = nil
      self:set(self._wanted)
    end)
  end
end

local function publish(self, wanted)
  local list, specs, failed = compiled(self, wanted), {}, {}
  for i, entry in ipairs(list) do
    specs[i] = entry.spec
  end
  local result, err = routes.publish_good(specs)
  if not result then
    plan_retry(self, true)
    sluice.log.error("the routes could not be changed", { error = err })
    return nil, err
  end
  for _, bad in ipairs(result.refused or {}) do
    failed[list[bad.index].key] = bad.error
  end
  tell(self, failed)
  plan_retry(self, next(failed) ~= nil)
  return true
end

--- @tparam table options `own`: from compile()
function publisher.new(options)
  local self = setmetatable({ _own = options.own, _specs = {}, _wanted = {}, failed = {} },
    publisher)
  self._queue = latest.new(function(_, wanted)
    return publish(self, wanted)
  end)
  return self
end

--- Makes these live in place of those before, and waits until they are. `failed` says then which
-- are not: key to the reason.
-- @tparam table wanted { `key`, `route` }, …; the same key means the same route
-- @treturn ?true
-- @treturn ?string why everything stays as it was
function publisher:set(wanted)
  self._wanted = wanted
  return self._queue:run("routes", wanted)
end

return publisher
