--- What Coreflow sends (an array of IReverseProxyConfig) as routes. Pure.
--
-- One entry is one host: its certificate and key, and the addresses and ports to forward to, each
-- with each. Entries have nothing to do with each other: one that is wrong is left out and told
-- about, in the words of the entry. No word of a private key is ever in a sentence.

local check = require "sluice.check"
local json = require("sluice").json

local configs = {}

local max_targets = 1000

-- Fields that the checks of routes name in their own way.
local words = {
  ["action.tls.certificate.cert"] = "publicKey",
  ["action.tls.certificate.key"] = "privateKey",
  ["action.tls.certificate"] = "publicKey",
  ["match.domains"] = "hostName",
  ["security.basicAuth.users[0].username"] = "authentication.user",
  ["security.basicAuth.users[0].password"] = "authentication.pass",
}

--- A complaint about a route in the words of the entry it was made of.
function configs.in_words(text)
  local path, rest = text:match("^([%w_.%[%]]+)(: .*)$")
  return path and words[path] and words[path] .. rest or text
end

local function given(value)
  return value ~= nil and value ~= json.null and value or nil
end

-- The plural; or the singular of senders from before 2022.
local function list_of(c, entry, plural, singular)
  local list = given(entry[plural])
  if list == nil and given(entry[singular]) ~= nil then
    list = { entry[singular] }
  end
  if list == nil then
    c:fail("is missing", plural)
  end
  if #c:array(list, plural == "destinationIps" and "addresses" or "ports", plural) == 0 then
    c:fail("is empty: there is nowhere to forward to", plural)
  end
  return list, list == entry[plural] and plural .. "[%d]" or singular
end

local function host_of(c, value, path, i)
  c:string(value, path, i)
  if value:find("[%s/@?#]") then
    c:fail(check.show(value) .. " is not a host name or address", path, i)
  end
  return value
end

local function port_of(c, value, path, i)
  local number = type(value) == "string" and #value <= 5 and value:find("^%d+$")
    and tonumber(value) or value
  return c:port(number, path, i)
end

local function targets_of(c, entry)
  local ips, ip_path = list_of(c, entry, "destinationIps", "destinationIp")
  local ports, port_path = list_of(c, entry, "destinationPorts", "destinationPort")
  if #ips * #ports > max_targets then
    c:fail(("makes more than %d targets"):format(max_targets), "destinationIps")
  end
  local targets = {}
  for i = 1, #ips do
    local host = host_of(c, ips[i], ip_path, i - 1)
    for j = 1, #ports do
      targets[#targets + 1] = { host = host, port = port_of(c, ports[j], port_path, j - 1) }
    end
  end
  return targets
end

-- An entry that asks for authentication of a kind that is not known must not be served without.
local function security_of(c, entry, host)
  local authentication = given(entry.authentication)
  if authentication == nil then
    return nil
  end
  if type(authentication) ~= "table" or authentication.type ~= "Basic" then
    c:fail('must be of the type "Basic"', "authentication")
  end
  return { basicAuth = { realm = host,
    users = { { username = authentication.user, password = authentication.pass } } } }
end

local function pem(c, value, path)
  if type(value) ~= "string" then
    c:fail(given(value) == nil and "is missing" or "must be PEM text", path)
  end
  return value
end

-- A key in the wrong place would be shown by whoever complains about it.
local function host_name(c, value)
  if type(value) == "string" and (#value > 253 or value:find("-----", 1, true)) then
    c:fail("is not a domain name", "hostName")
  end
  return c:string(value, "hostName")
end

local function route_of(c, entry, settings)
  if type(entry) ~= "table" or entry == json.null then
    c:fail("must be an object")
  end
  local host = host_name(c, entry.hostName)
  return {
    name = "https-" .. host,
    match = {
      ports = settings.https_port, domains = host, protocol = "http", transport = "all",
    },
    action = {
      type = "forward",
      udp = { quic = { altSvcPort = settings.alt_svc_port } },
      targets = targets_of(c, entry),
      tls = { mode = "terminate", certificate = {
        cert = pem(c, entry.publicKey, "publicKey"), key = pem(c, entry.privateKey, "privateKey"),
      } },
    },
    security = security_of(c, entry, host),
    headers = { response = { servezone_coretraffic_version = settings.version } },
  }
end

--- The route that is always there: from HTTP to HTTPS.
function configs.redirect(settings)
  return {
    name = "http-to-https-redirect",
    match = { ports = settings.http_port, protocol = "http" },
    action = { type = "redirect", location = "https://{domain}{path}", statusCode = 301 },
    headers = { response = { servezone_coretraffic_version = settings.version } },
  }
end

--- What an entry is called: its host, or where in the push it stands.
function configs.label(entry, index)
  local host = type(entry) == "table" and entry.hostName
  if type(host) == "string" and #host <= 253 and host:find("^[%w_.*-]+$") then
    return host
  end
  return ("reverseConfigs[%d]"):format(index)
end

--- The route of an entry.
-- @tparam table entry IReverseProxyConfig
-- @tparam table settings `https_port`, `alt_svc_port` (which visitors see), `version`
-- @treturn ?table
-- @treturn ?string what is wrong
function configs.route(entry, settings)
  return check.run(route_of, check.new(), entry, settings)
end

local function is_same_list(a, b)
  if a == b then
    return true
  end
  if type(a) ~= "table" or type(b) ~= "table" or #a ~= #b then
    return false
  end
  for i = 1, #a do
    if a[i] ~= b[i] then
      return false
    end
  end
  return true
end

local function is_same_authentication(a, b)
  a, b = given(a), given(b)
  return a == b or (type(a) == "table" and type(b) == "table" and a.type == b.type
    and a.user == b.user and a.pass == b.pass)
end

--- Would both make the same route? Of ten thousand entries nearly all are what they were.
function configs.is_same(a, b)
  return a.hostName == b.hostName and a.publicKey == b.publicKey and a.privateKey == b.privateKey
    and is_same_list(a.destinationIps, b.destinationIps)
    and is_same_list(a.destinationPorts, b.destinationPorts)
    and a.destinationIp == b.destinationIp and a.destinationPort == b.destinationPort
    and is_same_authentication(a.authentication, b.authentication)
end

return configs
