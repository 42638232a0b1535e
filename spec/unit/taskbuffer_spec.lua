local sluice = require "sluice"
local taskbuffer = require "sluice.taskbuffer"
local testing = require "sluice.testing"

-- Times in ms; a run takes 100 ms.
describe("taskbuffer", function()
  local runs, answers, buffer

  local function make(changes)
    local with = { spawn = sluice.spawn, sleep = sluice.sleep, now = sluice.now }
    for name, value in pairs(changes or {}) do
      with[name] = value
    end
    return taskbuffer.new(function(argument)
      table.insert(runs, argument)
      sluice.sleep(0.1)
      return #runs, argument
    end, with)
  end

  before_each(function()
    testing.reset()
    runs, answers = {}, {}
    buffer = make()
  end)

  -- Hands in arguments at times; answers[argument] will be { time, run, argument of the run }.
  local function trigger(times)
    for _, pair in ipairs(times) do
      sluice.timer(pair[1] / 1000, function()
        local run, argument = buffer:run(pair[2])
        answers[pair[2]] = { math.floor(sluice.now() * 1000 + 0.5), run, argument }
      end)
    end
    testing.clock():advance(10)
  end

  it("runs a burst as its first and its last", function()
    trigger { { 0, "A" }, { 0, "B" }, { 0, "C" }, { 0, "D" }, { 0, "E" }, { 0, "F" } }
    assert.same({ "A", "F" }, runs)
    assert.same({ 100, 1, "A" }, answers.A)
    for _, name in ipairs { "B", "C", "D", "E", "F" } do
      assert.same({ 200, 2, "F" }, answers[name])
    end
  end)

  it("gives what comes during a run the newest of it", function()
    trigger { { 0, "A" }, { 20, "B" }, { 40, "C" }, { 60, "D" } }
    assert.same({ "A", "D" }, runs)
    assert.same({ A = { 100, 1, "A" }, B = { 200, 2, "D" }, C = { 200, 2, "D" },
      D = { 200, 2, "D" } }, answers)
  end)

  it("owes a third run when the second has begun", function()
    trigger { { 0, "A" }, { 20, "B" }, { 150, "C" }, { 160, "D" } }
    assert.same({ "A", "B", "D" }, runs)
    assert.same({ A = { 100, 1, "A" }, B = { 200, 2, "B" }, C = { 300, 3, "D" },
      D = { 300, 3, "D" } }, answers)
  end)

  it("runs what comes one by one as it comes", function()
    trigger { { 0, "A" }, { 200, "B" }, { 400, "C" } }
    assert.same({ "A", "B", "C" }, runs)
    assert.same({ A = { 100, 1, "A" }, B = { 300, 2, "B" }, C = { 500, 3, "C" } }, answers)
  end)

  it("goes on after a run that failed, and tells those who waited for it", function()
    local failing = taskbuffer.new(function(argument)
      sluice.sleep(0.1)
      assert(argument ~= "bad", "broken")
      return argument
    end, { spawn = sluice.spawn, sleep = sluice.sleep, now = sluice.now })
    local results = {}
    for _, argument in ipairs { "bad", "good" } do
      sluice.spawn(function() results[argument] = { failing:run(argument) } end)
    end
    testing.clock():advance(1)
    assert.is_nil(results.bad[1])
    assert.matches("broken", results.bad[2])
    assert.same({ "good" }, results.good)
  end)

  it("keeps as many runs waiting as it is told to", function()
    buffer = make { buffer_max = 3 }
    trigger { { 0, "A" }, { 10, "B" }, { 20, "C" }, { 30, "D" } }
    assert.same({ "A", "B", "D" }, runs)
    assert.same({ 200, 2, "B" }, answers.B)
    assert.same({ 300, 3, "D" }, answers.C)
  end)

  it("wants room for a run that waits", function()
    assert.has_error(function() make { buffer_max = 1 } end,
      "taskbuffer: buffer_max must be at least 2")
  end)

  it("keeps its distance, but does not delay the first", function()
    buffer = make { interval = 0.5 }
    trigger { { 0, "A" }, { 300, "B" }, { 500, "C" }, { 2000, "D" } }
    assert.same({ "A", "C", "D" }, runs)
    assert.same({ 100, 1, "A" }, answers.A)
    assert.same({ 700, 2, "C" }, answers.B)
    assert.same({ 700, 2, "C" }, answers.C)
    assert.same({ 2100, 3, "D" }, answers.D)
  end)

  it("runs a hundred triggers of one second three times, the last one included", function()
    buffer = make { interval = 0.5 }
    local times = {}
    for i = 1, 100 do
      times[i] = { i * 10, "t" .. i }
    end
    trigger(times)
    assert.is_true(#runs <= 3)
    assert.equal("t100", runs[#runs])
    for i = 1, 100 do
      assert.is_table(answers["t" .. i])
    end
  end)

  it("keeps no argument that was dealt with", function()
    local seen = setmetatable({ {} }, { __mode = "v" })
    sluice.spawn(function() buffer:run(seen[1]) end)
    testing.clock():advance(1)
    runs = {}
    collectgarbage()
    collectgarbage()
    assert.is_nil(seen[1])
  end)
end)
