--- Fakes of keys, for specs: sluice.Key without mathematics. Key texts and JWKs that the fakes have
-- made can be read again, thumbprints are exact, and a signature is a digest that anybody with the
-- public key could make: it proves nothing, and it tells right from wrong.

local digest = require "sluice.testing.digest"
local json = require "sluice.testing.json"

local keys = {}

-- Bytes of a coordinate, and of a signature, by kind.
local curves = {
  ["P-256"] = { size = 32, alg = "ES256" },
  ["P-384"] = { size = 48, alg = "ES384" },
  ["P-521"] = { size = 66, alg = "ES512" },
}
local rsa_sizes = { ["RSA-2048"] = 256, ["RSA-3072"] = 384, ["RSA-4096"] = 512 }
local rsa_algs = {
  RS256 = true, RS384 = true, RS512 = true, PS256 = true, PS384 = true, PS512 = true,
}

local key = {}
key.__index = key

local function stretch(seed, len)
  local out, i = "", 0
  while #out < len do
    i = i + 1
    out = out .. digest.sha256(seed .. i)
  end
  return out:sub(1, len)
end

local function new(kind, jwk, private)
  return setmetatable({ _kind = kind, _jwk = jwk, _private = private }, key)
end

function keys.new_key(kind)
  kind = kind or "P-256"
  local seed, encode = digest.random(32), digest.base64url
  local curve, rsa_size = curves[kind], rsa_sizes[kind]
  if curve then
    return new(kind, {
      kty = "EC", crv = kind,
      x = encode(stretch(seed .. "x", curve.size)), y = encode(stretch(seed .. "y", curve.size)),
    }, encode(seed))
  end
  if rsa_size then
    return new(kind, { kty = "RSA", e = "AQAB", n = encode("\200" .. stretch(seed, rsa_size - 1)) },
      encode(seed))
  end
  error("bad argument #1 to 'new_key' (P-256, P-384, P-521, RSA-2048, RSA-3072 or RSA-4096)", 2)
end

