--- Checks configuration that somebody else wrote, and says exactly what is wrong and where.
--
-- A checker is made for one kind of thing (`check.new("routes[%d]")`) and walks many of them. The
-- first mistake throws a complaint, which check.run() turns into `nil, "routes[3].match.path: …"`;
-- paths are put together only then, so that checking what is right costs no strings. Indexes in
-- paths count from 0, as in the JSON that people send.
--
-- Keys come in four kinds: known, unknown (a complaint with the nearest known one), refused by
-- name (known elsewhere, not supported here) and ignored (left out, with one warning for all).

local field = require "sluice.field"
local ip = require "sluice.ip"
local json = require("sluice").json
local suggest = require "sluice.suggest"

local check = {}
check.__index = check

local complaint = {}

local max_string, max_shown = 4096, 60

--- A key that other implementations know and this one does not support, and what to do instead.
function check.refuse(reason)
  return { refuse = reason }
end

--- A key that has no effect here, and why.
function check.ignore(reason)
  return { ignore = reason }
end

--- @tparam[opt=""] string place where the things are; %d stands for the index given to at()
function check.new(place)
  return setmetatable({
    _place = place or "",
    _index = 0,
    _warnings = {},
    _seen = {},
    _ips = {},
  }, check)
end

--- From now on complaints are about the thing with this index.
function check:at(index)
  self._index = index
end

function check:path(path, i, j)
  local place = self._place:format(self._index)
  path = path and path:format(i, j) or ""
  return place .. (place ~= "" and path ~= "" and path:sub(1, 1) ~= "[" and "." or "") .. path
end

--- Throws the complaint `path: text`; %d in the path stand for i and j.
function check:fail(text, path, i, j)
  local where = self:path(path, i, j)
  error(setmetatable({ text = (where ~= "" and where .. ": " or "") .. text }, complaint), 0)
end

local function settle(ok, ...)
  local err = ...
  if ok then
    return ...
  end
  if getmetatable(err) == complaint then
    return nil, err.text
  end
  error(err, 0)
end

--- Calls fn; a complaint thrown in it becomes nil and its text.
function check.run(fn, ...)
  return settle(pcall(fn, ...))
end

--- Notes something that is not wrong enough to refuse. One note per path, with a count.
function check:warn(text, path, i, j)
  local note = self._seen[path]
  if note then
    note.more = note.more + 1
    return
  end
  note = { text = self:path(path, i, j) .. ": " .. text, more = 0 }
  self._seen[path] = note
  table.insert(self._warnings, note)
end

--- The notes as sentences.
function check:warnings()
  local sentences = {}
  for i, note in ipairs(self._warnings) do
    sentences[i] = note.more == 0 and note.text
      or ("%s (and %d more like it)"):format(note.text, note.more)
  end
  return sentences
end

local function escape(text)
  return (text:gsub("[%c\127\"\\]", function(c)
    return ("\\x%02x"):format(c:byte())
  end))
end

--- A value as it may stand in a sentence: short, on one line.
function check.show(value)
  if value == json.null then
    return "null"
  end
  if type(value) == "string" then
    local cut = #value > max_shown and value:sub(1, max_shown) .. "…" or value
    return '"' .. escape(cut) .. '"'
  end
  if type(value) == "table" then
    return value[1] ~= nil and "an array" or "an object"
  end
  return type(value) == "number" and ("%.14g"):format(value) or tostring(value)
end

local show = check.show

-- A key that is refused may still be there when it is switched off.
local function is_off(value)
  return value == false or (type(value) == "table" and value.enabled == false)
end

local function join(path, key)
  key = escape(tostring(key):sub(1, max_shown)):gsub("%%", "%%%%")
  return (path and path ~= "") and path .. "." .. key or key
end

-- Says what is wrong with a key that is not simply known, or leaves it out.
local function odd_key(self, key, value, keys, path, i, j)
  local known = keys[key]
  if known == nil then
    local text = "unknown key" .. suggest.hint(key, keys)
    self:fail(text, join(path, key), i, j)
  elseif known.refuse and not is_off(value) then
    self:fail(known.refuse, join(path, key), i, j)
  elseif known.ignore then
    self:warn("ignored: " .. known.ignore, join(path, key), i, j)
  end
end

local function without_odd(object, keys)
  local copy = {}
  for key, value in pairs(object) do
    if keys[key] == true and value ~= json.null then
      copy[key] = value
    end
  end
  return copy
end

