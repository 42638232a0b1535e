local keyid = require "sluice.brickchain.keyid"
local registration = require "sluice.brickchain.registration"
local sluice = require "sluice"
local testing = require "sluice.testing"

local base = "http://127.0.0.1:6520"

local recorded = dofile "spec/fixtures/library/brickchain_recorded.lua"

describe("a registration", function()
  local now

  before_each(function()
    testing.reset()
    testing.fake("time", function()
      return now
    end)
    testing.fake("crypto.key", function(jwk) -- fakes cannot check signatures
      return { verify = function() return true end, jwk = function() return jwk end,
        thumbprint = function()
          return sluice.crypto.sha256(('{"crv":"%s","kty":"EC","x":"%s","y":"%s"}')
            :format(jwk.crv, jwk.x, jwk.y))
        end }
    end)
  end)

  local function accept(one, changes)
    local options = { base = base, max_age = 0 }
    for name, value in pairs(changes or {}) do
      options[name] = value
    end
    return registration.accept({ mandateToken = one.token, session = one.session }, options)
  end

  for _, one in ipairs(recorded) do
    it("of " .. one.name .. " gets the name that it got", function()
      now = one.at
      assert.equal(one.id, (accept(one)))
    end)

    it("of " .. one.name .. " is good for a minute", function()
      now = one.at + 59
      assert.truthy(accept(one))
      now = one.at + 62
      assert.same({ nil, "Token has expired" }, { accept(one) })
    end)
  end

  it("is for one base, and what is below it", function()
    local one = recorded[1]
    now = one.at
    for url, is_right in pairs { ["http://127.0.0.1:6520"] = true, ["http://127.0.0.1:652"] = false,
      ["http://127.0.0.1:6520/"] = false, ["http://127.0.0.1"] = false,
      ["https://127.0.0.1:6520"] = false } do
      assert.equal(is_right, (accept(one, { base = url })) ~= nil, url)
    end
  end)

  it("may have to be young, whatever it says itself", function()
    local one = recorded[1]
    now = one.at + 30
    assert.truthy(accept(one, { max_age = 31 }))
    assert.is_nil((accept(one, { max_age = 20 })))
    now = one.at - 30
    assert.truthy(accept(one)) -- as with originals
    assert.is_nil((accept(one, { max_age = 20 })))
  end)
end)

describe("the id of a key", function()
  local function b64u(text)
    return assert(sluice.crypto.unbase64url(text))
  end

  it("is that of the known vectors", function()
    for thumbprint, id in pairs {
      ["oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"] =
        "ucrdfqxrssstku6lcmin3paiehsbjoox5p6csczsgccnpuicb7sq",
      ["NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"] =
        "g43mxmlyps4dbhdx52gdobof4fx7xhufs4kzahy6jrm3cemc6v5q",
      ["hO4dv1H3apfKideSAsOkQD_H0XEtNCMnVpGqNrjKIrw"] =
        "qtxb3p2r65vjpsuj26jafq5eia74pulrfu2cgj2wsgvdnogkek6a",
    } do
      assert.equal(id, keyid.of(b64u(thumbprint)))
      assert.equal(id, keyid.of(b64u(thumbprint), ""))
      assert.is_true(keyid.is_valid(id))
    end
  end)

  it("is another one for a session", function()
    assert.equal("hm2xxvpgjcyycxfmobzqbwv4rzr3uvlx56etiympxvct3thxxhzq",
      keyid.of(b64u "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", "sess1"))
    assert.equal("lpn64vfpgylsp3fzeig3kt4r73hdxrsnhab3ati4az5wwx5g7txq",
      keyid.of(b64u "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "sess1"))
  end)

  it("is nothing else", function()
    for _, text in ipairs { "", ("a"):rep(51), ("a"):rep(53), ("A"):rep(52), ("1"):rep(52),
      ("a"):rep(51) .. "." } do
      assert.is_false(keyid.is_valid(text))
    end
  end)
end)