local function number(jwk, name, size)
  local bytes = type(jwk[name]) == "string" and digest.unbase64url(jwk[name])
  if not bytes or bytes == "" then
    return nil, name .. ": not base64url"
  end
  if size and #bytes > size then
    return nil, name .. ": too long"
  end
  bytes = size and ("\0"):rep(size - #bytes) .. bytes or bytes:gsub("^%z+", "")
  return digest.base64url(bytes), nil, #bytes
end

local function read_ec(jwk)
  local curve = curves[jwk.crv]
  if not curve then
    return nil, "crv: P-256, P-384 or P-521 expected"
  end
  local x, y, err
  x, err = number(jwk, "x", curve.size)
  if x then
    y, err = number(jwk, "y", curve.size)
  end
  if not y then
    return nil, err
  end
  return new(jwk.crv, { kty = "EC", crv = jwk.crv, x = x, y = y }, jwk.d)
end

local function read_rsa(jwk)
  local e, err = number(jwk, "e")
  if not e then
    return nil, err
  end
  local n, why, size = number(jwk, "n")
  if not n then
    return nil, why
  end
  return new("RSA-" .. size * 8, { kty = "RSA", e = e, n = n }, jwk.d)
end

local function read_jwk(jwk)
  if jwk.kty == "EC" then
    return read_ec(jwk)
  elseif jwk.kty == "RSA" then
    return read_rsa(jwk)
  end
  return nil, jwk.kty == "oct" and "a symmetric key" or "kty: EC or RSA expected"
end

function keys.key(from)
  if type(from) == "table" then
    return read_jwk(from)
  end
  for body in from:gmatch("%-%-%-%-%-BEGIN [%u ]*KEY%-%-%-%-%-\n(.-)\n%-%-%-%-%-END") do
    local jwk = json.decode(digest.unbase64(body) or "")
    if type(jwk) == "table" then
      return read_jwk(jwk)
    end
  end
  return nil, "not a PEM key"
end

local function pem(what, value)
  return ("-----BEGIN %s-----\n%s\n-----END %s-----\n"):format(what,
    digest.base64(json.encode(value)), what)
end

local function need_private(self)
  if not self._private then
    error("a private key expected, got a public one", 3)
  end
end

function key:is_private()
  return self._private ~= nil
end

function key:kind()
  return self._kind
end

function key:jwk()
  local copy = {}
  for name, value in pairs(self._jwk) do
    copy[name] = value
  end
  return copy
end

function key:pem(form)
  need_private(self)
  local jwk = self:jwk()
  jwk.d = self._private
  local is_ec = jwk.kty == "EC"
  return pem((form or "pkcs8") == "pkcs8" and "PRIVATE KEY" or is_ec and "EC PRIVATE KEY"
    or "RSA PRIVATE KEY", jwk)
end

function key:public_pem()
  return pem("PUBLIC KEY", self._jwk)
end

function key:thumbprint()
  local jwk = self._jwk
  if jwk.kty == "EC" then
    return digest.sha256(('{"crv":"%s","kty":"EC","x":"%s","y":"%s"}'):format(jwk.crv, jwk.x,
      jwk.y))
  end
  return digest.sha256(('{"e":"%s","kty":"RSA","n":"%s"}'):format(jwk.e, jwk.n))
end

local function fits(self, alg)
  local curve = curves[self._kind]
  if curve then
    return curve.alg == alg
  end
  return rsa_algs[alg] == true
end

local function signature(self, alg, bytes)
  local curve = curves[self._kind]
  local size = curve and 2 * curve.size or rsa_sizes[self._kind] or 256
  return stretch(digest.hmac_sha256(self:thumbprint() .. alg, bytes), size)
end

function key:sign(alg, bytes)
  need_private(self)
  if not fits(self, alg) then
    error(("a key of the kind %s does not sign with %s"):format(self._kind, alg), 2)
  end
  return signature(self, alg, bytes)
end

function key:verify(alg, bytes, given)
  return fits(self, alg) and signature(self, alg, bytes) == given
end

-- Requests and certificates: JSON inside, so that a fake issuer can read them.

local function list_of(names)
  return type(names) == "string" and { names } or names
end

function key:csr(names)
  need_private(self)
  return json.encode { csr = true, names = list_of(names), jwk = self._jwk }
end

function key:self_signed(names, options)
  need_private(self)
  options = options or {}
  return keys.fake_certificate(self, names, {
    days = options.days,
    acme_identifier = options.acme_identifier and digest.hex(options.acme_identifier),
  })
end

--- A certificate that keys.certificate() can read.
-- @param self a fake key, whose pin it has
-- @tparam string|table names
-- @tparam[opt] table facts days (90), not_before, issuer, serial (hex), authority_key_id (hex)
function keys.fake_certificate(self, names, facts)
  facts = facts or {}
  names = list_of(names)
  local from = facts.not_before or 1700000000
  return pem("CERTIFICATE", {
    names = names,
    not_before = from,
    not_after = from + (facts.days or 90) * 86400,
    serial = facts.serial or digest.hex(digest.random(8)),
    issuer = facts.issuer or "CN=" .. names[1],
    authority_key_id = facts.authority_key_id,
    acme_identifier = facts.acme_identifier,
    pin = digest.hex(digest.sha256(json.encode(self._jwk))), -- of what public_pem() wraps
  })
end

local function unhex(text)
  return text and (text:gsub("%x%x", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

function keys.certificate(text)
  local body = text:match("%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-\n(.-)\n%-%-%-%-%-END")
  local facts = body and json.decode(digest.unbase64(body) or "")
  if type(facts) ~= "table" then
    return nil, "certificate.cert: not a PEM certificate"
  end
  return {
    names = facts.names,
    not_before = facts.not_before,
    not_after = facts.not_after,
    serial = facts.serial,
    serial_der = unhex(facts.serial),
    issuer = facts.issuer,
    authority_key_id = unhex(facts.authority_key_id),
    pin = unhex(facts.pin),
  }
end

return keys
