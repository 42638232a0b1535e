local sluice = require "support.sluice"

describe("other programs", function()
  it("run, are limited and leave nothing behind", function()
    local code, out, err = sluice.run({
      "run", "spec/fixtures/library/exec.lua", "--workers", "1", "--no-supervisor",
    }, { LIBRARY_SPEC = "there" })
    assert.equal(0, code, out .. err)
    assert.matches("%d+ cases, 0 failed\n$", out)
  end)
end)
