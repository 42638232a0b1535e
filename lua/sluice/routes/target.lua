--- The `targets` of a route: where it forwards to.

local check = require "sluice.check"
local keys = require "sluice.routes.keys"
local match = require "sluice.routes.match"

local target = {}

local function host_name(c, value, path, i, j)
  c:string(value, path, i, j)
  if value:find("[%s/@?#]") then
    c:fail(check.show(value) .. " is not a host name or address", path, i, j)
  end
  return value:match("^%[(.*)%]$") or value
end

local function target_port(c, value, path, i)
  if value == "preserve" then
    return 0
  end
  if value == nil then
    c:fail('is missing: a number, or "preserve" for the port of the connection', path, i)
  end
  return c:port(value, path, i)
end

local function methods(c, value, path, i)
  if value == nil then
    return nil
  end
  local list = {}
  for j, name in ipairs(c:array(value, "methods", path, i)) do
    list[j] = c:string(name, path .. "[%d]", i or j - 1, j - 1)
  end
  return list
end

-- The tunnel of an edge, which says itself who the visitor is and which port he came to.
local function tunnel_name(c, given, path, i, about)
  local name = c:string(given.tunnel, path .. ".tunnel", i)
  for _, other in ipairs { "host", "unix", "port" } do
    if given[other] ~= nil then
      c:fail("has no meaning beside tunnel", path .. "." .. other, i)
    end
  end
  if about.sees_requests then
    c:fail('only bytes go through a tunnel: say match.protocol "tcp"', path .. ".tunnel", i)
  end
  if about.tls then
    c:fail("bytes go through a tunnel as they are: it cannot encrypt again", path .. ".tunnel", i)
  end
  return name
end

-- What all hosts of one target entry share.
local function target_base(c, given, path, i, about)
  local sub = given.match ~= nil and c:object(given.match, keys.target_match, path .. ".match", i)
    or {}
  local priority, weight = given.priority, given.weight
  return {
    port = not (given.unix or given.tunnel)
      and target_port(c, given.port, path .. ".port", i) or nil,
    path = match.path(c, sub.path, path .. ".match.path", i),
    methods = methods(c, sub.method, path .. ".match.method", i),
    priority = priority ~= nil and c:integer(priority, -2147483648, 2147483647, "a priority",
      path .. ".priority", i) or 0,
    weight = weight ~= nil and c:integer(weight, 1, 1000, "a weight", path .. ".weight", i) or 1,
    tls = about.tls,
    verify = about.verify,
  }
end

local function with_host(base, host)
  local copy = {}
  for name, value in pairs(base) do
    copy[name] = value
  end
  copy.host = host
  return copy
end

-- A `host` may be an array: one target each.
local function add_target(c, list, value, path, i, about)
  local given = c:object(value, keys.target, path, i)
  local base = target_base(c, given, path, i, about)
  local host = given.host
  if given.tunnel ~= nil then
    base.tunnel = tunnel_name(c, given, path, i, about)
    table.insert(list, base)
  elseif given.unix ~= nil then
    base.unix = c:string(given.unix, path .. ".unix", i)
    table.insert(list, base)
  elseif type(host) ~= "table" then
    base.host = host_name(c, host, path .. ".host", i)
    table.insert(list, base)
  else
    if #c:array(host, "hosts", path .. ".host", i) == 0 then
      c:fail("is empty", path .. ".host", i)
    end
    for j = 1, #host do
      local name = host_name(c, host[j], path .. ".host[%d]", i or j - 1, j - 1)
      table.insert(list, with_host(base, name))
    end
  end
end

--- The targets of an action, flat.
-- @tparam table c a checker
-- @tparam table a the action
-- @tparam table about what the route says of all of them: `tls` and `verify` (it encrypts again),
-- `sees_requests` (it does not just pass bytes on)
function target.compile(c, a, about)
  local list = {}
  if a.target ~= nil then
    if a.targets ~= nil then
      c:fail("stands beside targets; use one of the two", "action.target")
    end
    add_target(c, list, a.target, "action.target", nil, about)
    return list
  end
  if a.targets == nil then
    c:fail("is missing: say where to forward to", "action.targets")
  end
  local given = c:array(a.targets, "targets", "action.targets")
  for i = 1, #given do
    add_target(c, list, given[i], "action.targets[%d]", i - 1, about)
  end
  if #list == 0 then
    c:fail("is empty: say where to forward to", "action.targets")
  end
  return list
end

return target
