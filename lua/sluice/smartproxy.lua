--- SmartProxy's configuration (ISmartProxyOptions as JSON) in terms of sluice.
--
-- parse() takes the whole file apart; routes() and policy() put a list of routes and a security
-- policy, which the admin API can replace by themselves, together with what the file says about all
-- of them. Everything here is pure.

local acme = require "sluice.smartproxy.acme"
local check = require "sluice.check"
local json = require("sluice").json
local policy = require "sluice.policy"

local smartproxy = {}

local no_code = check.ignore "code has no place in a configuration file"
local no_engine = check.ignore "there is one engine for everything"
local no_lifetime = check.ignore "connections live as long as they are used"
local no_source = check.ignore "the visitor's address is in X-Forwarded-For and the PROXY header"
local always_on = check.ignore "is always on"
local no_tls_options = check.ignore "certificates belong to routes: action.tls.certificate"

local known = {
  routes = true, defaults = true, httpToHttpsRedirect = true, securityPolicy = true,
  acceptProxyProtocol = true, proxyIPs = true, sendProxyProtocol = true,
  maxConnectionsPerIP = true, connectionRateLimitPerMinute = true,
  inactivityTimeout = true, socketTimeout = true, initialDataTimeout = true,
  connectionTimeout = true, gracefulShutdownTimeout = true,
  preserveSourceIP = no_source,
  acme = true, certStore = check.ignore "see acme.certificateStore",
  certProvisionFunction = no_code, certProvisionFallbackToAcme = no_code,
  useHttpProxy = no_engine, httpProxyPort = no_engine,
  nftables = check.ignore "forwarding in the kernel is not supported",
  metrics = check.ignore "see GET /statistics",
  enableDetailedLogging = check.ignore "see the log level of sluice",
  maxConnectionLifetime = no_lifetime, keepAliveTreatment = no_lifetime,
  keepAliveInactivityMultiplier = no_lifetime, extendedKeepAliveLifetime = no_lifetime,
  disableInactivityCheck = no_lifetime, inactivityCheckInterval = no_lifetime,
  keepAlive = always_on, keepAliveInitialDelay = always_on, noDelay = always_on,
  maxPendingDataSize = check.ignore "what waits is bounded by flow control",
  pfx = no_tls_options, key = no_tls_options, cert = no_tls_options, passphrase = no_tls_options,
}

local default_keys = { target = true, security = true, preserveSourceIP = no_source }
local default_target_keys = { host = true, port = true }
local default_security_keys = { ipAllowList = true, ipBlockList = true, maxConnections = true }
local redirect_keys = { enabled = true, httpPort = true, httpsPort = true, statusCode = true }
local redirect_statuses = { [301] = true, [302] = true, [307] = true, [308] = true }

local function parse_defaults(c, value)
  if value == nil then
    return {}
  end
  local defaults = c:object(value, default_keys, "defaults")
  return {
    target = defaults.target ~= nil
      and c:object(defaults.target, default_target_keys, "defaults.target") or nil,
    security = defaults.security ~= nil
      and c:object(defaults.security, default_security_keys, "defaults.security") or nil,
  }
end

local function port_or(c, value, otherwise, path)
  return value == nil and otherwise or c:port(value, path)
end

--- The route that sends visitors from HTTP to HTTPS. Its priority is the lowest there is, so that
-- every explicit route on its port wins.
local function redirect_route(http_port, https_port, status)
  local port = https_port == 443 and "" or ":" .. https_port
  return {
    name = "http-to-https-redirect",
    priority = -2147483648,
    match = { ports = http_port, protocol = "http" },
    action = {
      type = "redirect",
      location = "https://{domain}" .. port .. "{path}",
      statusCode = status,
    },
  }
end

local function parse_redirect(c, value)
  if value == nil then
    return nil
  end
  local path = "httpToHttpsRedirect"
  local r = c:object(value, redirect_keys, path)
  local is_enabled = c:boolean(r.enabled, true, path .. ".enabled")
  local http_port = port_or(c, r.httpPort, 80, path .. ".httpPort")
  local https_port = port_or(c, r.httpsPort, 443, path .. ".httpsPort")
  local status = r.statusCode == nil and 301 or r.statusCode
  if not redirect_statuses[status] then
    c:fail(check.show(status) .. " is not one of 301, 302, 307, 308", path .. ".statusCode")
  end
  if http_port == https_port then
    c:fail(("port %d would redirect to itself"):format(http_port), path .. ".httpsPort")
  end
  return is_enabled and redirect_route(http_port, https_port, status) or nil
end

local function milliseconds(c, options, name)
  return options[name] ~= nil and c:milliseconds(options[name], name) or nil
end

-- Both timeouts of the original mean silence on a connection; the shorter one counts.
local function inactivity(c, options)
  local connection = milliseconds(c, options, "inactivityTimeout")
  local socket = milliseconds(c, options, "socketTimeout")
  return connection and socket and math.min(connection, socket) or connection or socket
end

-- A PROXY header says who the visitor is: only peers that were named may send one.
local function proxy_ips(c, options, accepts)
  if options.proxyIPs == nil then
    if accepts then
      c:warn("has no effect without proxyIPs: name the peers that send a PROXY header",
        "acceptProxyProtocol")
    end
    return nil
  end
  if not accepts then
    c:warn("PROXY headers are not read without acceptProxyProtocol", "proxyIPs")
  end
  return c:ip_patterns(options.proxyIPs, "proxyIPs[%d]")
