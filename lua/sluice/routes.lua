--- Routes: from the tables that people and sources write to what the data plane runs.
--
-- compile() is pure: it checks every route and flattens it into a spec, or says what is wrong with
-- the path to it, counted from 0 (`routes[3].action.targets[1].port: 70000 is not a port …`).
-- publish() compiles and then waits until every worker runs the new set; it is all or nothing.

local action = require "sluice.routes.action"
local check = require "sluice.check"
local http3 = require "sluice.routes.http3"
local keys = require "sluice.routes.keys"
local match = require "sluice.routes.match"
local policy = require "sluice.policy"
local security = require "sluice.routes.security"

local core = package.preload["sluice.core"] and require "sluice.core"
  or require "sluice.testing.core"

local routes = {}

local function route_name(c, route, index)
  if route.name ~= nil then
    return c:string(route.name, "name")
  end
  return route.id ~= nil and c:string(route.id, "id") or ("routes[%d]"):format(index)
end

-- The name is the key of counters and of sluice.route(), which takes the first.
local function note_name(c, names, name, index)
  if names[name] then
    c:warn(("%s is also the name of routes[%d]"):format(check.show(name), names[name]), "name")
  else
    names[name] = index
  end
end

local function compile_route(c, value, index)
  local route = c:object(value, keys.route)
  local is_enabled = c:boolean(route.enabled, true, "enabled")
  local spec = { name = route_name(c, route, index), priority = 0 }
  if route.priority ~= nil then
    spec.priority = c:integer(route.priority, -2147483648, 2147483647, "a priority", "priority")
  end
  local transport = match.compile(c, route.match, spec)
  action.compile(c, route.action, spec)
  http3.compile(c, transport, route.action, spec)
  security.compile(c, route, spec)
  return spec, is_enabled
end

local max_listed = 64 -- ports of a name, beyond which it is all

-- Ports by name, of those that are to get a certificate: true stands for all.
local function note_auto(auto, spec)
  for _, name in ipairs(spec.auto or {}) do
    local ports = auto[name] or {}
    for _, range in ipairs(spec.ports) do
      if ports == true or #ports + range[2] - range[1] >= max_listed then
        ports = true
        break
      end
      for port = range[1], range[2] do
        ports[#ports + 1] = port
      end
    end
    auto[name] = ports
  end
end

local function compile_all(c, list)
  local specs, places, names, auto = {}, {}, {}, {}
  for i = 1, #list do
    c:at(i - 1)
    local spec, is_enabled = compile_route(c, list[i], i - 1)
    if is_enabled then
      note_name(c, names, spec.name, i - 1)
      note_auto(auto, spec)
      specs[#specs + 1] = spec
      places[#specs] = i - 1
    end
  end
  return specs, places, auto
end

local root = check.new()

--- Checks and flattens a list of routes. Waits for nothing and changes nothing.
-- @tparam table list
-- @treturn ?table specs for the data plane; those of disabled routes are left out
-- @treturn table|string notes: `warnings` (sentences), `places` (the index of each spec's route),
-- `auto` (names with the certificate "auto": for sluice.certificates, its set_names); or what is
-- wrong
function routes.compile(list)
  local ok, err = check.run(root.array, root, list, "routes", "routes")
  if not ok then
    return nil, err
  end
  local c = check.new("routes[%d]")
  local specs, places, auto = check.run(compile_all, c, list)
  if not specs then
    return nil, places
  end
  return specs, { warnings = c:warnings(), places = places, auto = auto }
end

--- Checks and flattens a single route, for a source whose routes have nothing to do with each
-- other: one that is wrong takes no other down.
-- @tparam table route
-- @treturn ?table spec
-- @treturn ?string what is wrong; begins at the field
function routes.compile_one(route)
  local spec, err = check.run(compile_route, check.new(), route, 0)
  if not spec then
    return nil, err
  end
  return spec
end

--- Makes compiled routes live, leaving out those that only the data plane can see to be wrong: a
-- certificate that cannot be parsed, a key that does not belong to it, a port that cannot be had.
--
-- The tables must stay as they are from then on: one that was published once is known again without
-- a look at what it says, which is what makes a small change in a large set cheap.
-- @tparam table specs
-- @treturn ?table `routes`, `compiled`, and `refused`: { `index` (of the spec), `error` }, …
-- @treturn ?string what is wrong with the world
function routes.publish_good(specs)
  return core.publish(specs, {}, true)
end

--- Makes compiled routes live: returns when every worker runs them.
-- @tparam table specs from compile()
-- @tparam table notes from compile()
-- @tparam[opt] table flat_policy from sluice.policy
-- @treturn ?table `routes` (how many), `compiled` (how many of them are new), `warnings`, `auto`
-- @treturn ?string what is wrong
-- @treturn ?string "invalid" when it is a route, "failed" when it is the world
function routes.publish_compiled(specs, notes, flat_policy)
  local result, err, index = core.publish(specs, flat_policy or {})
  if result then
    result.warnings, result.auto = notes.warnings, notes.auto
    return result
  end
  if index then
    return nil, ("routes[%d].%s"):format(notes.places[index], err), "invalid"
  end
  return nil, err, "failed"
end

--- Replaces all routes: waits until every worker runs the new ones. On an error the old ones stay.
-- @tparam table list
-- @tparam[opt] table options `policy`: the global security policy, see sluice.policy
-- @treturn ?table see publish_compiled
-- @treturn ?string
-- @treturn ?string
-- @usage
--   assert(routes.publish {
--     { name = "app", match = { ports = 8443, domains = "app.example.com" },
--       action = { type = "forward", targets = { { host = "127.0.0.1", port = 3000 } },
--                  tls = { mode = "terminate", certificate = "self-signed" } } },
--   })
function routes.publish(list, options)
  local specs, notes = routes.compile(list)
  if not specs then
    return nil, notes, "invalid"
  end
  local flat_policy, err = policy.compile(options and options.policy or {})
  if not flat_policy then
    return nil, err, "invalid"
  end
  return routes.publish_compiled(specs, notes, flat_policy)
end

return routes
