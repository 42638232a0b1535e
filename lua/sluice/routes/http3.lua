--- What a route does over UDP: `match.transport`, and `action.udp` with what is announced to
-- visitors of HTTP/3. A route that passes bytes on passes datagrams on, too.

local keys = require "sluice.routes.keys"

local http3 = {}

-- Seconds for which visitors remember that HTTP/3 is there.
local max_age = 86400

-- QUIC brings its own TLS, and what comes over it are requests.
local function why_not(spec)
  if spec.tls ~= "terminate" and spec.tls ~= "reencrypt" then
    return "HTTP/3 needs TLS that ends here (action.tls)"
  end
  return spec.protocol == "tcp" and 'HTTP/3 carries requests, not bytes (protocol "tcp")' or nil
end

local function quic_options(c, action)
  local udp = action.udp ~= nil and c:object(action.udp, keys.udp, "action.udp") or {}
  return udp.quic ~= nil and c:object(udp.quic, keys.quic, "action.udp.quic") or {}
end

local function announce(c, quic, spec)
  spec.alt_svc_max_age = max_age
  if quic.altSvcPort ~= nil then
    spec.alt_svc_port = c:port(quic.altSvcPort, "action.udp.quic.altSvcPort")
  end
  if quic.altSvcMaxAge ~= nil then
    spec.alt_svc_max_age = c:integer(quic.altSvcMaxAge, 0, 2147483647, "a number of seconds",
      "action.udp.quic.altSvcMaxAge")
  end
end

local function datagrams(c, action, spec)
  if spec.domains then
    c:fail("datagrams carry no name; leave it out", "match.domains")
  end
  if action.udp ~= nil then
    quic_options(c, action) -- warns of what has no effect
    if action.udp.quic ~= nil then
      c:warn("has no effect: datagrams are passed on as they are", "action.udp.quic")
    end
  end
end

--- Puts the transport of a route into the spec, whose protocol and TLS are there already.
function http3.compile(c, transport, action, spec)
  spec.transport = transport
  if transport ~= "tcp" and spec.protocol == "tcp" and spec.tls == "none" then
    datagrams(c, action, spec)
    return
  end
  local quic = quic_options(c, action)
  local is_on = c:boolean(quic.enableHttp3, true, "action.udp.quic.enableHttp3")
  local reason = why_not(spec) or not is_on and "enableHttp3 is false" or nil
  if transport == "tcp" then
    if action.udp ~= nil then
      c:warn('has no effect without match.transport "all"', "action.udp")
    end
  elseif transport == "udp" then
    if spec.protocol == "tcp" then
      c:fail('datagrams are passed on as they are: leave it out, or say protocol "http3"',
        "action.tls")
    elseif reason then
      c:fail(reason, "match.transport")
    end
  elseif reason then
    spec.transport = "tcp"
    c:warn("served over TCP only: " .. reason, "match.transport")
  else
    announce(c, quic, spec)
  end
end

return http3
