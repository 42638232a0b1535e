local sluice = require "sluice"
local token = require "sluice.token"

describe("connection tokens", function()
  -- The first 32 characters are those of the sample that remoteingress publishes.
  local sample = "eyJoIjoiaHViLmV4YW1wbGUuY29tIiwi"
    .. "cCI6ODQ0MywiZSI6ImVkZ2UtbnljLTAxIiwicyI6InN1cGVyc2VjcmV0dG9rZW4xIn0"
  local hub = {
    host = "hub.example.com", port = 8443, id = "edge-nyc-01", secret = "supersecrettoken1",
  }
  local pin = sluice.crypto.base64url(("x"):rep(32))

  local function make(json)
    return sluice.crypto.base64url(json)
  end

  it("are compact JSON in base64url", function()
    assert.equal(sample, token.encode(hub))
    assert.same(hub, token.decode(sample))
  end)

  it("use the tunnel's usual port unless told otherwise", function()
    assert.equal(8443, token.decode(token.encode { host = "h", id = "e", secret = "s" }).port)
  end)

  it("carry the key of the hub, if it is known", function()
    local with = { host = "::1", port = 1, id = "e", secret = "with spaces", fingerprint = pin }
    assert.same(with, token.decode(token.encode(with)))
  end)

  it("are read with padding, in the other alphabet, and with what copying leaves", function()
    local text = '{"h":"h>?>","p":1,"e":"e","s":"s>>?"}'
    assert.matches("[+/]", sluice.crypto.base64(text))
    assert.equal("h>?>", token.decode(sluice.crypto.base64(text)).host)
    assert.same(hub, token.decode("  " .. sample .. "==\n"))
  end)

  it("ignore keys that they do not know", function()
    assert.equal("h", token.decode(make '{"h":"h","p":1,"e":"e","s":"s","x":[1]}').host)
  end)

  it("are refused with the reason, and never with their content", function()
    for text, reason in pairs {
      ["not base64!"] = "^not a connection token$",
      [make "[]x"] = "^not a connection token$",
      [make "1"] = "^not a connection token$",
      [make '{"p":1,"e":"e","s":"s"}'] = "host: a text",
      [make '{"h":"a b","p":1,"e":"e","s":"s"}'] = "host: must not contain a space",
      [make '{"h":"h","p":0,"e":"e","s":"s"}'] = "port: 1 to 65535",
      [make '{"h":"h","p":1.5,"e":"e","s":"s"}'] = "port: 1 to 65535",
      [make '{"h":"h","p":1,"e":"two words","s":"s"}'] = "id: must not contain a space",
      [make '{"h":"h","p":1,"e":"e"}'] = "secret: a text",
      [make '{"h":"h","p":1,"e":"e","s":"hidden\\n"}'] = "secret: a text",
      [make '{"h":"h","p":1,"e":"e","s":"s","f":"short"}'] = "fingerprint: 32 bytes",
      [("x"):rep(10000)] = "^not a connection token$",
    } do
      local got, err = token.decode(text)
      assert.is_nil(got)
      assert.matches(reason, err)
      assert.is_nil(err:find("hidden", 1, true))
    end
    assert.is_nil((token.decode(nil)))
  end)

  it("take fingerprints as people write them", function()
    local raw = ("\10\27\44\61"):rep(8)
    local digits = ("0a1b2c3d"):rep(8)
    for _, text in ipairs { digits, digits:upper(), (digits:gsub("%x%x", "%0:"):sub(1, -2)),
      sluice.crypto.base64url(raw) } do
      local normal, _, bytes = token.fingerprint(text)
      assert.same({ sluice.crypto.base64url(raw), raw }, { normal, bytes })
    end
    for _, text in ipairs { "", "0a", digits .. "00", ("x"):rep(43) .. "!" } do
      assert.is_nil((token.fingerprint(text)))
    end
  end)

  it("cannot be made from what cannot be sent", function()
    assert.error_matches(function()
      token.encode { host = "h", id = "two words", secret = "s" }
    end, "id: must not contain a space")
    assert.error_matches(function()
      token.encode { host = "h", id = "e", secret = "s", fingerprint = "x" }
    end, "fingerprint")
  end)
end)
