--- The file in which a core-server remembers its targets, in the original's place and form:
-- one `domain port` per line, in the order in which they were added, no line end at the end.

local names = require "sluice.coreserver.names"
local check = require "sluice.check"

local state = {}

local max_bad = 20 -- bad lines that are named

--- The folder of state file and sockets; nil when nobody says where home is.
-- @tparam function env name to value or nil
function state.folder(env)
  local config = env "XDG_CONFIG_HOME"
  if not config or config == "" then
    local home = env "HOME"
    if not home or home == "" then
      return nil
    end
    config = home .. "/.config"
  end
  return config .. "/core-web-server"
end

-- The original ignores what follows the port.
local function read_line(line)
  local word, digits = line:match("^(%S+)%s+(%d+)")
  if not word then
    return nil, check.show(line) .. " is not a domain and a port"
  end
  local domain, err = names.domain(word)
  if not domain then
    return nil, err
  end
  local port
  port, err = names.port(tonumber(digits))
  return port and { domain = domain, port = port }, err
end

--- Reads the text of a file. Lines that are wrong are left out; of two about a name the first
-- counts.
-- @tparam string text
-- @treturn table list of `domain` and `port`
-- @treturn table what is wrong, as sentences
function state.parse(text)
  local list, bad, taken, n_bad = {}, {}, {}, 0
  for line in text:gmatch("[^\r\n]+") do
    if line:find("%S") then
      local entry, err = read_line(line:match("^%s*(.*)$"))
      if not entry then
        n_bad = n_bad + 1
        bad[n_bad] = n_bad <= max_bad and err or nil
      elseif not taken[entry.domain] then
        taken[entry.domain] = true
        list[#list + 1] = entry
      end
    end
  end
  if n_bad > max_bad then
    table.insert(bad, ("and %d more"):format(n_bad - max_bad))
  end
  return list, bad
end

--- The text of a file.
function state.text(list)
  local lines = {}
  for i, entry in ipairs(list) do
    lines[i] = ("%s %d"):format(entry.domain, entry.port)
  end
  return table.concat(lines, "\n")
end

return state
