local latest = require "sluice.latest"
local sluice = require "sluice"
local testing = require "sluice.testing"

describe("latest", function()
  local runs, queue
  local with = { spawn = sluice.spawn, pause = function() sluice.sleep(0.1) end }

  -- Work that takes a second.
  before_each(function()
    testing.reset()
    runs = {}
    queue = latest.new(function(kind, value)
      table.insert(runs, kind .. value)
      sluice.sleep(1)
      return "done " .. value
    end, with)
  end)

  local function hand_in(results, kind, value)
    sluice.spawn(function()
      table.insert(results, { value, queue:run(kind, value) })
    end)
  end

  it("runs what comes and returns the result", function()
    local results = {}
    hand_in(results, "a", 1)
    testing.clock():advance(1)
    assert.same({ { 1, "done 1" } }, results)
  end)

  it("replaces what still waits, and answers both from the newer run", function()
    local results = {}
    for value = 1, 4 do
      hand_in(results, "a", value)
    end
    testing.clock():advance(3)
    assert.same({ "a1", "a4" }, runs)
    assert.same({ { 1, "done 1" }, { 2, "done 4" }, { 3, "done 4" }, { 4, "done 4" } }, results)
  end)

  it("keeps the order of different kinds", function()
    local results = {}
    for _, piece in ipairs { { "a", 1 }, { "a", 2 }, { "b", 3 }, { "a", 4 }, { "a", 5 } } do
      hand_in(results, piece[1], piece[2])
    end
    testing.clock():advance(10)
    assert.same({ "a1", "a2", "b3", "a5" }, runs)
  end)

  it("runs one piece at a time", function()
    local results = {}
    hand_in(results, "a", 1)
    hand_in(results, "b", 2)
    testing.clock():advance(1.05)
    assert.same({ "a1" }, runs)
    testing.clock():advance(0.1)
    assert.same({ "a1", "b2" }, runs)
  end)

  it("gathers more before it goes on, but does not keep a single piece waiting", function()
    local results = {}
    hand_in(results, "a", 1)
    hand_in(results, "a", 2)
    testing.clock():advance(1.05)
    hand_in(results, "a", 3)
    testing.clock():advance(2)
    assert.same({ "a1", "a3" }, runs)
    hand_in(results, "a", 4)
    assert.same({ "a1", "a3", "a4" }, runs)
  end)

  it("goes on after work that threw", function()
    local failing = latest.new(function(_, value)
      sluice.sleep(1)
      assert(value ~= "bad", "broken")
      return value
    end, with)
    local results = {}
    for _, kind in ipairs { "a", "b" } do
      sluice.spawn(function()
        results[kind] = { failing:run(kind, kind == "a" and "bad" or "good") }
      end)
    end
    testing.clock():advance(3)
    assert.is_nil(results.a[1])
    assert.matches("broken", results.a[2])
    assert.same({ "good" }, results.b)
  end)

  it("runs a storm of a thousand in a few runs", function()
    local results = {}
    for value = 1, 1000 do
      hand_in(results, "a", value)
    end
    testing.clock():advance(10)
    assert.equal(2, #runs)
    assert.equal("a1000", runs[2])
    assert.equal(1000, #results)
  end)

  it("keeps no memory of what it did", function()
    local seen = setmetatable({}, { __mode = "v" })
    local line = latest.new(function() sluice.sleep(1) end, with)
    for i = 1, 10 do
      seen[i] = {}
      sluice.spawn(function() line:run("kind" .. i, seen[i]) end)
    end
    testing.clock():advance(20)
    collectgarbage()
    collectgarbage()
    for i = 1, 9 do -- the last one is the end of the line
      assert.is_nil(seen[i])
    end
  end)
end)
