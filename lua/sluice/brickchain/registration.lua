--- Who may have which name: the checks of a registration, in the order of the original and with
-- its words, which clients get to read.

local jws = require "sluice.jws"
local keyid = require "sluice.brickchain.keyid"
local messages = require "sluice.brickchain.messages"
local sluice = require "sluice"

local json = sluice.json

local registration = {}

-- The original compares the beginning alone, so that a token for http://host:65201 is good for
-- http://host:6520.
local function is_for(uri, base)
  if type(uri) ~= "string" or uri:sub(1, #base) ~= base then
    return false
  end
  return base:sub(-1) == "/" or uri:sub(#base + 1):find("^[/?#]") ~= nil or #uri == #base
end

local function time_of(payload)
  local stamp = payload["@timestamp"]
  return type(stamp) == "string" and messages.parse_timestamp(stamp) or nil
end

local function read_payload(text)
  local payload, err = json.decode(text)
  if type(payload) ~= "table" or payload == json.null then
    return nil, err or "not an object"
  end
  local stamp, ttl = payload["@timestamp"], payload.ttl
  if stamp ~= nil and stamp ~= json.null and not time_of(payload) then
    return nil, "@timestamp: not a time as in RFC 3339"
  elseif ttl ~= nil and ttl ~= json.null and type(ttl) ~= "number" then
    return nil, "ttl: not a number"
  end
  return payload
end

local function check_payload(payload, options)
  local now, stamp = sluice.time(), time_of(payload)
  local ttl = type(payload.ttl) == "number" and payload.ttl or 0
  if not stamp or ttl == 0 or stamp + ttl < now then
    return nil, "Token has expired"
  end
  if options.max_age > 0 and math.abs(now - stamp) > options.max_age then
    return nil, "Token has expired"
  end
  if not is_for(payload.uri, options.base) then
    return nil, "Token not for this endpoint"
  end
  return true
end

--- Checks a token.
-- @tparam string token a JWS
-- @tparam table options base: what its uri must begin with; max_age: seconds that its timestamp may
-- be away from now, whatever its ttl says, 0 for no such limit
-- @treturn ?sluice.Key
-- @treturn ?string what to tell the client
function registration.verify(token, options)
  local parsed, err = jws.parse(token)
  if not parsed then
    return nil, "failed to unmarshal JWS: " .. err
  end
  if parsed.jwk == nil then
    return nil, "no jwk in token"
  end
  local key
  key, err = sluice.crypto.key(parsed.jwk)
  if not key then
    return nil, "failed to unmarshal JWS: " .. err
  elseif not jws.verify(parsed, key) then
    return nil, "failed to verify token: the signature is not that of the key"
  end
  local payload
  payload, err = read_payload(parsed.payload)
  if not payload then
    return nil, "failed to unmarshal token: " .. err
  end
  local ok
  ok, err = check_payload(payload, options)
  return ok and key, err
end

--- Checks a registration-request.
-- @tparam table doc of messages
-- @tparam table options as of verify()
-- @treturn ?string the id of the key, or of its session
-- @treturn ?string what to tell the client
-- @treturn ?table the public key as JWK
function registration.accept(doc, options)
  local key, err = registration.verify(doc.mandateToken or "", options)
  if not key then
    return nil, err
  end
  return keyid.of(key:thumbprint(), doc.session), nil, key:jwk()
end

return registration
