--- The admin API of standalone mode: an HTTP server in front of a service (sluice.standalone). The
-- answer 200 to a change means that the change is live.
--
-- @usage
--   local settings = assert(require("sluice.admin.settings").read(sluice.env))
--   local server = assert(admin.start(service, settings))

local server = require "sluice.admin.server"
local sluice = require "sluice"

local admin = {}
admin.__index = admin

local answer, failure = server.answer, server.failure

-- What a change of the service came to: results, or nil, a sentence and whose fault it is.
local function outcome(body, err, problem)
  if not body then
    return failure(problem == "invalid" and 400 or 500, err or "the change was interrupted")
  end
  return answer(200, body)
end

-- An array, or an object with the array in `routes` and nothing else. An empty Lua table does not
-- say which of the two it was; the first character of the text does.
local function route_list(value, bracket)
  if bracket == "[" then
    return value
  end
  local list = value.routes
  if type(list) ~= "table" or (list[1] == nil and next(list) ~= nil) then
    return nil, 'the body must be an array of routes, or {"routes": [...]}'
  end
  for key in pairs(value) do
    if key ~= "routes" then
      return nil, ("%s: unknown key; only routes can be replaced here"):format(tostring(key))
    end
  end
  return list
end

-- Private keys leave the process only for somebody who has shown the token.

local masked = "(set SMARTPROXY_ADMIN_TOKEN to see private keys)"

local function with(object, key, value)
  local copy = {}
  for name, member in pairs(object) do
    copy[name] = member
  end
  copy[key] = value
  return copy
end

local function without_key(route)
  local action = route.action
  local tls = type(action) == "table" and action.tls
  local certificate = type(tls) == "table" and tls.certificate
  if type(certificate) ~= "table" or certificate.key == nil then
    return route
  end
  certificate = with(certificate, "key", masked)
  return with(route, "action", with(action, "tls", with(tls, "certificate", certificate)))
end

local function shown(self, list)
  local copy = sluice.json.array {}
  for i, route in ipairs(list) do
    copy[i] = self._settings.token and route or without_key(route)
  end
  return copy
end

-- Endpoints: path, method, function(self, req).

local endpoints = {}

endpoints["/health"] = server.health

endpoints["/ready"] = {
  GET = function(self)
    if self._service:is_ready() then
      return answer(200, { ok = true, ready = true })
    end
    return answer(503, { ok = false, ready = false, error = "no routes are live yet" })
  end,
}

local function replace_routes(self, req)
  local value, bracket = server.read_json(self._settings, req)
  if not value then
    return bracket
  end
  local list, err = route_list(value, bracket)
  if not list then
    return failure(400, err)
  end
  local result, problem
  result, err, problem = self._service:replace(list)
  return outcome(result and { ok = true, routes = #list }, err, problem)
end

endpoints["/routes"] = {
  GET = function(self)
    local raw, active = self._service:routes()
    return answer(200, { routes = shown(self, raw), activeRoutes = shown(self, active) })
  end,
  PUT = replace_routes,
  POST = replace_routes,
}

endpoints["/reload"] = {
  POST = function(self)
    local result, err, problem = self._service:reload()
    return outcome(result and { ok = true }, err, problem)
  end,
}

-- The policy itself, also when it comes as {"securityPolicy": {...}} and nothing beside it.
local function unwrapped(value)
  local inner = value.securityPolicy
  return inner ~= nil and next(value, next(value)) == nil and inner or value
end

endpoints["/security-policy"] = {
  POST = function(self, req)
    local value, bracket = server.read_json(self._settings, req)
    if not value then
      return bracket
    end
    if bracket ~= "{" then
      return failure(400, "the body must be an object")
    end
    local result, err, problem = self._service:set_policy(unwrapped(value))
    return outcome(result and { ok = true }, err, problem)
  end,
}

local function per_route(stats)
  local out = {}
  for name, counters in pairs(stats.per_route or {}) do
    out[name] = {
      requests = counters.requests,
      errors = counters.errors,
      activeConnections = counters.active,
      bytesIn = counters.bytes_in,
      bytesOut = counters.bytes_out,
    }
  end
  return out
end

local function certificates(status)
  return status and {
    names = status.names,
    live = status.live,
    waiting = status.waiting,
    expiring = status.expiring,
    orders = status.orders,
    issued = status.issued,
    renewed = status.renewed,
    failed = status.failed,
    notStored = status.not_stored,
    pausedSeconds = status.paused_for,
    clockOffSeconds = status.clock_is_off_by,
    lastError = status.last_error,
  }
end

endpoints["/statistics"] = {
  GET = function(self)
    local stats = sluice.stats()
    return answer(200, {
      activeConnections = stats.active_connections,
      totalConnections = stats.total_connections,
      routesCount = stats.routes_count,
      listeningPorts = sluice.json.array(stats.listening_ports),
      uptimeSeconds = stats.uptime,
      bytesIn = stats.bytes_in,
      bytesOut = stats.bytes_out,
      requests = stats.requests,
      http2Requests = stats.http2_requests,
      http3Requests = stats.http3_requests,
      quic = {
        handshakes = stats.quic_handshakes,
        retries = stats.quic_retries,
        dropped = stats.quic_dropped,
        forwarded = stats.quic_forwarded,
      },
      errors = stats.errors,
      certificates = certificates(self._service:certificates()),
      perRoute = per_route(stats),
    })
  end,
}

endpoints["/listening-ports"] = {
  GET = function()
    return answer(200, { ports = sluice.json.array(sluice.stats().listening_ports) })
  end,
}

--- Refuses who may not speak to the admin API, before any of their bytes are kept.
-- @param req a request handle
-- @treturn ?table a verb, or nil: welcome
function admin:admit(req)
  return self._server:admit(req)
end

--- Answers one request; the handler of sluice.serve.
-- @param req a request handle
-- @treturn table a verb
function admin:handle(req)
  return self._server:handle(req)
end

---- @tparam table service start, replace, reload, set_policy, routes, is_ready, certificates as
-- sluice.standalone
-- @tparam table settings from sluice.admin.settings
function admin.new(service, settings)
  local self = setmetatable({ _service = service, _settings = settings }, admin)
  self._server = server.new(settings, function(path)
    return endpoints[path]
  end, self)
  return self
end

--- Listens and serves.
-- @treturn ?table the server
-- @treturn ?string what is wrong
function admin.start(service, settings)
  return admin.new(service, settings)._server:start()
end

return admin
