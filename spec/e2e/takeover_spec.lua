-- One sluice takes over from another: nobody who asks notices.

local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"

local path, port, running

before_each(function()
  path, port, running = os.tmpname(), http.free_port(), {}
  os.remove(path)
end)

after_each(function()
  for _, program in ipairs(running) do
    if not program.code then
      program:stop()
    end
  end
  os.remove(path)
end)

local function start(name, changes)
  local given = { name = name, path = path, port = port }
  for key, value in pairs(changes or {}) do
    given[key] = value
  end
  local argv = { sluice.binary, "run", "spec/fixtures/takeover.lua", "--workers",
    tostring(given.workers or 2), dkjson.encode(given) }
  local program = process.start(argv)
  table.insert(running, program)
  return program
end

local function in_charge(name, changes)
  local program = start(name, changes)
  program:wait_for("stderr", '"msg":"in charge"', sluice.patience)
  return program
end

local function ends_well(program)
  assert.equal(0, program:wait(sluice.patience))
  assert.is_nil(program:text("stderr"):find("after the drain timeout", 1, true))
end

local function load_with(kept, fresh)
  local client = process.start({ "python3", "spec/support/steady_load.py", tostring(port),
    tostring(kept), tostring(fresh) }, nil, true)
  table.insert(running, client)
  client:wait_for("stdout", "^asking$", sluice.patience)
  return client
end

local function result_of(client)
  client:say("enough")
  return (dkjson.decode(client:wait_for("stdout", "^{.*", sluice.patience)))
end

describe("a takeover", function()
  it("fails no request, whatever the number of workers", function()
    local before = in_charge("g0", { workers = 1 })
    local client = load_with(16, 8)
    for i, workers in ipairs { 2, 1, 3, 1, 1 } do
      local after = in_charge("g" .. i, { workers = workers })
      ends_well(before)
      before = after
    end
    local result = result_of(client)
    assert.same({}, result.failures)
    for _, kind in ipairs { "kept", "fresh" } do
      for i = 0, 5 do
        assert.is_true((result[kind]["g" .. i] or 0) > 0, kind .. " never met g" .. i)
      end
    end
    assert.equal(0, before:stop())
  end)
end)
