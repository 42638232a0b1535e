--- The local server that a client stands for: what a document asks for, as a request to it.

local field = require "sluice.field"
local headers = require "sluice.brickchain.headers"

local target = {}

local function percent(c)
  return ("%%%02X"):format(c:byte())
end

-- A decoded path as one that can be sent. What was an escaped slash is one no more: originals do
-- not say.
local function encoded(path)
  return (path:gsub("[^%w%-._~!$&'()*+,;=:@/]", percent))
end

-- "..", plain or with escapes, would lead out of the folder that is served.
local function climbs(path)
  for part in path:gmatch("[^/]+") do
    local plain = part:gsub("%%2[eE]", ".")
    if plain == ".." then
      return true
    end
  end
  return false
end

--- The URL for a document.
-- @tparam table base of the settings: scheme, authority, path
-- @tparam string scheme http or https, ws or wss
-- @tparam table doc url, query, and sluice.path from a sluice
-- @treturn ?string
-- @treturn ?string what is wrong
function target.url(base, scheme, doc)
  local path = doc.sluice and doc.sluice.path
  if path == nil and type(doc.url) == "string" then
    path = encoded(doc.url)
  end
  if type(path) ~= "string" or path:sub(1, 1) ~= "/" or path:find("[%c%s#?\128-\255]") then
    return nil, "the path is not one"
  elseif base.path ~= "" and climbs(path) then
    return nil, "the path leads out of what is served here"
  end
  local query = doc.query
  if query ~= nil and query ~= "" then
    if query:find("[%c%s#\128-\255]") then
      return nil, "the query is not one"
    end
    path = path .. "?" .. query
  end
  return ("%s://%s%s%s"):format(scheme, base.authority, base.path, path)
end

-- Nothing that a server says may break the message for the local server.
local function may_be_sent(name, value)
  return field.is_name(name) and field.is_value(value)
end

-- From a sluice all fields in order, from an original a table.
local function list_of(doc)
  local list = {}
  local pairs_of_sluice = doc.sluice and doc.sluice.pairs
  if type(pairs_of_sluice) == "table" then
    for _, pair in ipairs(pairs_of_sluice) do
      if type(pair) == "table" and #pair == 2 and may_be_sent(pair[1], pair[2]) then
        list[#list + 1] = pair
      end
    end
    return list
  end
  for name, value in pairs(doc.headers or {}) do
    if may_be_sent(name, value) then
      list[#list + 1] = { name, value }
    end
  end
  return list
end

--- The fields for the local server.
-- @tparam table doc
-- @tparam ?string host what the server is called; nil: as in its URL
-- @treturn table list of { name, value }, but the Content-Length
-- @treturn ?string that
function target.headers(doc, host)
  local list, length = {}, nil
  for _, pair in ipairs(headers.of_target(list_of(doc))) do
    if pair[1] == "Content-Length" then
      length = pair[2]
    else
      list[#list + 1] = pair
    end
  end
  list[#list + 1] = host and { "Host", host } or nil
  return list, length
end

return target
