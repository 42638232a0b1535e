--- Stand-ins for the handles that hooks get: a connection, a ClientHello, a request, a response.
-- They have the methods of the real ones, and changes show in later reads as they do there.

local bit = require "bit"
local field = require "sluice.field"
local stream = require "sluice.testing.stream"
local suggest = require "sluice.suggest"

local handles = {}

-- Every method of every kind, with the kinds that have it.
local owners = {}

local function method(kinds, name, fn)
  owners[name] = owners[name] or {}
  for kind in kinds:gmatch("%a+") do
    owners[name][kind] = fn
  end
end

local function misuse(message, ...)
  error(message:format(...), 3)
end

local handle_mt = {}

-- Calling a method of another kind, or one that does not exist, says so as the runtime does.
function handle_mt.__index(handle, name)
  local kind = rawget(handle, "_kind")
  local by_kind = owners[name]
  if by_kind and by_kind[kind] then
    return by_kind[kind]
  end
  local short = kind == "request" and "req" or kind == "response" and "res" or kind
  local hint = by_kind and "" or suggest.hint(name, owners)
  error(("%s:%s: not a method of a %s%s"):format(short, tostring(name), kind, hint), 2)
end

local function new(kind, defaults, given)
  local handle = { _kind = kind, _headers = {}, _ctx = {} }
  for name, value in pairs(defaults) do
    handle["_" .. name] = value
  end
  for name, value in pairs(given or {}) do
    if defaults[name] == nil then
      error(("testing.%s: unknown field %s%s"):format(kind, tostring(name),
        suggest.hint(name, defaults)), 3)
    end
    handle["_" .. name] = value
  end
  return setmetatable(handle, handle_mt)
end

local function reader(kinds, name)
  method(kinds, name, function(self)
    local value = rawget(self, "_" .. name)
    return value ~= false and value or nil
  end)
end

for _, name in ipairs { "ip", "port", "local_ip", "local_port", "transport", "edge" } do
  reader("conn hello request", name)
end
for _, name in ipairs { "id", "method", "path", "query", "host", "scheme", "version", "tls" } do
  reader("request", name)
end
reader("hello request", "sni")
reader("hello", "alpn")
reader("response", "status")
reader("response", "target")

method("conn hello request", "is_udp", function(self)
  return self._is_udp
end)

-- Headers: a list of {name, value}, as they would go over the wire.

local function same_name(a, b)
  return a:lower() == b:lower()
end

local function check_header(name, value)
  if not field.is_name(name) then
    misuse("%q is not a header name", tostring(name))
  end
  if field.is_framing(name) then
    misuse("header %s is set by sluice itself, which frames the message", name)
  end
  if value ~= nil and not field.is_value(value) then
    misuse("the value of header %q must be a string without line breaks", name)
  end
end

local function header_list(given)
  local list = {}
  for name, value in pairs(given or {}) do
    local pair = type(value) == "table" and value or { name, value }
    table.insert(list, { pair[1], pair[2] })
  end
  return list
end

local function remove(list, name)
  for i = #list, 1, -1 do
    if same_name(list[i][1], name) then
      table.remove(list, i)
    end
  end
end

method("request response", "header", function(self, name)
  local values = {}
  for _, pair in ipairs(self._headers) do
    if same_name(pair[1], name) then
      table.insert(values, pair[2])
    end
  end
  local separator = same_name(name, "cookie") and "; " or ", "
  return values[1] and table.concat(values, separator) or nil
end)

method("request response", "headers", function(self)
  local copy = {}
  for i, pair in ipairs(self._headers) do
    copy[i] = { pair[1], pair[2] }
  end
  return copy
end)

method("request response", "set_header", function(self, name, value)
  check_header(name, value)
  remove(self._headers, name)
  if value ~= nil then
    table.insert(self._headers, { name, value })
  end
end)

method("request response", "add_header", function(self, name, value)
  check_header(name, value)
  table.insert(self._headers, { name, value })
end)

