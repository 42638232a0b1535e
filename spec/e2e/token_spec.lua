-- `sluice token`: connection tokens on the command line.

local dkjson = require "dkjson"
local sluice = require "support.sluice"

local hub = { "--hub-host", "hub.example.com", "--edge-id", "edge-nyc-01",
  "--secret", "supersecrettoken1" }
-- The sample that remoteingress publishes begins like this.
local sample = "eyJoIjoiaHViLmV4YW1wbGUuY29tIiwicCI6ODQ0MywiZSI6ImVkZ2UtbnljLTAxIiwicyI6"
  .. "InN1cGVyc2VjcmV0dG9rZW4xIn0"
local pin = ("0a1b2c3d"):rep(8)

local function with(list, ...)
  local all = { unpack(list) }
  for _, word in ipairs { ... } do
    table.insert(all, word)
  end
  return all
end

-- Code, what it prints, what it says is wrong, without the ends of lines.
local function run(words, env)
  local code, out, err = sluice.run(with({ "token" }, unpack(words)), env)
  return code, (out:gsub("\n$", "")), (err:gsub("\n$", ""))
end

describe("sluice token", function()
  it("makes tokens and reads them", function()
    local code, out, err = run(with({ "encode" }, unpack(hub)))
    assert.same({ 0, sample, "" }, { code, out, err })
    code, out, err = run { "decode", sample }
    assert.same({ 0, "" }, { code, err })
    assert.equal('{"hubHost":"hub.example.com","hubPort":8443,"edgeId":"edge-nyc-01",'
      .. '"secret":"supersecrettoken1"}', out)
  end)

  it("carries port and fingerprint", function()
    local _, text = run(with({ "encode", unpack(hub) }, "--hub-port=9000", "--fingerprint",
      pin:upper()))
    local _, out = run { "decode", text }
    local fields = dkjson.decode(out)
    assert.same({ 9000, pin }, { fields.hubPort, fields.fingerprint })
  end)

  it("takes secrets from the environment, where nobody sees them", function()
    local _, out = run({ "encode", "--hub-host", "hub.example.com", "--edge-id",
      "edge-nyc-01" }, { EDGE_SECRET = "supersecrettoken1" })
    assert.equal(sample, out)
    _, out = run({ "decode" }, { EDGE_TOKEN = sample })
    assert.matches("supersecrettoken1", out)
  end)

  it("says in one line what is wrong", function()
    for expected, words in pairs {
      ["say encode %-%-hub%-host HOST .*, or decode TOKEN"] = {},
      ["say encode "] = { "frob" },
      ["%-%-secret is missing"] = { "encode", "--hub-host", "h", "--edge-id", "e" },
      ['unknown option %-%-secrat %(did you mean "%-%-secret"%?%)'] =
        { "encode", "--secrat", "x" },
      ["%-%-hub%-port: not a port %(1 to 65535%)"] =
        { "encode", "--hub-host", "h", "--hub-port", "0" },
      ["%-%-fingerprint: not a SHA%-256 in 64 hexadecimal digits"] =
        { "encode", "--hub-host", "h", "--edge-id", "e", "--secret", "s", "--fingerprint", "1" },
      ["id: must not contain a space"] =
        { "encode", "--hub-host", "h", "--edge-id", "a b", "--secret", "hidden" },
      ["decode: a token is missing"] = { "decode" },
      ["not a connection token"] = { "decode", "hidden" },
    } do
      local code, out, err = run(words)
      assert.same({ 1, "" }, { code, out }, err)
      assert.matches("^sluice token: " .. expected .. "[^\n]*$", err)
      assert.is_nil(err:find("hidden", 1, true))
    end
  end)
end)
