local sluice = require "support.sluice"

describe("UDP sockets of scripts", function()
  it("do what they say", function()
    local code, out, err = sluice.run {
      "run", "spec/fixtures/library/udp.lua", "--workers", "1", "--no-supervisor",
    }
    assert.equal(0, code, out .. err)
    assert.matches("%d+ cases, 0 failed\n$", out)
  end)
end)
