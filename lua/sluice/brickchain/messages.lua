--- The documents of the Brickchain tunnel protocol, version 1: one JSON object per message of the
-- WebSocket between a server and a client.
--
-- What is written has the fields in the order in which the original writes them. What is read is as
-- strict as the original: a document of another type, with a malformed timestamp or with a field of
-- the wrong kind is none. Fields that are not known here are ignored, and so are ours by originals:
-- the member `sluice` of some documents, see docs/brickchain.md, "Between two sluices".
--
-- @usage
--   local kind, doc = messages.decode(text)
--   if kind == "http-request" then … doc.id, doc.url, doc.headers …

local sluice = require "sluice"

local json = sluice.json
local floor = math.floor

local messages = {}

--- The version of what two sluices can do beyond the protocol.
messages.extension_version = 1

local base = "https://proxy.brickchain.com/v1/"

-- Members of each kind beyond the base fields: JSON name to { our name, type }.
local kinds = {
  ["registration-request"] = { mandateToken = "string", session = "string", sluice = "table" },
  ["registration-response"] = { keyID = "string", hostname = "string", sluice = "table" },
  ping = {},
  ["http-request"] = { url = "string", query = "string", headers = "table", method = "string",
    body = "string", sluice = "table" },
  ["http-response"] = { headers = "table", contentType = "string", status = "number",
    body = "string", sluice = "table" },
  ["ws-request"] = { url = "string", query = "string", headers = "table", sluice = "table" },
  ["ws-response"] = { ok = "boolean", error = "string", sluice = "table" },
  ["ws-message"] = { messageType = "number", body = "string" },
  ["ws-teardown"] = { sluice = "table" },
  disconnect = {},
}

local kind_of = {}
for kind in pairs(kinds) do
  kind_of[base .. kind .. ".json"] = kind
end

-- Timestamps.

local days_before_month = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 }

local function is_leap(year)
  return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end

local function days_in(month, year)
  if month == 2 then
    return is_leap(year) and 29 or 28
  end
  return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

-- Days from 1970 to the first of January of a year.
local function days_to(year)
  local before = year - 1
  return 365 * (year - 1970) + floor(before / 4) - floor(before / 100) + floor(before / 400) - 477
end

local function zone_of(text)
  if text == "Z" then
    return 0
  end
  local sign, hours, minutes = text:match("^([+-])(%d%d):(%d%d)$")
  hours, minutes = tonumber(hours), tonumber(minutes)
  if not sign or hours > 23 or minutes > 59 then
    return nil
  end
  return (sign == "-" and -1 or 1) * (hours * 3600 + minutes * 60)
end

--- Seconds since 1970 of a time as in RFC 3339; nil when it is none.
function messages.parse_timestamp(text)
  local year, month, day, hour, minute, second, fraction, zone =
    text:match("^(%d%d%d%d)-(%d%d)-(%d%d)T(%d%d):(%d%d):(%d%d)(%.?%d*)([Z+-].*)$")
  local offset = zone and zone_of(zone)
  if not offset or fraction == "." or (fraction ~= "" and fraction:sub(1, 1) ~= ".") then
    return nil
  end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  if month < 1 or month > 12 or day < 1 or day > days_in(month, year) or hour > 23
    or minute > 59 or second > 59 then
    return nil
  end
  local days = days_to(year) + days_before_month[month] + day - 1
    + (month > 2 and is_leap(year) and 1 or 0)
  return days * 86400 + hour * 3600 + minute * 60 + second + (tonumber("0" .. fraction) or 0)
    - offset
end

local shown_second, shown_prefix

--- The time now, as in RFC 3339 with milliseconds.
function messages.timestamp()
  local now = sluice.time()
  local second = floor(now)
  if second ~= shown_second then
    shown_second, shown_prefix = second, os.date("!%Y-%m-%dT%H:%M:%S", second)
  end
  return ("%s.%03dZ"):format(shown_prefix, floor((now - second) * 1000))
end

--- A new id: a UUID of version 4.
function messages.new_id()
  local digits = sluice.crypto.hex(sluice.crypto.random(16))
  return ("%s-%s-4%s-%x%s-%s"):format(digits:sub(1, 8), digits:sub(9, 12), digits:sub(14, 16),
    8 + tonumber(digits:sub(17, 17), 16) % 4, digits:sub(18, 20), digits:sub(21, 32))
end

-- Reading.

local function take(doc, value, name, type_name)
  local field = value[name]
  if field == nil or field == json.null then
    return true
  end
  if type(field) ~= type_name then
    return false
  end
  doc[name] = field
  return true
end

local function check_headers(headers)
  for name, value in pairs(headers) do
    if type(name) ~= "string" or (type(value) ~= "string" and value ~= json.null) then
      return false
    end
  end
  return true
end

