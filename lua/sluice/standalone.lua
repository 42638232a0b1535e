--- Standalone mode: one SmartProxy configuration file, and the changes that the admin API makes to
-- what runs. Nothing is ever half applied: a set of routes, a policy or a file that is bad leaves
-- everything as it was.
--
-- Changes go one after another through a queue in which a newer set of routes replaces one that
-- still waits (see sluice.latest).
--
-- @usage
--   local service = standalone.new("/etc/smartproxy/config.json")
--   assert(service:start())
--   local n, err, kind = service:replace(routes)

local certificates = require "sluice.standalone.certificates"
local sluice = require "sluice"
local latest = require "sluice.latest"
local routes = require "sluice.routes"
local smartproxy = require "sluice.smartproxy"

local core = package.preload["sluice.core"] and require "sluice.core"
  or require "sluice.testing.core"

local standalone = {}
standalone.__index = standalone

-- A configuration of a few hundred MiB is a mistake.
local max_config = 256 * 1048576

--- Reads and takes apart the configuration; a file that is not there is an empty one.
-- @tparam string path
-- @treturn ?table config, see sluice.smartproxy
-- @treturn ?string what is wrong
function standalone.load(path)
  local text, err = sluice.file.read(path, max_config)
  if not text then
    if err == "not found" then
      return smartproxy.parse {}
    end
    return nil, path .. ": " .. err
  end
  local options
  options, err = sluice.json.decode(text)
  if options == nil then
    return nil, ("%s: not JSON: %s"):format(path, err)
  end
  if not text:sub(1, 4096):find("^%s*{") then -- an empty Lua table does not say which it was
    return nil, path .. ": the configuration must be a JSON object"
  end
  local config
  config, err = smartproxy.parse(options)
  if not config then
    return nil, ("%s: %s"):format(path, err)
  end
  return config
end

-- Who answers the CA when it looks whether our names lead here: behind all other routes.
local function add_challenge_route(own, config, active, specs, notes)
  if not config.acme then
    return next(notes.auto) == nil,
      'action.tls.certificate: "auto" needs acme at the top of the configuration file'
  end
  local route, err = own:route(config.acme, notes.auto, specs)
  if route then
    local spec = assert(routes.compile_one(route))
    active[#active + 1], specs[#specs + 1] = route, spec
    notes.places[#specs] = #active - 1
  end
  return not err, err
end

-- A list of routes, compiled under a configuration.
local function compile_set(config, list, own)
  local active, err = smartproxy.routes(config, list)
  if not active then
    return nil, err
  end
  local specs, notes = routes.compile(active)
  if not specs then
    return nil, notes
  end
  local ok
  ok, err = add_challenge_route(own, config, active, specs, notes)
  if not ok then
    return nil, err
  end
  return { config = config, raw = list, active = active, specs = specs, notes = notes }
end

-- A policy, compiled under a configuration.
local function compile_policy(config, given)
  local flat, err = smartproxy.policy(config, given)
  if not flat then
    return nil, err
  end
  return { config = config, raw = given, flat = flat }
end

-- Changes wait in a queue, and a reload before them may have brought another configuration.
local function under(config, compiled, compile, own)
  if compiled.config == config then
    return compiled
  end
  return compile(config, compiled.raw, own)
end

local appliers = {}

local function work(self, kind, value)
  local applied, err, problem = appliers[kind](self, value)
  if not applied and self._is_ready then
    sluice.log.warn("the change was refused, what ran before goes on",
      { change = kind, error = err })
  end
  return applied, err, problem
end

--- @tparam string path of the configuration file
function standalone.new(path)
  local own = certificates.new()
  local self = setmetatable({ _path = path, _is_ready = false, _own = own }, standalone)
  local config = smartproxy.parse {}
  self._running = {
    config = config,
    set = compile_set(config, {}, own),
    policy = compile_policy(config, {}),
  }
  self._queue = latest.new(function(kind, value)
    return work(self, kind, value)
  end)
  return self
end

local function log_warnings(warnings)
  for _, warning in ipairs(warnings) do
    sluice.log.warn(warning)
  end
end

-- Makes a state the running one; waits until it is live.
local function apply(self, state)
  local before = self._running
  if state.config ~= before.config then
    local ok, err = core.settings(state.config.settings)
    if not ok then
      return nil, err, "invalid"
    end
  end
  local result, err, problem =
    routes.publish_compiled(state.set.specs, state.set.notes, state.policy.flat)
  if not result then
    if state.config ~= before.config then
      core.settings(before.config.settings)
    end
    return nil, err, problem
  end
  self._running = state
  self._own:follow(state.config.acme, state.set.notes.auto)
  if not sluice.check then
    sluice.log.info("routes are live", { routes = result.routes, compiled = result.compiled })
  end
  return result
end

function appliers.routes(self, set)
  local running = self._running
  local ready, err = under(running.config, set, compile_set, self._own)
  if not ready then
    return nil, err, "invalid"
  end
  log_warnings(ready.notes.warnings)
  return apply(self, { config = running.config, set = ready, policy = running.policy })
end

function appliers.policy(self, policy)
  local running = self._running
  local ready, err = under(running.config, policy, compile_policy)
  if not ready then
    return nil, err, "invalid"
  end
  return apply(self, { config = running.config, set = running.set, policy = ready })
end

function appliers.reload(self)
  local config, err = standalone.load(self._path)
  if not config then
    return nil, err, "invalid"
  end
  local set, policy
  set, err = compile_set(config, config.routes, self._own)
  if not set then
    return nil, ("%s: %s"):format(self._path, err), "invalid"
  end
  policy, err = compile_policy(config, config.policy)
  if not policy then
    return nil, ("%s: %s"):format(self._path, err), "invalid"
  end
  log_warnings(config.warnings)
  log_warnings(set.notes.warnings)
  return apply(self, { config = config, set = set, policy = policy })
end

--- Loads the file and makes it live.
-- @treturn ?table `routes` (how many)
-- @treturn ?string what is wrong
-- @treturn ?string "invalid" when it is the file, "failed" when it is the world
function standalone:start()
  local result, err, problem = self:reload()
  self._is_ready = result and true or false
  return result, err, problem
end

--- Back to what the file says now.
function standalone:reload()
  return self._queue:run("reload")
end

--- Replaces all routes; those of the file come back with reload().
-- @tparam table list routes as SmartProxy has them
function standalone:replace(list)
  local set, err = compile_set(self._running.config, list, self._own)
  if not set then
    return nil, err, "invalid"
  end
  return self._queue:run("routes", set)
end

--- Replaces the global security policy.
-- @tparam table given see sluice.policy
function standalone:set_policy(given)
  local policy, err = compile_policy(self._running.config, given)
  if not policy then
    return nil, err, "invalid"
  end
  return self._queue:run("policy", policy)
end

--- Are routes live?
function standalone:is_ready()
  return self._is_ready
end

--- How the certificates are that are ordered here; see the status() of sluice.certificates.manager.
-- @treturn ?table nil: there are none
function standalone:certificates()
  return self._own:status()
end

--- Ends what would be in the way of a newer script.
function standalone:close()
  self._own:close()
end

--- @treturn table the routes as they were given
-- @treturn table those that run: enabled, with the defaults and the redirect
function standalone:routes()
  local set, active = self._running.set, {}
  for i, index in ipairs(set.notes.places) do
    active[i] = set.active[index + 1]
  end
  return set.raw, active
end

return standalone