method("response", "set_status", function(self, status)
  if type(status) ~= "number" or status < 200 or status > 599 then
    misuse("res:set_status: %s is not a status (200 to 599)", tostring(status))
  end
  self._status = status
end)

-- Requests.

local function split_target(target)
  local path, query = target:match("^([^?]*)%??(.*)$")
  return path, target:find("?", 1, true) and query or false
end

method("request", "target", function(self)
  return self._query and self._path .. "?" .. self._query or self._path
end)

method("request", "set_path", function(self, target)
  if type(target) ~= "string" or not target:find("^/[^%s%c#]*$") then
    misuse("req:set_path: %q is not a path", tostring(target))
  end
  self._path, self._query = split_target(target)
end)

method("request", "cookie", function(self, name)
  for pair in (self:header("cookie") or ""):gmatch("[^;]+") do
    local key, value = pair:match("^%s*([^=]+)=(.-)%s*$")
    if key == name then
      return value
    end
  end
end)

method("request", "body", function(self, max)
  if self._source then
    misuse("req:body: the body is being read with req:read()")
  end
  if type(self._body) == "table" then
    self._body = self._body:all() or ""
  end
  self._is_asked = true
  if #self._body > (max or 1048576) then
    return nil, "too large"
  end
  return self._body
end)

method("request", "read", function(self, max)
  if self._is_asked then
    misuse("req:read: the body was asked for with req:body()")
  end
  self._source = self._source or stream.pipe(self._body)
  return self._source:read(max)
end)

-- FNV-1a: spreads well enough, and the same everywhere.
method("request", "hash", function(_, text)
  local hash = bit.tobit(2166136261)
  for i = 1, #text do
    hash = bit.bxor(hash, text:byte(i))
    hash = bit.tobit(hash + bit.lshift(hash, 1) + bit.lshift(hash, 4) + bit.lshift(hash, 7)
      + bit.lshift(hash, 8) + bit.lshift(hash, 24))
  end
  return hash % 2 ^ 32
end)

method("request", "ctx", function(self)
  return self._ctx
end)

local connection = {
  ip = "192.0.2.1",
  port = 50000,
  local_ip = "198.51.100.1",
  local_port = 443,
  transport = "tcp",
  edge = false,
  is_udp = false,
}

local function with_connection(fields)
  for name, value in pairs(connection) do
    fields[name] = value
  end
  return fields
end

--- A visitor's connection, as on_connect gets it.
-- @tparam[opt] table given ip, port, local_ip, local_port, transport, edge, is_udp
function handles.conn(given)
  return new("conn", with_connection {}, given)
end

--- A ClientHello, as on_hello gets it.
-- @tparam[opt] table given sni, alpn (array), and the fields of conn
function handles.hello(given)
  return new("hello", with_connection { sni = false, alpn = {} }, given)
end

--- A request, as on_request gets it.
-- @tparam[opt] table given method, host, path (with query), headers, body, scheme, version, tls,
-- sni, id, and the fields of conn. Headers: name to value, or an array of {name, value}.
function handles.request(given)
  local request = new("request", with_connection {
    id = 1, method = "GET", host = "localhost", path = "/", headers = {}, body = "",
    scheme = "https", version = "1.1", tls = "TLSv1.3", sni = false, query = false,
  }, given)
  request._headers = header_list(request._headers)
  request._source, request._is_asked = false, false -- of the body: what req:read() reads
  if not request:header("host") and request._host then
    table.insert(request._headers, 1, { "host", request._host })
  end
  if not request._query then
    request._path, request._query = split_target(request._path)
  end
  return request
end

--- A response, as on_response gets it.
-- @tparam[opt] table given status, headers, target ("host:port")
function handles.response(given)
  local response = new("response", { status = 200, headers = {}, target = "127.0.0.1:80" }, given)
  response._headers = header_list(response._headers)
  return response
end

return handles