-- Takes the base fields over; what is wrong with them, if anything is.
local function problem_of_base(doc, value)
  local id, time = value["@id"], value["@timestamp"]
  if id ~= nil and id ~= json.null then
    if type(id) ~= "string" then
      return "@id: not a string"
    end
    doc.id = id
  end
  if time ~= nil and time ~= json.null then
    doc.timestamp = type(time) == "string" and messages.parse_timestamp(time) or nil
    if not doc.timestamp then
      return "@timestamp: not a time as in RFC 3339"
    end
  end
end

--- Reads a document.
-- @tparam string text
-- @treturn ?string its kind: "ping", "http-request", …
-- @treturn table|string the fields by their JSON name, `@id` as `id` and `@timestamp` in seconds as
-- `timestamp`; those that are missing or null are missing. Or, without a kind, what is wrong
function messages.decode(text)
  local value, err = json.decode(text)
  if type(value) ~= "table" or value == json.null then
    return nil, err or "not an object"
  end
  local kind = kind_of[value["@type"]]
  if not kind then
    return nil, "@type: not one of this protocol"
  end
  local doc = {}
  err = problem_of_base(doc, value)
  if err then
    return nil, err
  end
  for name, type_name in pairs(kinds[kind]) do
    if not take(doc, value, name, type_name) then
      return nil, name .. ": not a " .. type_name
    end
  end
  if doc.headers and not check_headers(doc.headers) then
    return nil, "headers: not an object of strings"
  end
  return kind, doc
end

-- Writing.

local function opening(kind, id)
  return ('{"@type":"%s%s.json","@timestamp":"%s","@id":%s'):format(base, kind,
    messages.timestamp(), json.encode(id))
end

-- `,"name":value`, or nothing at all for nil: how the original leaves out what is empty.
local function member(name, value)
  return value ~= nil and (',"%s":%s'):format(name, json.encode(value)) or ""
end

local function filled(text)
  return text ~= "" and text or nil
end

local function extension(value)
  return member("sluice", value)
end

--- C>S: asks for a name. `token` is a JWS in compact form, `session` may be nil.
function messages.registration_request(id, token, session, more)
  return opening("registration-request", id) .. member("mandateToken", token)
    .. member("session", session) .. extension(more) .. "}"
end

--- S>C: the answer, exactly once for each request.
function messages.registration_response(id, key_id, hostname, more)
  return opening("registration-response", id) .. member("keyID", key_id)
    .. member("hostname", hostname) .. extension(more) .. "}"
end

--- S>C: byte for byte what the original sends.
messages.ping = '{"@type":"' .. base .. 'ping.json"}\n'

local request_head = '{"@type":"' .. base .. 'http-request.json","@timestamp":"'
local response_head = '{"@type":"' .. base .. 'http-response.json","@timestamp":"'

--- S>C: a request.
-- @tparam string id
-- @tparam table request url (decoded path), query (or nil), headers (name to value), method,
-- body (bytes)
-- @tparam[opt] table more for a sluice
function messages.http_request(id, request, more)
  local query = request.query
  return request_head .. messages.timestamp() .. '","@id":"' .. id .. '","url":'
    .. json.encode(request.url) .. (query and query ~= "" and ',"query":' .. json.encode(query)
    or "") .. ',"headers":' .. json.encode(request.headers) .. ',"method":'
    .. json.encode(request.method) .. ',"body":"' .. sluice.crypto.base64(request.body)
    .. (more and '","sluice":' .. json.encode(more) .. "}" or '"}')
end

--- C>S: the answer to a request.
-- @tparam string id
-- @tparam table response headers (name to value), content_type, status, body (bytes)
-- @tparam[opt] table more for a sluice
function messages.http_response(id, response, more)
  return response_head .. messages.timestamp() .. '","@id":"' .. id .. '","headers":'
    .. json.encode(response.headers) .. ',"contentType":'
    .. json.encode(response.content_type or "") .. ',"status":' .. response.status
    .. ',"body":"' .. sluice.crypto.base64(response.body)
    .. (more and '","sluice":' .. json.encode(more) .. "}" or '"}')
end

--- S>C: a visitor wants a WebSocket.
function messages.ws_request(id, request, more)
  return opening("ws-request", id) .. member("url", request.url)
    .. member("query", filled(request.query)) .. member("headers", request.headers)
    .. extension(more) .. "}"
end

--- C>S: whether the visitor gets it.
function messages.ws_response(id, ok, err, more)
  return opening("ws-response", id) .. member("ok", ok) .. member("error", filled(err))
    .. extension(more) .. "}"
end

--- Both: a message. The original sends bytes that are not text as text; so does this.
function messages.ws_message(id, kind, body)
  return opening("ws-message", id) .. member("messageType", kind == "binary" and 2 or 1)
    .. member("body", body) .. "}"
end

--- Both: the WebSocket is over.
function messages.ws_teardown(id, more)
  return opening("ws-teardown", id) .. extension(more) .. "}"
end

--- C>S: goodbye.
function messages.disconnect(id)
  return opening("disconnect", id) .. "}"
end

return messages
