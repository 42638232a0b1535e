--- Makes docs/reference.md and docs/types/sluice.lua from lua/sluice/api.lua.
--
--   luajit docs/generate.lua        writes both
--
-- spec/unit/api_spec.lua loads this file as a module and fails when a generated file is stale.

local generate = {}

local function add(out, fmt, ...)
  out[#out + 1] = select("#", ...) > 0 and fmt:format(...) or fmt
end

local function class_of(api, row)
  local prefix = row.name:match("^(%w+):")
  for _, class in ipairs(api.classes) do
    if prefix and class.prefix == prefix then
      return class
    end
  end
end

--- Public rows only, by the heading that they stand under, in the order of the table.
local function sections(api)
  local list, by_title = {}, {}
  for _, row in ipairs(api.functions) do
    local class = class_of(api, row)
    local title = class and class.name or row.name:match("^sluice%.%w+%.") or "sluice."
    if not row.internal then
      if not by_title[title] then
        by_title[title] = { title = title, class = class, rows = {} }
        list[#list + 1] = by_title[title]
      end
      table.insert(by_title[title].rows, row)
    end
  end
  return list
end

-- The manual.

local function arguments(row)
  local names = {}
  for _, arg in ipairs(row.args or {}) do
    names[#names + 1] = arg[1]:match("%?$") and ("[%s]"):format(arg[1]:sub(1, -2)) or arg[1]
  end
  return table.concat(names, ", ")
end

local function escape(text)
  return (text:gsub("|", "\\|"))
end

local function typed(row)
  local lines = {}
  for _, arg in ipairs(row.args or {}) do
    lines[#lines + 1] = ("- `%s`: `%s`%s"):format(arg[1]:gsub("%?$", ""), arg[2],
      arg[3] and ", " .. arg[3] or arg[1]:match("%?$") and ", optional" or "")
  end
  for i, result in ipairs(row.returns or {}) do
    lines[#lines + 1] = ("- %s `%s`%s"):format(i == 1 and "returns" or "and", result[1],
      result[2] and ": " .. result[2] or "")
  end
  return lines
end

local function notes(row)
  local list = {}
  if row.waits then
    list[#list + 1] = "waits"
  end
  if row.control then
    list[#list + 1] = "control thread only"
  end
  if row.where then
    list[#list + 1] = "only in " .. table.concat(row.where, ", ")
  end
  return #list > 0 and ("*%s.* "):format(table.concat(list, "; ")) or ""
end

local function describe_row(out, row)
  if row.value then
    add(out, "#### `%s`", row.name)
    add(out, "")
    add(out, "`%s`. %s", row.type, row.doc)
  else
    add(out, "#### `%s(%s)`", row.name, arguments(row))
    add(out, "")
    add(out, "%s%s", notes(row), row.doc)
  end
  add(out, "")
  local lines = typed(row)
  for _, line in ipairs(lines) do
    add(out, "%s", line)
  end
  if #lines > 0 then
    add(out, "")
  end
end

local function describe_keys(out, api)
  add(out, "| key | type | may return | |")
  add(out, "|---|---|---|---|")
  for _, key in ipairs(api.keys) do
    local name = key.name
    if key.args then
      name = ("%s(%s)"):format(name, arguments(key))
    end
    add(out, "| `%s` | %s | %s | %s |", name, key.type, key.returns or "", escape(key.doc))
  end
  add(out, "")
end

local function describe_contexts(out, api)
  add(out, "| context | what runs | may wait |")
  add(out, "|---|---|---|")
  for _, context in ipairs(api.contexts) do
    add(out, "| `%s` | %s | %s |", context.name, context.doc, context.waits and "yes" or "no")
  end
  add(out, "")
end

local function describe_tables(out, api)
  for _, class in ipairs(api.classes) do
    if class.fields and class.name ~= "sluice.Verb" then
      add(out, "### %s", class.name)
      add(out, "")
      add(out, "%s", class.doc)
      add(out, "")
      for _, field in ipairs(class.fields) do
        add(out, "- `%s`: `%s`%s", field[1]:gsub("%?$", ""), field[2],
          field[3] and ", " .. field[3] or "")
      end
      add(out, "")
    end
  end
end

local intro = [[
# Reference of the script API

This file is made from `lua/sluice/api.lua` by `luajit docs/generate.lua`; change it there.

A script is a Lua file that returns a table of functions. `local sluice = require "sluice"` is the
library. Misuse throws; what the world outside does wrong comes back as `nil, err`, where `err` is a
phrase in lower case. Seconds are floats, sizes are bytes, an unknown option is an error.

## What a script may use

Scripts run in a sandbox: Lua's own functions without `io`, `debug`, `ffi`, `jit`, `getfenv`,
`setfenv`, `module`, `dofile`, `loadfile`, `newproxy` and `string.dump`, and of `os` only `time`,
`date`, `clock`, `difftime` and `getenv`. The `grants` key opens `io`, `os`, `ffi` and `debug`.
`load` and `loadstring` take text, not bytecode. Assigning to a global that does not exist throws.
`require` finds the modules of sluice and files beside the script. `print` writes to the log.

- **CPU.** A hook may run for `budget_ms` at a stretch (50 ms), a task in the control thread for
  10 s. After that it is stopped, whatever `pcall`, coroutines and error handlers try. Code that
  uses 2 s more all the same is stuck in C or in a compiled loop: the runtime then ends with a
  traceback in the log and is started again.
- **Memory.** Past `memory_mb` allocations fail with "not enough memory".
- **Patterns.** `string.find`, `match`, `gmatch` and `gsub` give up with "pattern too complex" after
  a million steps, and a hundred more for each byte of the subject.
- **JIT.** Scripts are interpreted, since the budget cannot stop compiled loops; `jit = true`
  changes that. The modules of sluice are compiled.

## Handles

`conn`, `hello`, `req` and `res` stand for objects of the data plane. They can be kept, compared and
used as keys of tables, but a method of one whose object has ended throws. Values that a script sets
in headers may not hold line breaks or control characters, and headers that frame a message
(`content-length`, `transfer-encoding`, `connection`, …) are set by sluice itself.
]]

--- The text of docs/reference.md.
function generate.reference(api)
  local out = { (intro:gsub("\n$", "")), "" }
  add(out, "## The script table")
  add(out, "")
  describe_keys(out, api)
  add(out, "## Contexts")
  add(out, "")
  add(out, "Each call of script code has a context. A function that cannot be called in one throws "
    .. "and says where it can.")
  add(out, "")
  describe_contexts(out, api)
  add(out, "## Functions")
  add(out, "")
  for _, section in ipairs(sections(api)) do
    add(out, "### %s", (section.title:gsub("%.$", "")))
    add(out, "")
    if section.class then
      add(out, "%s%s", section.class.doc, section.class.parent
        and (" Has the methods of %s, too."):format(section.class.parent) or "")
      add(out, "")
    end
    for _, row in ipairs(section.rows) do
      describe_row(out, row)
    end
  end
  add(out, "## Tables")
  add(out, "")
  describe_tables(out, api)
  return (table.concat(out, "\n"):gsub("\n+$", "\n"))
end

-- The types for editors (LuaLS).

local function type_params(out, row)
  for _, arg in ipairs(row.args or {}) do
    add(out, "---@param %s %s%s", arg[1], arg[2], arg[3] and " # " .. arg[3] or "")
  end
  for _, result in ipairs(row.returns or {}) do
    add(out, "---@return %s%s", result[1], result[2] and " # " .. result[2] or "")
  end
end

local function plain_names(row)
  local names = {}
  for _, arg in ipairs(row.args or {}) do
    names[#names + 1] = (arg[1]:gsub("%?$", ""))
  end
  return table.concat(names, ", ")
end

local function declare_class(out, class)
  add(out, "---%s", class.doc)
  add(out, "---@class %s%s", class.name, class.parent and ": " .. class.parent or "")
  for _, field in ipairs(class.fields or {}) do
    add(out, "---@field %s %s%s", field[1], field[2], field[3] and " # " .. field[3] or "")
  end
  if class.prefix then
    add(out, "local %s = {}", class.prefix)
  end
  add(out, "")
end

local function declare_classes(out, api)
  for _, class in ipairs(api.classes) do
    if not class.internal then
      declare_class(out, class)
    end
  end
end

local function declare_policy(out, api)
  add(out, "---What a script returns.")
  add(out, "---@class sluice.Policy")
  for _, key in ipairs(api.keys) do
    local what = key.type
    if key.type == "function" then
      local args = {}
      for _, arg in ipairs(key.args) do
        args[#args + 1] = ("%s: %s"):format(arg[1], arg[2])
      end
      what = ("fun(%s)%s"):format(table.concat(args, ", "), key.returns and ": sluice.Verb?" or "")
    end
    add(out, "---@field %s? %s # %s", key.name, what, key.doc)
  end
  add(out, "")
end

local function declare_row(out, row, declared)
  local holder = row.name:match("^(sluice%.%w+)%.")
  if holder and not declared[holder] then
    declared[holder] = true
    add(out, "%s = {}", holder)
    add(out, "")
  end
  add(out, "---%s", row.doc)
  if row.value then
    add(out, "---@type %s", row.type)
    add(out, "%s = nil", row.name)
  else
    type_params(out, row)
    add(out, "function %s(%s) end", row.name, plain_names(row))
  end
  add(out, "")
end

--- The text of docs/types/sluice.lua.
function generate.types(api)
  local out, declared = {}, {}
  add(out, "---@meta sluice")
  add(out, "-- Made from lua/sluice/api.lua by docs/generate.lua.")
  add(out, "-- luacheck: ignore")
  add(out, "")
  add(out, "---@class sluice")
  add(out, "local sluice = {}")
  add(out, "")
  declare_classes(out, api)
  declare_policy(out, api)
  for _, row in ipairs(api.functions) do
    if not row.internal then
      declare_row(out, row, declared)
    end
  end
  add(out, "return sluice")
  return table.concat(out, "\n") .. "\n"
end

generate.files = {
  ["docs/reference.md"] = generate.reference,
  ["docs/types/sluice.lua"] = generate.types,
}

if arg and arg[0] and arg[0]:match("docs/generate%.lua$") and not ... then
  package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
  for path, make in pairs(generate.files) do
    local file = assert(io.open(path, "w"))
    file:write(make(require "sluice.api"))
    file:close()
  end
end

return generate
