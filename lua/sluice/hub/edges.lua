--- The edges that a hub knows: a JSON array of `id`, `secret`, `listenPorts`, `listenPortsUdp`,
-- `stunIntervalSecs`, checked with paths in the complaints (`edges[3].listenPorts[0]: …`).

local check = require "sluice.check"
local ports = require "sluice.tunnel.ports"
local sluice = require "sluice"

local edges = {}

-- A greeting is a line of at most 4096 bytes, in which both stand.
local max_id, max_secret = 255, 1024
local max_ports = 4096

local default_interval = 300

local keys = {
  id = true, secret = true, listenPorts = true, listenPortsUdp = true, stunIntervalSecs = true,
}

local function short(c, value, most, path)
  if #c:string(value, path) > most then
    c:fail(("is longer than %d bytes"):format(most), path)
  end
  return value
end

local function id_of(c, value)
  if short(c, value, max_id, "id"):find(" ", 1, true) then
    c:fail("must not contain a space", "id")
  end
  return value
end

local function port_list(c, value, path)
  if value == nil then
    return {}
  end
  if #c:array(value, "ports", path) > max_ports then
    c:fail(("has more than %d ports"):format(max_ports), path)
  end
  for i, port in ipairs(value) do
    c:port(port, path .. "[%d]", i - 1)
  end
  return ports.clean(value)
end

-- The secret may be left out by who got the list from us, where it is hidden.
local function compile_edge(c, value, known)
  local given = c:object(value, keys)
  local id = id_of(c, given.id)
  local secret = given.secret or known[id] and known[id].secret
  return {
    id = id,
    secret = short(c, secret, max_secret, "secret"),
    listenPorts = port_list(c, given.listenPorts, "listenPorts"),
    listenPortsUdp = port_list(c, given.listenPortsUdp, "listenPortsUdp"),
    stunIntervalSecs = given.stunIntervalSecs ~= nil
      and c:integer(given.stunIntervalSecs, 1, 86400, "a number of seconds", "stunIntervalSecs")
      or default_interval,
  }
end

local function compile(value, known)
  check.new():array(value, "edges", "edges")
  local c, list, seen = check.new("edges[%d]"), {}, {}
  for i, entry in ipairs(value) do
    c:at(i - 1)
    list[i] = compile_edge(c, entry, known)
    if seen[list[i].id] then
      c:fail(("is also that of edges[%d]"):format(seen[list[i].id]), "id")
    end
    seen[list[i].id] = i - 1
  end
  return list
end

--- @tparam table list as somebody wrote it
-- @tparam[opt] table before the list that runs: an entry without a secret keeps that of its id
-- @treturn ?table the list, complete
-- @treturn ?string what is wrong
function edges.compile(list, before)
  local known = {}
  for _, entry in ipairs(before or {}) do
    known[entry.id] = entry
  end
  return check.run(compile, list, known)
end

--- Reads the text of a file: an array, or an object with the array in `edges`.
-- @treturn ?table the list
-- @treturn ?string what is wrong
function edges.parse(text)
  local value, err = sluice.json.decode(text)
  if value == nil then
    return nil, "not JSON: " .. err
  end
  if type(value) == "table" and value ~= sluice.json.null and value.edges ~= nil then
    value = value.edges
  end
  return edges.compile(value)
end

local function list_text(list)
  return "[" .. table.concat(list, ",") .. "]"
end

-- Always the same text for the same edge: a hub tells its edges when it has changed.
local function ports_text(entry)
  return ('"listenPorts":%s,"listenPortsUdp":%s,"stunIntervalSecs":%d'):format(
    list_text(entry.listenPorts), list_text(entry.listenPortsUdp), entry.stunIntervalSecs)
end

--- The text of a file, one line for each edge.
function edges.text(list)
  local lines, quoted = {}, sluice.json.encode
  for i, entry in ipairs(list) do
    lines[i] = ('  {"id":%s,"secret":%s,%s}'):format(quoted(entry.id), quoted(entry.secret),
      ports_text(entry))
  end
  return #lines > 0 and "[\n" .. table.concat(lines, ",\n") .. "\n]\n" or "[]\n"
end

--- The list as hub:edges() of the tunnel takes it.
function edges.specs(list)
  local specs = {}
  for i, entry in ipairs(list) do
    specs[i] = { id = entry.id, secret = entry.secret, config = "{" .. ports_text(entry) .. "}" }
  end
  return specs
end

--- All ports that are assigned to any edge.
-- @treturn table sorted, TCP
-- @treturn table sorted, UDP
function edges.ports(list)
  local function all(name)
    local seen, union = {}, {}
    for _, entry in ipairs(list) do
      for _, port in ipairs(entry[name]) do
        if not seen[port] then
          seen[port] = true
          union[#union + 1] = port
        end
      end
    end
    table.sort(union)
    return union
  end
  return all "listenPorts", all "listenPortsUdp"
end

return edges
