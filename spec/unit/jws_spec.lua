local jws = require "sluice.jws"
local sluice = require "sluice"

local encode = sluice.crypto.base64url

local function compact(header, payload, signature)
  header = type(header) == "table" and sluice.json.encode(header) or header
  return encode(header) .. "." .. encode(payload or "{}") .. "." .. encode(signature or "x")
end

local function refused(text, pattern)
  local parsed, err = jws.parse(text)
  assert.is_nil(parsed)
  assert.matches(pattern, err)
end

describe("a JWS", function()
  local key, text

  before_each(function()
    key = sluice.crypto.new_key()
    text = jws.sign(key, "ES256", { jwk = key:jwk() }, "payload")
  end)

  it("goes there and back", function()
    local parsed = assert(jws.parse(text))
    assert.equal("payload", parsed.payload)
    assert.equal("ES256", parsed.alg)
    assert.same(key:jwk(), parsed.jwk)
    assert.is_true(jws.verify(parsed, key))
    assert.is_true(jws.verify(parsed, assert(sluice.crypto.key(parsed.jwk))))
  end)

  it("is not somebody else's", function()
    local parsed = assert(jws.parse(text))
    assert.is_false(jws.verify(parsed, sluice.crypto.new_key()))
    assert.is_false(jws.verify(parsed, sluice.crypto.new_key("RSA-2048")))
  end)

  it("holds what was signed, not what it means", function()
    local head, _, signature = text:match("^(.-)%.(.-)%.(.-)$")
    local other = assert(jws.parse(head .. "." .. encode("Payload") .. "." .. signature))
    assert.is_false(jws.verify(other, key))
  end)

  it("may have an empty payload", function()
    local parsed = assert(jws.parse(jws.sign(key, nil, {}, "")))
    assert.equal("", parsed.payload)
    assert.is_true(jws.verify(parsed, key))
  end)

  it("takes the algorithm of its key", function()
    local p384, rsa = sluice.crypto.new_key("P-384"), sluice.crypto.new_key("RSA-2048")
    assert.equal("ES384", jws.parse(jws.sign(p384, nil, {}, "x")).alg)
    assert.equal("RS256", jws.parse(jws.sign(rsa, nil, {}, "x")).alg)
    assert.equal("PS256", jws.parse(jws.sign(rsa, "PS256", {}, "x")).alg)
    assert.has_error(function() jws.sign(rsa, "ES256", {}, "x") end)
  end)

  it("is read in its JSON forms, too", function()
    local flat = jws.sign(key, "ES256", { url = "https://ca.example/" }, "payload", "flattened")
    local parsed = assert(jws.parse(sluice.json.encode(flat)))
    assert.equal("https://ca.example/", parsed.protected.url)
    assert.is_true(jws.verify(parsed, key))
    local general = { payload = flat.payload, signatures = {
      { protected = flat.protected, signature = flat.signature, header = { jwk = key:jwk() } },
    } }
    parsed = assert(jws.parse("\n" .. sluice.json.encode(general)))
    assert.same(key:jwk(), parsed.jwk)
    assert.is_true(jws.verify(parsed, key))
  end)

  it("may be padded", function()
    local head, body, signature = text:match("^(.-)%.(.-)%.(.-)$")
    local function padded(part)
      return part .. ("="):rep(-#part % 4)
    end
    local whole = padded(head) .. "." .. padded(body) .. "." .. padded(signature)
    local parsed = assert(jws.parse(whole))
    assert.is_true(jws.verify(parsed, key))
  end)
end)

describe("refused are", function()
  it("texts that are no JWS", function()
    for _, text in ipairs { "", ".", "..", "a.b", "a.b.c.d", "....", "é.é.é", "null", 7 } do
      assert.is_nil((jws.parse(text)))
    end
    refused(("x"):rep(2 * 1024 * 1024), "too long")
    refused(compact "[]", "protected: not a JSON object")
    refused(compact "{", "protected: not a JSON object")
    refused(compact(("["):rep(10000)), "protected: not a JSON object")
    refused(encode '{"alg":"ES256"}' .. ".*." .. encode "x", "payload: not base64url")
  end)

  it("algorithms that prove nothing here", function()
    refused(compact { alg = "none" }, "alg: none is not accepted")
    refused(compact { alg = "HS256" }, "alg: HS256 is not accepted")
    refused(compact { alg = "ES256K" }, "alg: ES256K is not accepted")
    refused(compact { alg = "es256" }, "alg")
    refused(compact { alg = { "ES256" } }, "alg: that is not accepted")
    refused(compact { kid = "1" }, "alg: that is not accepted")
    refused(compact { alg = sluice.json.null }, "alg: that is not accepted")
  end)

  it("keys that nobody should send", function()
    refused(compact { alg = "ES256", jwk = { kty = "oct", k = "AA" } }, "jwk: a symmetric key")
    refused(compact { alg = "ES256", jwk = { kty = "EC", d = "AA" } }, "jwk: a private key")
    refused(compact { alg = "RS256", jwk = { kty = "RSA", qi = "AA" } }, "jwk: a private key")
    refused(compact { alg = "RS256", jwk = "key" }, "jwk: an object expected")
  end)

  it("extensions", function()
    refused(compact { alg = "ES256", crit = { "exp" } }, "crit")
    refused(compact { alg = "ES256", b64 = false }, "b64")
    refused(sluice.json.encode { protected = encode '{"alg":"ES256"}', payload = "", signature = "",
      header = { crit = { "x" } } }, "crit")
  end)

  it("JSON forms that leave room for doubt", function()
    local head = encode '{"alg":"ES256"}'
    local one = { protected = head, signature = "AA" }
    local function json(value)
      return sluice.json.encode(value)
    end
    refused(json { payload = "", signatures = { one, one } }, "exactly one")
    refused(json { payload = "", signatures = sluice.json.array {} }, "exactly one")
    refused(json { payload = "", signatures = "x" }, "exactly one")
    refused(json { payload = "", signatures = { one }, signature = "AA" }, "beside a signature")
    refused(json { protected = head, signature = "AA" }, "payload: missing")
    refused(json { protected = head, signature = "AA", payload = "", header = 1 }, "header")
    refused(json { protected = head, signature = "AA", payload = "", header = { alg = "ES256" } },
      "alg: in both headers")
    refused(json { payload = "", signature = "AA", header = { alg = "ES256" } },
      "protected: missing")
  end)

  it("mistakes of whoever signs", function()
    local key = sluice.crypto.new_key()
    local public = assert(sluice.crypto.key(key:jwk()))
    for _, case in ipairs {
      { key, "ES384", {}, "x" },
      { key, "none", {}, "x" },
      { key, "ES256", { alg = "RS256" }, "x" },
      { key, "ES256", { crit = { "exp" } }, "x" },
      { key, "ES256", { jwk = { kty = "EC", d = "AA" } }, "x" },
      { key, "ES256", {}, "x", "general" },
      { public, "ES256", {}, "x" },
    } do
      assert.has_error(function() jws.sign(unpack(case)) end)
    end
  end)
end)
