local sluice = require "support.sluice"

describe("the bus between the states of the process", function()
  it("does what it says", function()
    local code, out, err = sluice.run {
      "run", "spec/fixtures/library/bus.lua", "--workers", "2", "--no-supervisor",
    }
    assert.equal(0, code, out .. err)
    assert.matches("%d+ cases, 0 failed\n$", out)
  end)
end)