end

local function parse_settings(c, options)
  local accepts = c:boolean(options.acceptProxyProtocol, false, "acceptProxyProtocol")
  return {
    inactivity_timeout = inactivity(c, options),
    head_timeout = milliseconds(c, options, "initialDataTimeout"),
    connect_timeout = milliseconds(c, options, "connectionTimeout"),
    drain_timeout = milliseconds(c, options, "gracefulShutdownTimeout"),
    accept_proxy = accepts,
    proxy_ips = proxy_ips(c, options, accepts),
  }
end

local function limit(c, options, name)
  return options[name] ~= nil and c:integer(options[name], 0, 1000000000, "a limit", name) or nil
end

local function parse_policy(c, value)
  local given = value == nil and {} or value
  local flat, err = policy.compile(given, "securityPolicy")
  if not flat then
    c:fail(err)
  end
  return given
end

local function parse(c, options)
  if type(options) ~= "table" or options[1] ~= nil then
    c:fail("the configuration must be a JSON object, not " .. check.show(options))
  end
  -- Unlike inside routes, unknown keys at the top are no error: the original takes them, too.
  local o = c:object(c:known_only(options, known), known)
  return {
    acme = acme.parse(c, o.acme),
    routes = o.routes == nil and {} or c:array(o.routes, "routes", "routes"),
    defaults = parse_defaults(c, o.defaults),
    redirect = parse_redirect(c, o.httpToHttpsRedirect),
    send_proxy = c:boolean(o.sendProxyProtocol, false, "sendProxyProtocol"),
    settings = parse_settings(c, o),
    policy = parse_policy(c, o.securityPolicy),
    max_connections_per_ip = limit(c, o, "maxConnectionsPerIP"),
    connections_per_minute = limit(c, o, "connectionRateLimitPerMinute"),
  }
end

--- Takes a decoded configuration apart. The routes in it are not looked into; routes() does that.
-- @tparam table options
-- @treturn ?table config: `routes` (as given), `policy` (as given), `settings` for the data plane,
-- `acme` (see sluice.smartproxy.acme), `warnings` (sentences), and what routes() and policy() need
-- @treturn ?string what is wrong
function smartproxy.parse(options)
  local c = check.new()
  local config, err = check.run(parse, c, options)
  if not config then
    return nil, err
  end
  config.warnings = c:warnings()
  table.sort(config.warnings)
  return config
end

local function is_object(value)
  return type(value) == "table" and value[1] == nil
end

local function with(object, changes)
  local copy = {}
  for key, value in pairs(object) do
    copy[key] = value
  end
  for key, value in pairs(changes) do
    copy[key] = value
  end
  return copy
end

local function absent(value)
  return value == nil or value == json.null
end

-- What the route does not say about security, the defaults say.
local function merged_security(route, defaults)
  if absent(route.security) then
    return defaults
  end
  return is_object(route.security) and with(defaults, route.security) or nil
end

local function merged_action(action, config)
  local changes = {}
  if config.defaults.target and absent(action.targets) and absent(action.target) then
    changes.target = config.defaults.target
  end
  if config.send_proxy and absent(action.sendProxyProtocol) then
    changes.sendProxyProtocol = true
  end
  return next(changes) and with(action, changes) or nil
end

local function with_defaults(config, route)
  if not is_object(route) then
    return route -- routes.compile says what is wrong with it
  end
  local changes = {}
  if config.defaults.security then
    changes.security = merged_security(route, config.defaults.security)
  end
  if is_object(route.action) and route.action.type == "forward" then
    changes.action = merged_action(route.action, config)
  end
  return next(changes) and with(route, changes) or route
end

-- Types that routes of ours may have, but not those of SmartProxy.
local refused_types = {
  redirect = '"redirect" was removed from SmartProxy; use httpToHttpsRedirect or a policy script',
  reply = '"reply" is not an action of SmartProxy; use a policy script',
}

local function refused_type(route)
  local action = is_object(route) and route.action
  local kind = is_object(action) and action.type
  return type(kind) == "string" and refused_types[kind] or nil
end

--- The routes that are to run: those of the list with the defaults of the configuration, and behind
-- them the redirect, so that indexes in complaints are those of the list.
-- @tparam table config from parse()
-- @tparam table list routes as SmartProxy has them
-- @treturn ?table routes for sluice.routes
-- @treturn ?string what is wrong
function smartproxy.routes(config, list)
  local out = {}
  for i = 1, #list do
    local why = refused_type(list[i])
    if why then
      return nil, ("routes[%d].action.type: %s"):format(i - 1, why)
    end
    out[i] = with_defaults(config, list[i])
  end
  table.insert(out, config.redirect)
  return out
end

--- The policy that is to run: limits that the policy leaves open are those of the configuration.
-- @tparam table config from parse()
-- @tparam table given the body of POST /security-policy, or config.policy
-- @treturn ?table flat, for the data plane
-- @treturn ?string what is wrong
function smartproxy.policy(config, given)
  local flat, err = policy.compile(given)
  if not flat then
    return nil, err
  end
  flat.max_connections_per_ip = flat.max_connections_per_ip or config.max_connections_per_ip
  flat.connections_per_minute = flat.connections_per_minute or config.connections_per_minute
  return flat
end

return smartproxy
