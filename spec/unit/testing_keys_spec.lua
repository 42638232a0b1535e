local sluice = require "sluice"

local crypto = sluice.crypto
local vectors = dofile "spec/fixtures/library/vectors.lua"

describe("base32 of the fake core", function()
  it("is that of RFC 4648", function()
    for bytes, text in pairs {
      [""] = "", f = "my", fo = "mzxq", foo = "mzxw6", foob = "mzxw6yq", fooba = "mzxw6ytb",
      foobar = "mzxw6ytboi", ["\255\255\255\255\255\255"] = "7777777774",
    } do
      assert.equal(text, crypto.base32(bytes))
      assert.equal(bytes, crypto.unbase32(text))
      assert.equal(bytes, crypto.unbase32(text:upper()))
    end
    for _, text in ipairs { "m", "mzx", "mzxw6y", "mz", "my======", "m1", "m y" } do
      assert.same({ nil, "not base32" }, { crypto.unbase32(text) })
    end
  end)
end)

describe("a fake key", function()
  local function roundtrip(key)
    assert.equal(key:thumbprint(), assert(crypto.key(key:jwk())):thumbprint())
    assert.equal(key:thumbprint(), assert(crypto.key(key:public_pem())):thumbprint())
    for _, form in ipairs { "pkcs8", "traditional" } do
      local copy = assert(crypto.key(key:pem(form)))
      assert.is_true(copy:is_private())
      assert.equal(key:kind(), copy:kind())
      assert.equal(key:thumbprint(), copy:thumbprint())
    end
  end

  it("has the true thumbprint", function()
    for _, vector in ipairs(vectors) do
      local key = assert(crypto.key(vector.jwk))
      assert.equal(vector.jwk.d ~= nil, key:is_private())
      if vector.id then
        assert.equal(vector.id, crypto.base32(key:thumbprint()))
      end
      if vector.stripped_x then
        key = assert(crypto.key { kty = "EC", crv = "P-256", x = vector.stripped_x,
          y = vector.jwk.y })
        assert.equal(vector.id, crypto.base32(key:thumbprint()))
      end
    end
  end)

  it("can be written and read", function()
    for _, kind in ipairs { "P-256", "P-384", "P-521", "RSA-2048", "RSA-3072", "RSA-4096" } do
      local key = crypto.new_key(kind)
      assert.equal(kind, key:kind())
      roundtrip(key)
    end
    assert.is_nil((crypto.key "x"))
    assert.is_nil((crypto.key { kty = "oct", k = "AA" }))
    assert.has_error(function() crypto.new_key "RSA-1024" end)
  end)

  it("signs what its public half takes, and nothing else does", function()
    local key, other = crypto.new_key(), crypto.new_key()
    local public = assert(crypto.key(key:jwk()))
    local signature = key:sign("ES256", "text")
    assert.equal(64, #signature)
    assert.is_true(public:verify("ES256", "text", signature))
    assert.is_false(public:verify("ES256", "Text", signature))
    assert.is_false(public:verify("RS256", "text", signature))
    assert.is_false(other:verify("ES256", "text", signature))
    assert.has_error(function() key:sign("ES384", "text") end)
    assert.has_error(function() public:sign("ES256", "text") end)
  end)

  it("makes certificates that say what they say", function()
    local key = crypto.new_key()
    local pem = key:self_signed({ "a.example", "b.example" }, { days = 7 })
    local facts = assert(crypto.certificate(key:pem() .. pem))
    assert.same({ "a.example", "b.example" }, facts.names)
    assert.equal(7 * 86400, facts.not_after - facts.not_before)
    assert.equal(crypto.hex(facts.serial_der), facts.serial)
    assert.equal(crypto.fingerprint(pem), facts.pin)
    assert.is_nil((crypto.certificate "x"))
    local cert, text = crypto.self_signed "c.example"
    assert.same({ "c.example" }, crypto.certificate(cert).names)
    assert.equal(crypto.certificate(cert).pin, assert(crypto.key(text)):thumbprint())
  end)
end)
