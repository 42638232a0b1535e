--- The `match` of a route: which requests and connections it is for.

local check = require "sluice.check"
local field = require "sluice.field"
local ip = require "sluice.ip"
local json = require("sluice").json
local keys = require "sluice.routes.keys"

local match = {}

local transports = { tcp = "tcp", all = "all", udp = "udp" }

-- HTTP/3 is HTTP: the rules of a route are the same. Datagrams pass unseen, like bytes.
local protocols = {
  http = "http",
  http3 = "http",
  tcp = "tcp",
  udp = "tcp",
  quic = check.refuse 'QUIC is not passed on; say "http3" for HTTP/3',
}

local function port_or_range(c, value, path, i)
  if type(value) ~= "table" then
    local port = c:port(value, path, i)
    return { port, port }
  end
  local range = c:object(value, keys.port_range, path, i)
  local from = c:port(range.from, path .. ".from", i)
  local to = c:port(range.to, path .. ".to", i)
  if to < from then
    c:fail(("the range %d to %d ends before it begins"):format(from, to), path, i)
  end
  return { from, to }
end

-- A number, a range, or an array of both.
local function ports(c, value)
  if value == nil then
    c:fail("is missing: say on which ports the route listens", "match.ports")
  end
  if type(value) ~= "table" or value.from ~= nil then
    return { port_or_range(c, value, "match.ports") }
  end
  c:array(value, "ports", "match.ports")
  if #value == 0 then
    c:fail("is empty: say on which ports the route listens", "match.ports")
  end
  local ranges = {}
  for i = 1, #value do
    ranges[i] = port_or_range(c, value[i], "match.ports[%d]", i - 1)
  end
  return ranges
end

local function is_domain(name)
  return #name <= 253 and name:find("^[a-z0-9_*][a-z0-9_*.-]*$") and name:byte(-1) ~= 46
    and not name:find("..", 1, true)
end

-- An IPv6 address as it stands in a URL, or without the brackets.
local function ipv6_of(name)
  local inner = name:match("^%[(.*)%]$") or name
  return inner:find(":", 1, true) and ip.parse(inner) and inner
end

-- Lower case, without blanks around and without a dot at the end: as the data plane compares.
local function domain(c, value, path, i)
  if type(value) == "string" and is_domain(value) then
    return value -- as nearly all are, and there may be ten thousand
  end
  local name = c:string(value, path, i):lower():match("^%s*(.-)%s*$"):gsub("%.$", "")
  if name:find("[\128-\255]") then
    c:fail(check.show(value) .. ": write international names in their xn-- form", path, i)
  end
  if is_domain(name) then
    return name
  end
  return ipv6_of(name) or c:fail(check.show(value) .. " is not a domain name or pattern", path, i)
end

local function domains(c, value)
  if value == nil then
    return nil
  end
  if type(value) == "string" then
    return { domain(c, value, "match.domains") }
  end
  c:array(value, "domain names", "match.domains")
  if #value == 0 then
    c:fail("is empty; leave it out to match every name", "match.domains")
  end
  local names = {}
  for i = 1, #value do
    names[i] = domain(c, value[i], "match.domains[%d]", i - 1)
  end
  return names
end

--- A path pattern, also used by targets.
function match.path(c, value, path, i)
  if value == nil then
    return nil
  end
  c:string(value, path, i)
  if value:byte(1) ~= 47 then
    c:fail(check.show(value) .. ' does not begin with "/"', path, i)
  end
  if value:find("[%s?#]") then
    c:fail(check.show(value) .. " holds a blank, ? or #, which no path has", path, i)
  end
  return value
end

-- An empty value also matches a header that is absent, and that is what null says.
local function header_value(value)
  if value == json.null then
    return ""
  end
  return field.is_value(value) and value or nil
end

local function headers(c, value)
  return value ~= nil
    and c:headers(value, header_value, "a string without line breaks", "match.headers") or nil
end

local function client_ips(c, value)
  return value ~= nil and c:ip_patterns(value, "match.clientIp[%d]") or nil
end

local over_udp = { http3 = true, udp = true }

local vias = { tunnel = true }

local function transport(c, m)
  local given = m.transport ~= nil and c:one_of(m.transport, transports, "match.transport")
    or over_udp[m.protocol] and "udp" or "tcp"
  if given == "tcp" and over_udp[m.protocol] then
    c:fail(('%q does not go over TCP: say transport "udp" or "all"'):format(m.protocol),
      "match.protocol")
  end
  if given == "udp" and m.protocol == "http" then
    c:fail('over UDP alone it is "http3", or "udp" for datagrams as they are', "match.protocol")
  end
  return given
end

-- Over UDP that is not HTTP/3 a route passes datagrams on.
local function protocol(c, m, given_transport)
  if m.protocol ~= nil then
    return c:one_of(m.protocol, protocols, "match.protocol")
  end
  return given_transport == "udp" and "tcp" or "any"
end

-- Only what comes through a tunnel, on ports of the edge: nothing is listened on here.
local function is_tunnelled(c, m)
  if m.via == nil then
    return nil
  end
  c:one_of(m.via, vias, "match.via")
  if m.protocol == "http3" then
    c:fail('QUIC comes out of a tunnel as datagrams: say "udp"', "match.protocol")
  end
  return true
end

--- Puts the fields of a match into the spec.
-- @treturn string the transport, which depends on more than the match (see sluice.routes.http3)
function match.compile(c, value, spec)
  local m = c:object(value, keys.match, "match")
  spec.ports = ports(c, m.ports)
  spec.domains = domains(c, m.domains)
  spec.path = match.path(c, m.path, "match.path")
  spec.client_ips = client_ips(c, m.clientIp)
  spec.headers = headers(c, m.headers)
  spec.tunnelled = is_tunnelled(c, m)
  local given_transport = transport(c, m)
  spec.protocol = protocol(c, m, given_transport)
  return given_transport
end

return match
