--- The ports that a hub assigns to an edge: lists of port numbers as they come in JSON, from an
-- answer to the greeting or a CONFIG. What a hub says is read with tolerance: keys that are not
-- known mean nothing, null means absent, and what is no port is left out and told.

local check = require "sluice.check"
local sluice = require "sluice"

local ports = {}

-- A list with more entries is cut: every port is a socket.
local most = 4096

-- Complaints show so many values.
local most_shown = 10

local max_interval = 86400

local function is_port(value)
  return type(value) == "number" and value % 1 == 0 and value >= 1 and value <= 65535
end

local function note(odd, value)
  if #odd < most_shown then
    table.insert(odd, check.show(value))
  end
end

--- Sorts, and leaves out what stands twice or is no port.
-- @tparam table value
-- @tparam[opt] table odd gets what was left out, as text
-- @treturn table
function ports.clean(value, odd)
  local list, seen = {}, {}
  odd = odd or {}
  for _, port in ipairs(value) do
    if not is_port(port) then
      note(odd, port)
    elseif not seen[port] and #list >= most then
      note(odd, port)
    elseif not seen[port] then
      seen[port] = true
      list[#list + 1] = port
    end
  end
  table.sort(list)
  return list
end

--- All of several lists, sorted.
function ports.union(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, port in ipairs(list) do
      all[#all + 1] = port
    end
  end
  return ports.clean(all)
end

local function given(object, key)
  local value = object[key]
  return value ~= sluice.json.null and value or nil
end

-- What is not a list at all counts as absent: a slip must not close every port.
local function given_list(object, key, odd)
  local value = given(object, key)
  if value ~= nil and type(value) ~= "table" then
    note(odd, value)
    return nil
  end
  return value
end

-- A list that is missing beside the other one is empty; without both of them nothing changes.
local function read_lists(object, before, odd)
  local tcp = given_list(object, "listenPorts", odd)
  local udp = given_list(object, "listenPortsUdp", odd)
  if tcp == nil and udp == nil then
    return before.tcp, before.udp
  end
  return ports.clean(tcp or {}, odd), ports.clean(udp or {}, odd)
end

local function ticket_of(object)
  local own = given(object, "sluice")
  local digits = type(own) == "table" and own.ticket
  if type(digits) ~= "string" or #digits ~= 32 or digits:find("%X") then
    return nil
  end
  return (digits:gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

--- Nothing is assigned.
ports.none = { tcp = {}, udp = {} }

--- Reads a CONFIG, or the line with which a hub answers.
-- @tparam string text
-- @tparam table before what was assigned so far
-- @treturn ?table `tcp`, `udp` (sorted lists), `stun_interval` (seconds, if the hub says it),
-- `ticket` (16 raw bytes, if the hub is a sluice)
-- @treturn string|table what is wrong; or what had to be left out, as texts
function ports.read(text, before)
  local object, err = sluice.json.decode(text)
  if type(object) ~= "table" or not text:find("^%s*{") then
    return nil, "the hub sent something that is not a JSON object: " .. (err or "another value")
  end
  local odd, interval = {}, given(object, "stunIntervalSecs")
  local tcp, udp = read_lists(object, before, odd)
  if type(interval) ~= "number" or interval < 1 or interval > max_interval then
    interval = before.stun_interval
  end
  return { tcp = tcp, udp = udp, stun_interval = interval, ticket = ticket_of(object) }, odd
end

--- Reads the line with which a hub answers. Hubs of the 3.x era assigned nothing, and may say OK.
-- @treturn ?table as of read()
-- @treturn string|table as of read()
function ports.greeting(line)
  if line == "OK" then
    return { tcp = {}, udp = {} }, {}
  end
  return ports.read(line, ports.none)
end

--- Are the same ports assigned?
function ports.is_same(a, b)
  return table.concat(a.tcp, ",") == table.concat(b.tcp, ",")
    and table.concat(a.udp, ",") == table.concat(b.udp, ",")
end

return ports
