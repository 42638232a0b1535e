--- The `security` and `headers` of a route: who may come in, and what is changed on the way.

local check = require "sluice.check"
local field = require "sluice.field"
local json = require("sluice").json
local keys = require "sluice.routes.keys"

local security = {}

-- Passwords stand in no sentence.
local function user(c, value, i)
  local path = "security.basicAuth.users[%d]"
  local u = c:object(value, keys.user, path, i)
  local name = c:string(u.username, path .. ".username", i)
  if name:find(":", 1, true) then
    c:fail("holds a colon, which ends a name in basic authentication", path .. ".username", i)
  end
  if type(u.password) ~= "string" or u.password == "" then
    c:fail("must be a string that is not empty", path .. ".password", i)
  end
  return { name, u.password }
end

local function basic_auth(c, value, spec)
  local auth = c:object(value, keys.basic_auth, "security.basicAuth")
  if not c:boolean(auth.enabled, true, "security.basicAuth.enabled") then
    return
  end
  local users = auth.users
  if users == nil or #c:array(users, "users", "security.basicAuth.users") == 0 then
    c:fail("is missing: nobody could come in", "security.basicAuth.users")
  end
  spec.users = {}
  for i = 1, #users do
    spec.users[i] = user(c, users[i], i - 1)
  end
  local realm = auth.realm ~= nil and c:string(auth.realm, "security.basicAuth.realm") or nil
  if realm and realm:find('["\\]') then
    c:fail("holds a quote or a backslash", "security.basicAuth.realm")
  end
  spec.realm = realm
end

local function compile_security(c, value, spec)
  local s = c:object(value, keys.security, "security")
  if s.ipAllowList ~= nil then
    spec.allow = c:ip_patterns(s.ipAllowList, "security.ipAllowList[%d]")
  end
  if s.ipBlockList ~= nil then
    spec.block = c:ip_patterns(s.ipBlockList, "security.ipBlockList[%d]")
  end
  if s.maxConnections ~= nil then
    spec.max_connections = c:integer(s.maxConnections, 1, 1000000000, "a number of connections",
      "security.maxConnections")
  end
  if s.basicAuth ~= nil then
    basic_auth(c, s.basicAuth, spec)
  end
end

-- false removes the header.
local function header_edit(value)
  if value == json.null or value == false then
    return false
  end
  return field.is_value(value) and value or nil
end

local function header_edits(c, value, path)
  if value == nil then
    return nil
  end
  local list = c:headers(value, header_edit,
    "a string without line breaks, or null to remove the header", path)
  for i = 1, #list do
    local name = list[i][1]
    if field.is_framing(name) or name:lower() == "host" then
      c:fail(check.show(name) .. " is set by the proxy itself", path)
    end
  end
  return list
end

local function compile_headers(c, value, spec)
  local h = c:object(value, keys.headers, "headers")
  spec.request_headers = header_edits(c, h.request, "headers.request")
  spec.response_headers = header_edits(c, h.response, "headers.response")
end

-- What looks into HTTP cannot be kept when the bytes are relayed unseen; above all no password may
-- be believed to guard something that it does not.
local looks_into_http = {
  { "users", "security.basicAuth" }, { "path", "match.path" }, { "headers", "match.headers" },
  { "request_headers", "headers.request" }, { "response_headers", "headers.response" },
}

local function check_raw(c, spec, why)
  for _, pair in ipairs(looks_into_http) do
    if spec[pair[1]] then
      c:fail("cannot be used with " .. why .. ", where requests are not seen", pair[2])
    end
  end
  if spec.action ~= "forward" then
    c:fail(("%q cannot be used with %s, where requests are not seen"):format(spec.action, why),
      "action.type")
  end
end

--- Puts the fields of a route's security and headers into the spec, which has match and action.
function security.compile(c, route, spec)
  if route.security ~= nil then
    compile_security(c, route.security, spec)
  end
  if route.headers ~= nil then
    compile_headers(c, route.headers, spec)
  end
  if spec.tls == "passthrough" then
    check_raw(c, spec, "tls.mode passthrough")
  elseif spec.protocol == "tcp" then
    check_raw(c, spec, "match.protocol tcp")
  end
end

return security
