--- Header fields on their way between visitors and documents: names as originals expect them, what
-- concerns one connection only left out, and the visitor's address added.

local field = require "sluice.field"

local headers = {}

-- Names are looked up in their canonical form, which costs no new string for each field.

-- Of one connection (RFC 9110, 7.6.1), or answered by us.
local of_connection = {
  Connection = true, ["Keep-Alive"] = true, ["Proxy-Connection"] = true, Te = true,
  Trailer = true, ["Transfer-Encoding"] = true, Upgrade = true, ["Http2-Settings"] = true,
  Expect = true, Host = true,
}

local of_websocket = {
  ["Sec-Websocket-Key"] = true, ["Sec-Websocket-Version"] = true,
  ["Sec-Websocket-Extensions"] = true, ["Sec-Websocket-Accept"] = true,
}

-- Who claims to have been on the way; true only when it comes from a proxy that is trusted.
local of_proxies = {
  ["X-Forwarded-For"] = true, ["X-Forwarded-Proto"] = true, ["X-Forwarded-Host"] = true,
  ["X-Forwarded-Port"] = true, ["X-Real-Ip"] = true, Forwarded = true,
}

local canonical_names, n_canonical = {}, 0
local most_canonical = 1000 -- made-up names must not fill the memory

--- "content-type" as "Content-Type".
function headers.canonical(name)
  local known = canonical_names[name]
  if known then
    return known
  end
  local result = name:lower():gsub("^%l", string.upper):gsub("%-%l", string.upper)
  if n_canonical < most_canonical then
    n_canonical = n_canonical + 1
    canonical_names[name] = result
  end
  return result
end

local canonical = headers.canonical

-- The field itself when its name is canonical already, as it mostly is.
local function with_name(pair, name)
  return pair[1] == name and pair or { name, pair[2] }
end

-- Names that a Connection field declares to be of this connection.
local function declared(list)
  local names
  for i = 1, #list do
    if canonical(list[i][1]) == "Connection" then
      for name in list[i][2]:gmatch("[^%s,]+") do
        names = names or {}
        names[canonical(name)] = true
      end
    end
  end
  return names
end

--- The fields of a request for a client, as a list of { canonical name, value }.
-- @tparam table list of req:headers()
-- @tparam table about ip, scheme and host of the visitor; `is_trusted`: he is a proxy whose
-- X-Forwarded-* count; `is_websocket`
function headers.of_request(list, about)
  local out, n, chain, has = {}, 0, nil, {}
  local dropped = declared(list)
  for i = 1, #list do
    local name, value = canonical(list[i][1]), list[i][2]
    if name == "X-Forwarded-For" then
      chain = about.is_trusted and (chain and chain .. ", " .. value or value) or nil
    elseif not of_connection[name] and not (dropped and dropped[name])
      and (about.is_trusted or not of_proxies[name])
      and not (about.is_websocket and of_websocket[name]) then
      n = n + 1
      out[n] = with_name(list[i], name)
      has[name] = of_proxies[name]
    end
  end
  out[n + 1] = { "X-Forwarded-For", chain and chain .. ", " .. about.ip or about.ip }
  if not has["X-Forwarded-Proto"] then
    out[#out + 1] = { "X-Forwarded-Proto", about.scheme }
  end
  if not has["X-Forwarded-Host"] and about.host then
    out[#out + 1] = { "X-Forwarded-Host", about.host }
  end
  return out
end

--- The first value of each name, as originals have it.
function headers.first_values(list)
  local map = {}
  for i = 1, #list do
    local name = list[i][1]
    if map[name] == nil then
      map[name] = list[i][2]
    end
  end
  return map
end

-- Nothing that a client says may break the message of the visitor. The length is apart: whoever
-- sends the body knows it, but where there is none, as for HEAD.
local function add(out, name, value)
  if type(name) ~= "string" or type(value) ~= "string" or not field.is_name(name) then
    return
  end
  local known = canonical(name)
  if known == "Content-Length" then
    out.length = value:find("^%d+$") and #value <= 15 and value or nil
    return
  elseif of_connection[known] or of_websocket[known] then
    return
  end
  if not field.is_value(value) then
    value = value:gsub("[%z\1-\31\127]", " ")
    if not field.is_value(value) then
      return -- too long
    end
  end
  out[#out + 1] = { name, value }
end

--- The fields of an answer for the visitor, as a list of { name, value }; its `length` is what the
-- client says of the length of the body.
-- @tparam table doc of messages: `sluice.pairs`, or else `headers`
function headers.of_response(doc)
  local out = {}
  local list = doc.sluice and doc.sluice.pairs
  if type(list) == "table" then
    for i = 1, #list do
      local pair = list[i]
      if type(pair) == "table" then
        add(out, pair[1], pair[2])
      end
    end
    return out
  end
  local has_type = false
  for name, value in pairs(doc.headers or {}) do
    add(out, name, value)
    has_type = has_type or name:lower() == "content-type"
  end
  if not has_type and doc.contentType and doc.contentType ~= "" then
    add(out, "Content-Type", doc.contentType)
  end
  return out
end

--- The fields of a target's answer for a server, as a list of { canonical name, value }.
-- @tparam table list of { name, value }
function headers.of_target(list)
  local out, n = {}, 0
  local dropped = declared(list)
  for i = 1, #list do
    local name = canonical(list[i][1])
    if not of_connection[name] and not (dropped and dropped[name]) then
      n = n + 1
      out[n] = with_name(list[i], name)
    end
  end
  return out
end

return headers
