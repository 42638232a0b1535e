--- The `action` of a route: what happens to what it matches.

local check = require "sluice.check"
local keys = require "sluice.routes.keys"
local target = require "sluice.routes.target"
local tls = require "sluice.routes.tls"

local action = {}

local types = {
  forward = "forward",
  redirect = "redirect",
  reply = "reply",
  block = check.refuse "was removed from SmartProxy; use security.ipBlockList",
  static = check.refuse "was removed from SmartProxy; forward to a web server",
  ["socket-handler"] = check.refuse "socket handlers are code; use a policy script",
}

local algorithms = {
  ["round-robin"] = "round-robin",
  ["least-connections"] = "least-connections",
  ["ip-hash"] = "ip-hash",
}

local backends = {
  http1 = "http1",
  auto = "auto",
  http2 = "http2",
}

local engines = {
  node = true,
  nftables = check.refuse "forwarding in the kernel is not supported",
}

local redirects = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local function forward_options(c, a, spec)
  local options = a.options ~= nil and c:object(a.options, keys.options, "action.options") or {}
  spec.rewrite_host = c:boolean(options.rewriteHostHeader, false,
    "action.options.rewriteHostHeader")
  spec.backend = options.backendProtocol ~= nil
    and c:one_of(options.backendProtocol, backends, "action.options.backendProtocol") or "http1"
end

local function advanced_options(c, a, spec)
  if a.advanced == nil then
    return
  end
  local advanced = c:object(a.advanced, keys.advanced, "action.advanced")
  if advanced.timeout ~= nil then
    spec.response_timeout = c:milliseconds(advanced.timeout, "action.advanced.timeout")
  end
  if advanced.connectTimeout ~= nil then
    spec.connect_timeout = c:milliseconds(advanced.connectTimeout,
      "action.advanced.connectTimeout")
  end
end

local function balance(c, a)
  if a.loadBalancing == nil then
    return "round-robin"
  end
  local balancing = c:object(a.loadBalancing, keys.load_balancing, "action.loadBalancing")
  if balancing.algorithm == nil then
    return "round-robin"
  end
  return c:one_of(balancing.algorithm, algorithms, "action.loadBalancing.algorithm")
end

local function websocket(c, a)
  if a.websocket == nil then
    return true
  end
  local settings = c:object(a.websocket, keys.websocket, "action.websocket")
  return c:boolean(settings.enabled, true, "action.websocket.enabled")
end

local function compile_forward(c, a, given_tls, spec)
  spec.targets = target.compile(c, a, {
    tls = spec.tls == "reencrypt",
    verify = given_tls.verify == true,
    sees_requests = spec.tls ~= "passthrough" and spec.protocol ~= "tcp",
  })
  spec.balance = balance(c, a)
  spec.websocket = websocket(c, a)
  forward_options(c, a, spec)
  advanced_options(c, a, spec)
  if a.forwardingEngine ~= nil then
    c:one_of(a.forwardingEngine, engines, "action.forwardingEngine")
  end
  spec.send_proxy = c:boolean(a.sendProxyProtocol, false, "action.sendProxyProtocol") and 1 or 0
end

-- Answers of our own.

local function compile_redirect(c, a, spec)
  spec.location = c:string(a.location, "action.location")
  spec.status = a.statusCode == nil and 302 or a.statusCode
  if not redirects[spec.status] then
    c:fail(check.show(spec.status) .. " is not one of 301, 302, 303, 307, 308",
      "action.statusCode")
  end
end

local function compile_reply(c, a, spec)
  spec.status = a.statusCode == nil and 200
    or c:integer(a.statusCode, 200, 599, "a status", "action.statusCode")
  spec.body = a.body
  if a.body ~= nil and type(a.body) ~= "string" then
    c:fail("must be a string, not " .. check.show(a.body), "action.body")
  end
  spec.content_type = a.contentType ~= nil and c:string(a.contentType, "action.contentType") or nil
end

-- A key that only makes sense with another type of action would otherwise be dropped in silence.
local only_with = {
  targets = "forward", target = "forward", websocket = "forward", loadBalancing = "forward",
  options = "forward", sendProxyProtocol = "forward", advanced = "forward",
  forwardingEngine = "forward", location = "redirect", body = "reply", contentType = "reply",
}

local function check_keys_fit(c, a)
  for name in pairs(a) do
    if only_with[name] and only_with[name] ~= a.type then
      c:fail(("has no meaning with type %q"):format(a.type), "action." .. name)
    end
  end
  if a.type == "forward" and a.statusCode ~= nil then
    c:fail('has no meaning with type "forward"', "action.statusCode")
  end
end

--- Puts the fields of an action into the spec.
function action.compile(c, value, spec)
  local a = c:object(value, keys.action, "action")
  if a.type == nil then
    c:fail('is missing; "forward" is the usual one', "action.type")
  end
  spec.action = c:one_of(a.type, types, "action.type")
  check_keys_fit(c, a)
  spec.tls = "none"
  local given_tls = a.tls ~= nil and tls.compile(c, a.tls, spec) or {}
  if spec.action == "forward" then
    compile_forward(c, a, given_tls, spec)
  elseif spec.action == "redirect" then
    compile_redirect(c, a, spec)
  else
    compile_reply(c, a, spec)
  end
end

return action
