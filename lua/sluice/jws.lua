--- JSON Web Signatures (RFC 7515) with asymmetric keys: reading, checking, making.
--
-- Compact texts, and JSON ones with exactly one signature. Refused when they are read: `alg` "none"
-- and symmetric algorithms, a `jwk` that is symmetric or private, and `crit`, since no extension is
-- known here. Reading checks no signature: that is verify(), with a key that the caller trusts or,
-- where a key is who somebody is, with parsed.jwk.
--
-- @usage
--   local parsed = assert(jws.parse(text))
--   local key = assert(sluice.crypto.key(parsed.jwk))
--   if jws.verify(parsed, key) then return key:thumbprint(), parsed.payload end

local sluice = require "sluice"

local jws = {}

local max_len = 1024 * 1024

local algorithms = {}
for digits in ("256 384 512"):gmatch("%d+") do
  for _, family in ipairs { "ES", "RS", "PS" } do
    algorithms[family .. digits] = true
  end
end

local default_algorithms = { ["P-256"] = "ES256", ["P-384"] = "ES384", ["P-521"] = "ES512" }

-- What only a private or symmetric JWK has.
local secrets = { "d", "p", "q", "dp", "dq", "qi", "oth", "k" }

-- Reading.

-- Padding is tolerated, but is no part of what was signed.
local function unpadded(text)
  return (text:gsub("=+$", ""))
end

local function object(text)
  local value = text:find("^%s*{") and sluice.json.decode(text)
  return type(value) == "table" and value or nil
end

local function bad_jwk(jwk)
  if type(jwk) ~= "table" then
    return "jwk: an object expected"
  end
  if jwk.kty == "oct" then
    return "jwk: a symmetric key"
  end
  for _, name in ipairs(secrets) do
    if jwk[name] ~= nil then
      return "jwk: a private key"
    end
  end
end

-- What is wrong with the two headers, or nil.
local function bad_headers(protected, header)
  for name in pairs(header) do
    if protected[name] ~= nil then
      return name .. ": in both headers"
    end
  end
  if protected.crit ~= nil or header.crit ~= nil then
    return "crit: no extension is known"
  end
  if protected.b64 ~= nil or header.b64 ~= nil then
    return "b64: not known"
  end
  if not algorithms[protected.alg] then
    return ("alg: %s is not accepted"):format(
      type(protected.alg) == "string" and protected.alg:match("^[%w-]+$") or "that")
  end
  local jwk = protected.jwk or header.jwk
  return jwk ~= nil and bad_jwk(jwk) or nil
end

-- @param parts table protected, payload, signature: base64url; header: a table or nil
local function read(parts)
  for _, name in ipairs { "protected", "payload", "signature" } do
    if type(parts[name]) ~= "string" then
      return nil, name .. ": missing"
    end
  end
  local bytes = {}
  for _, name in ipairs { "protected", "payload", "signature" } do
    bytes[name] = sluice.crypto.unbase64url(parts[name])
    if not bytes[name] then
      return nil, name .. ": not base64url"
    end
  end
  local protected = object(bytes.protected)
  if not protected then
    return nil, "protected: not a JSON object"
  end
  local header = parts.header or {}
  local problem = type(header) ~= "table" and "header: an object expected"
    or bad_headers(protected, header)
  if problem then
    return nil, problem
  end
  return {
    alg = protected.alg,
    jwk = protected.jwk or header.jwk,
    kid = protected.kid or header.kid,
    protected = protected,
    header = header,
    payload = bytes.payload,
    signature = bytes.signature,
    input = unpadded(parts.protected) .. "." .. unpadded(parts.payload),
  }
end

local function read_json(text)
  local value = object(text)
  if not value then
    return nil, "not a JSON object"
  end
  if value.signatures == nil then
    return read(value)
  end
  if value.signature ~= nil or value.protected ~= nil or value.header ~= nil then
    return nil, "signatures: beside a signature"
  end
  if type(value.signatures) ~= "table" or #value.signatures ~= 1
    or type(value.signatures[1]) ~= "table" then
    return nil, "signatures: exactly one expected"
  end
  local one = value.signatures[1]
  return read {
    protected = one.protected, header = one.header, signature = one.signature,
    payload = value.payload,
  }
end

--- Reads a JWS. Its signature is not checked.
-- @tparam string text compact, flattened JSON, or general JSON with one signature
-- @treturn ?table alg, jwk and kid if there are any, protected and header (tables), payload and
-- signature (raw bytes), input (what was signed)
-- @treturn ?string what is wrong
function jws.parse(text)
  if type(text) ~= "string" or text == "" then
    return nil, "not a JWS"
  end
  if #text > max_len then
    return nil, "too long"
  end
  if text:find("^%s*{") then
    return read_json(text)
  end
  local protected, payload, signature = text:match("^([^.]+)%.([^.]*)%.([^.]+)$")
  if not protected then
    return nil, "not a JWS"
  end
  return read { protected = protected, payload = payload, signature = signature }
end

--- Has this key signed it?
-- @tparam table parsed what parse() returned
-- @tparam sluice.Key key
-- @treturn boolean
function jws.verify(parsed, key)
  return key:verify(parsed.alg, parsed.input, parsed.signature)
end

-- Making.

--- The algorithm that goes with a key.
-- @tparam sluice.Key key
-- @treturn string
function jws.algorithm(key)
  return default_algorithms[key:kind()] or "RS256"
end

--- Signs.
-- @tparam sluice.Key key private
-- @tparam ?string alg that of jws.algorithm(key) when nil
-- @tparam table protected members of the protected header; `alg` is added
-- @tparam string payload bytes
-- @tparam[opt="compact"] string form "compact" or "flattened"
-- @treturn string|table the compact text, or protected, payload and signature for JSON
function jws.sign(key, alg, protected, payload, form)
  alg = alg or jws.algorithm(key)
  if form ~= nil and form ~= "compact" and form ~= "flattened" then
    error(('jws.sign: form "compact" or "flattened" expected, got %s'):format(tostring(form)), 2)
  end
  local header = { alg = alg }
  for name, value in pairs(protected) do
    header[name] = value
  end
  local problem = header.alg ~= alg and "alg: not the one that signs" or bad_headers(header, {})
  if problem then
    error("jws.sign: " .. problem, 2)
  end
  local encode = sluice.crypto.base64url
  local head, body = encode(sluice.json.encode(header)), encode(payload)
  local signature = encode(key:sign(alg, head .. "." .. body))
  if form == "flattened" then
    return { protected = head, payload = body, signature = signature }
  end
  return head .. "." .. body .. "." .. signature
end

return jws
