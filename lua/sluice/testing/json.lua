--- The JSON of the fake core: dkjson reads (busted brings it along), the writer is our own, because
-- here an empty table is an object unless it was marked as an array. Keys are sorted, so that specs
-- can compare text.

local dkjson = require "dkjson"

local json = { null = dkjson.null }

local array_mark = { __jsontype = "array" }
local max_depth = 128

--- Marks a table as an array, so that it is written as [] when it is empty.
function json.array(t)
  return setmetatable(t or {}, array_mark)
end

local function is_array(value)
  return #value > 0 or getmetatable(value) == array_mark
end

local write -- forward: arrays and objects hold values

local function write_array(value, depth)
  local parts = {}
  for i = 1, #value do
    parts[i] = write(value[i], depth)
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function write_object(value, depth)
  local keys, parts = {}, {}
  for key in pairs(value) do
    assert(type(key) == "string", "json: a key of an object must be a string")
    table.insert(keys, key)
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    parts[i] = dkjson.quotestring(key) .. ":" .. write(value[key], depth)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function write_number(value)
  assert(value == value and value ~= math.huge and value ~= -math.huge,
    "json: not a number that JSON can say")
  return ("%.14g"):format(value)
end

local writers = {
  string = dkjson.quotestring,
  number = write_number,
  boolean = tostring,
  table = function(value, depth)
    assert(depth < max_depth, "json: nested too deeply")
    return is_array(value) and write_array(value, depth + 1) or write_object(value, depth + 1)
  end,
}

function write(value, depth)
  if value == json.null or value == nil then
    return "null"
  end
  local writer = writers[type(value)]
  if not writer then
    error("json: a " .. type(value) .. " has no JSON form", 0)
  end
  return writer(value, depth)
end

function json.encode(value)
  return write(value, 0)
end

function json.decode(text, from)
  local value, after, err = dkjson.decode(text, from or 1, json.null, nil, array_mark)
  if err then
    return nil, err
  end
  if text:find("%S", after) then
    return nil, "more text after the value at byte " .. after
  end
  return value
end

return json