--- An object with known keys. A null counts as absent.
-- @treturn table the object, or a copy without what is ignored
function check:object(value, keys, path, i, j)
  if type(value) ~= "table" or value[1] ~= nil then
    local text = value == nil and "is missing" or "must be an object, not " .. show(value)
    self:fail(text, path, i, j)
  end
  local is_odd = false
  for key, member in pairs(value) do
    if member == json.null and keys[key] ~= nil then
      is_odd = true
    elseif keys[key] ~= true then
      is_odd = true
      odd_key(self, key, member, keys, path, i, j)
    end
  end
  return is_odd and without_odd(value, keys) or value
end

--- Leaves out the keys that are not known, with a warning for each.
function check:known_only(value, keys)
  local rest = {}
  for key, member in pairs(value) do
    if keys[key] == nil then
      self:warn("ignored: unknown key" .. suggest.hint(key, keys), join(nil, key))
    else
      rest[key] = member
    end
  end
  return rest
end

--- An array; `of` names its elements in the complaint ("routes").
function check:array(value, of, path, i, j)
  if type(value) ~= "table" or (value[1] == nil and next(value) ~= nil) then
    self:fail(("must be an array of %s, not %s"):format(of, show(value)), path, i, j)
  end
  return value
end

--- A string that is not empty, not absurdly long, and holds no control characters.
function check:string(value, path, i, j)
  if type(value) ~= "string" then
    self:fail(value == nil and "is missing" or "must be a string, not " .. show(value), path, i, j)
  end
  if value == "" then
    self:fail("is empty", path, i, j)
  end
  if #value > max_string then
    self:fail(("is longer than %d bytes"):format(max_string), path, i, j)
  end
  if value:find("[%c\127]") then
    self:fail("holds a control character", path, i, j)
  end
  return value
end

function check:boolean(value, otherwise, path, i, j)
  if value == nil then
    return otherwise
  end
  if type(value) ~= "boolean" then
    self:fail("must be true or false, not " .. show(value), path, i, j)
  end
  return value
end

--- A whole number; `what` says what it should have been ("a priority").
function check:integer(value, least, most, what, path, i, j)
  if value == nil then
    self:fail("is missing", path, i, j)
  end
  if type(value) ~= "number" or value % 1 ~= 0 or value < least or value > most then
    self:fail(("%s is not %s (%.0f to %.0f)"):format(show(value), what, least, most), path, i, j)
  end
  return value
end

function check:port(value, path, i, j)
  return self:integer(value, 1, 65535, "a port", path, i, j)
end

--- Milliseconds, up to about 24 days: what fits the timers of most systems.
function check:milliseconds(value, path, i, j)
  return self:integer(value, 1, 2147483647, "a time in milliseconds", path, i, j)
end

local function names_of(set)
  local names = {}
  for name in pairs(set) do
    table.insert(names, show(name))
  end
  table.sort(names)
  return table.concat(names, ", ")
end

--- One of the keys of `set`; the value found there. A set may hold refusals, too.
function check:one_of(value, set, path, i, j)
  local found = type(value) == "string" and set[value] or nil
  if found == nil then
    self:fail(("%s is not one of %s"):format(show(value), names_of(set)), path, i, j)
  end
  if type(found) == "table" and found.refuse then
    self:fail(("%s: %s"):format(show(value), found.refuse), path, i, j)
  end
  return found
end

--- A map of header names to values, as a list of {name, value} sorted by name: the same route must
-- always look the same. `convert` makes what goes into the list of a value, or returns nil when it
-- is none, which `expected` describes.
function check:headers(value, convert, expected, path)
  if type(value) ~= "table" or value[1] ~= nil then
    self:fail("must be an object, not " .. show(value), path)
  end
  local list = {}
  for name, given in pairs(value) do
    if not field.is_name(name) then
      self:fail(show(name) .. " is not a header name", path)
    end
    local converted = convert(given)
    if converted == nil then
      self:fail(("must be %s, not %s"):format(expected, show(given)), join(path, name))
    end
    list[#list + 1] = { name, converted }
  end
  table.sort(list, function(a, b)
    return a[1] < b[1]
  end)
  return list
end

--- An array of IP patterns (see sluice.ip); `path` must end in [%d].
function check:ip_patterns(value, path)
  self:array(value, "IP patterns", (path:gsub("%[%%d%]$", "")))
  for i = 1, #value do
    local pattern = value[i]
    if not self._ips[pattern] then
      local ok, err = ip.check(pattern)
      if not ok then
        self:fail(type(pattern) == "string" and show(pattern) .. " " .. err
          or "must be a string, not " .. show(pattern), path, i - 1)
      end
      self._ips[pattern] = true -- routes tend to repeat them
    end
  end
  return value
end

return check
