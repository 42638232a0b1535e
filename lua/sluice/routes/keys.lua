--- Which keys a route may have.
--
-- Routes use the names of SmartProxy's IRouteConfig, so that there is one vocabulary; what sluice
-- adds is marked (own). What SmartProxy knows and sluice does not do is refused with a reason or,
-- where leaving it out changes nothing that matters, ignored with a warning.

local check = require "sluice.check"

local ignore, refuse = check.ignore, check.refuse

local keys = {}

keys.route = {
  name = true, id = true, description = true, tags = true, priority = true, enabled = true,
  match = true, action = true, security = true, headers = true,
  remoteIngress = ignore "edge filters have no meaning here",
  challenge = ignore "route challenges are not available",
}

keys.match = {
  ports = true, domains = true, path = true, clientIp = true, headers = true, protocol = true,
  transport = true,
  via = true, -- (own)
  tlsVersion = refuse "matching by TLS version is not supported",
}

keys.port_range = { from = true, to = true }

local on_action = refuse "is not supported on a single target; set it on the action"

keys.action = {
  type = true, targets = true, target = true, tls = true, websocket = true, loadBalancing = true,
  options = true, sendProxyProtocol = true, advanced = true,
  location = true, statusCode = true, -- redirect and reply (own)
  body = true, contentType = true,    -- reply (own)
  forwardingEngine = true,
  udp = true,
  nftables = refuse "forwarding in the kernel is not supported",
  socketHandler = refuse "socket handlers are code; use a policy script",
  redirect = refuse "was removed from SmartProxy; use httpToHttpsRedirect or a policy script",
  static = refuse "was removed from SmartProxy; forward to a web server",
  security = refuse "belongs to the route: security",
  headers = refuse "belongs to the route: headers",
}

local for_all = "is for all routes together: see %s in the limits of the script"

keys.udp = {
  quic = true,
  sessionTimeout = ignore(for_all:format "udp_idle_timeout"),
  maxSessionsPerIP = ignore(for_all:format "max_udp_sessions"),
  maxDatagramSize = ignore "datagrams of any size are passed on",
}

keys.quic = {
  enableHttp3 = true, altSvcPort = true, altSvcMaxAge = true,
  maxIdleTimeout = ignore(for_all:format "quic_idle_timeout"),
  maxConcurrentBidiStreams = ignore(for_all:format "quic_max_streams"),
  maxConcurrentUniStreams = ignore "HTTP/3 needs three, and gets them",
  initialCongestionWindow = ignore "RFC 9002 says what it is",
}

keys.target = {
  host = true, port = true, match = true, priority = true,
  unix = true, tunnel = true, weight = true, -- (own)
  tls = on_action, websocket = on_action, loadBalancing = on_action, headers = on_action,
  advanced = on_action, sendProxyProtocol = on_action,
}

keys.target_match = {
  path = true, method = true,
  ports = refuse "is not supported on a target; make one route for each port",
  headers = refuse "is not supported on a target; match headers in the route",
}

keys.tls = {
  mode = true, certificate = true,
  verify = true, -- (own) of the target's certificate, with terminate-and-reencrypt
  acme = ignore "the acme settings of the file are for all routes",
  honorCipherOrder = ignore "the order of TLS 1.3 applies",
  sessionTimeout = ignore "session tickets have a life time of their own",
  versions = refuse "the versions are TLS 1.2 and 1.3 and cannot be chosen",
  ciphers = refuse "ciphers cannot be chosen",
}

keys.certificate = {
  key = true, cert = true,
  ca = refuse "append the chain to cert",
  keyFile = refuse "files are not read; put the PEM text into key",
  certFile = refuse "files are not read; put the PEM text into cert",
}

keys.options = { rewriteHostHeader = true, backendProtocol = true }

keys.advanced = {
  timeout = true,
  connectTimeout = true, -- (own)
  keepAlive = ignore "connections to targets are always kept alive",
  headers = refuse "use headers.request of the route",
  urlRewrite = refuse "rewriting paths is done in a policy script, with req:set_path",
  staticFiles = refuse "forward to a web server",
  testResponse = refuse "is not supported",
}

keys.websocket = {
  enabled = true,
  pingInterval = ignore "pings pass through from end to end",
  pingTimeout = ignore "pings pass through from end to end",
  maxPayloadSize = refuse "frames pass through unseen",
  rewritePath = refuse "rewriting paths is done in a policy script, with req:set_path",
  allowedOrigins = refuse "check the Origin header in a policy script",
  customHeaders = refuse "use headers.request of the route",
}

keys.load_balancing = {
  algorithm = true,
  healthCheck = refuse "health checks are not supported; a target that refuses is skipped",
}

keys.security = {
  ipAllowList = true, ipBlockList = true, maxConnections = true, basicAuth = true,
  rateLimit = refuse "rate limits are not supported yet",
  jwtAuth = refuse "JWT is not supported; check tokens in a policy script",
  authentication = refuse "use basicAuth",
}

keys.basic_auth = {
  enabled = true, users = true, realm = true,
  excludePaths = refuse "is not supported; make a route without basicAuth for each such path",
}

keys.user = { username = true, password = true }

keys.headers = {
  request = true, response = true,
  cors = refuse "is not supported; set the headers in headers.response",
}

return keys
