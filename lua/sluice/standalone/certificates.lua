--- Certificates of standalone mode: what the `acme` of the file says, for the names of routes with
-- the certificate "auto".
--
-- http-01 is answered by a route of our own, so that requests cost nothing for it.

local acme = require "sluice.acme"
local certificates = require "sluice.certificates"
local challenges = require "sluice.acme.challenges"
local sluice = require "sluice"

local own = {}
own.__index = own

local default_port = 80
local first = 2147483647 -- the highest priority

function own.new()
  return setmetatable({}, own)
end

local function answers_http(settings)
  for _, kind in ipairs(settings.issuer.challenges or { "http-01" }) do
    if kind == "http-01" then
      return true
    end
  end
  return false
end

local function is_listened_on(specs, port)
  for _, spec in ipairs(specs) do
    for _, range in ipairs(spec.ports) do
      if port >= range[1] and port <= range[2] then
        return true
      end
    end
  end
  return false
end

local function answer(hooks, req)
  return hooks.on_request(req) or sluice.reply(404, "no such challenge\n")
end

-- Where the answers are; on the control thread, reached by a route.
local function local_port(self)
  if sluice.check then
    return default_port -- nothing is bound
  end
  if not self._server then
    local hooks = certificates.hooks()
    local server, err = sluice.serve { host = "127.0.0.1", port = 0, handler = function(req)
      return answer(hooks, req)
    end }
    if not server then
      return nil, "acme: answers to http-01 cannot be served: " .. err
    end
    self._server = server
  end
  return self._server:port()
end

local function sorted(names)
  local list = {}
  for name in pairs(names) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

--- The route that answers http-01. It is there when the port is, or was asked for by name: a port
-- 80 that cannot be had is no reason to serve nothing.
-- @tparam table settings of sluice.smartproxy.acme
-- @tparam table auto names, see sluice.routes.compile
-- @tparam table specs the other routes, compiled
-- @treturn ?table nil: there is none
-- @treturn ?string what is wrong
function own:route(settings, auto, specs)
  local port = settings.port or default_port
  if next(auto) == nil or not answers_http(settings)
    or not (settings.port or is_listened_on(specs, port)) then
    return nil
  end
  local target, err = local_port(self)
  if not target then
    return nil, err
  end
  return {
    name = "acme-challenge",
    priority = first,
    match = { ports = port, domains = sorted(auto), path = challenges.path .. "*",
      protocol = "http" },
    action = { type = "forward", targets = { { host = "127.0.0.1", port = target } } },
  }
end

local function begin(settings)
  local storage = settings.redis and certificates.redis(settings.redis)
    or certificates.disk(settings.store)
  local options = { storage = storage }
  for key, value in pairs(settings.issuer) do
    options[key] = value
  end
  if options.directory == acme.lets_encrypt_staging then
    sluice.log.warn("certificates come from Let's Encrypt's staging CA, which browsers do not "
      .. "trust; set acme.useProduction when everything works")
  end
  return certificates.new {
    issuer = assert(acme.new(options)), -- the settings were checked
    storage = storage,
    renew = settings.renew,
    renew_before = settings.renew_before,
  }
end

--- Takes care of these names from now on.
-- @tparam ?table settings of sluice.smartproxy.acme; the same table again changes nothing but names
-- @tparam table auto names, see sluice.routes.compile
function own:follow(settings, auto)
  if sluice.check then
    return
  end
  local before = self._manager
  if settings ~= self._settings then
    self._settings = settings
    self._manager = settings and begin(settings)
  end
  if self._manager then
    self._manager:set_names(auto)
  end
  if before and before ~= self._manager then
    if not self._manager then
      before:set_names {}
    end
    before:close()
  end
end

--- @treturn ?table of the manager; nil: there is none
function own:status()
  return self._manager and self._manager:status()
end

--- Ends; what is in service stays there for the next script.
function own:close()
  if self._manager then
    self._manager:close()
    self._manager, self._settings = nil, nil
  end
end

return own
