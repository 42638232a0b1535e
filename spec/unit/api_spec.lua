local api = require "sluice.api"
local generate = dofile("docs/generate.lua")

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

local rows = {}
for _, row in ipairs(api.functions) do
  rows[row.name] = row
end

local function fields(list)
  local set = {}
  for name in list:gmatch("%S+") do
    set[name] = true
  end
  return set
end

--- Handles of all kinds share one method table.
local function flat(name)
  local kind, method = name:match("^(%w+):(.+)$")
  local is_handle = kind == "conn" or kind == "hello" or kind == "req" or kind == "res"
  return is_handle and "handle:" .. method or name
end

--- Every name that the C sources bind: "sluice.sleep", "timer:cancel", and "handle:ip" for handles.
local function bindings()
  local found = {}
  local list = assert(io.popen("ls src/script/*.c"))
  for path in list:lines() do
    local text = read(path)
    local functions = text:match("sl_bind_functions%(L, functions%)") and "sluice." or nil
    local class = text:match('sl_bind_class%(L, "(%w+)"') or text:match('class_name%[%] = "(%w+)"')
    local methods = class and class .. ":" or text:match("sl_bind_methods") and "handle:" or nil
    for kind, body in text:gmatch("luaL_Reg (%a+)%[%] =%s*{(.-)};") do
      local prefix = kind == "functions" and functions or kind == "methods" and methods
      for name in body:gmatch('{"([%w_.]+)",') do
        found[(prefix or "") .. name] = prefix and path or nil
      end
    end
    for name in text:gmatch('sl_bind_value%(L, "([%w_.]+)"') do
      found["sluice." .. name] = path
    end
  end
  list:close()
  return found
end

describe("the contract table", function()
  it("lists each function once", function()
    local seen = {}
    for _, row in ipairs(api.functions) do
      assert.is_nil(seen[row.name], row.name)
      seen[row.name] = true
    end
  end)

  it("has rows of one form", function()
    local known = fields "name args returns doc waits where control value type internal"
    for _, row in ipairs(api.functions) do
      for field in pairs(row) do
        assert.is_true(known[field], row.name .. "." .. field)
      end
      assert.matches("^[%w_]+[.:][%w_.]+$", row.name)
      assert.matches("[.!?]$", row.doc)
      assert.is_truthy(row.value and row.type or row.args and row.returns, row.name)
    end
  end)

  it("knows the contexts and classes that its rows name", function()
    local contexts, prefixes = {}, { sluice = true }
    for _, context in ipairs(api.contexts) do
      contexts[context.name] = context
    end
    for _, class in ipairs(api.classes) do
      prefixes[class.prefix or ""] = true
    end
    for _, row in ipairs(api.functions) do
      assert.is_true(prefixes[row.name:match("^%w+")], row.name)
      for _, where in ipairs(row.where or {}) do
        assert.is_table(contexts[where], row.name)
      end
    end
  end)

  it("has the contexts of the C side", function()
    local names, waiting = {}, {}
    local header = read("src/script/task.h")
    for id, name in header:gmatch('X%((%u+), "([%w_]+)"%)') do
      names[#names + 1] = name
      local set = header:match("SL_CONTEXTS_WAITING =(.-)}")
      waiting[name] = set:find("SL_CONTEXT_" .. id .. "%f[%W]") ~= nil
    end
    assert.equal(#names, #api.contexts)
    for i, context in ipairs(api.contexts) do
      assert.equal(names[i], context.name)
      assert.equal(waiting[context.name], context.waits == true, context.name)
    end
  end)

  it("lists every binding of the C side", function()
    local listed = {}
    for name in pairs(rows) do
      listed[flat(name)] = true
    end
    local n = 0
    for name, path in pairs(bindings()) do
      assert.is_true(listed[name], ("%s (%s) is not in lua/sluice/api.lua"):format(name, path))
      n = n + 1
    end
    assert.is_true(n > 60, "found only " .. n .. " bindings: has their form changed?")
  end)

  it("lists nothing that is not bound", function()
    local bound, verbs = bindings(), require "sluice.verbs"
    for name in pairs(rows) do
      local verb = verbs[name:match("^sluice%.(%w+)$") or ""]
      assert.is_truthy(bound[flat(name)] or verb, name .. " is listed and not bound")
    end
  end)

  it("agrees with the fake core of the specs", function()
    local sluice = require "sluice"
    for name, row in pairs(rows) do
      if name:match("^sluice%.") and not row.internal then
        local value = sluice
        for part in name:gsub("^sluice%.", ""):gmatch("[^.]+") do
          value = value[part]
        end
        if not row.value then
          local is_callable = type(value) == "function"
            or (getmetatable(value) or {}).__call ~= nil
          assert.is_true(is_callable, name)
        end
      end
    end
  end)
end)

describe("what is made from it", function()
  for path, make in pairs(generate.files) do
    it(path .. " is fresh", function()
      assert.equal(make(api), read(path), path .. " is stale: run luajit docs/generate.lua")
    end)
  end

  it("is valid Lua", function()
    assert.is_function(loadfile("docs/types/sluice.lua"))
  end)
end)
