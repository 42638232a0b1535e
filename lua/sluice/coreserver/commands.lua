--- The commands of a core-server: what a datagram or a line says. Pure.
--
-- The word is what stands before the first space, exactly. `add` and `shutdown` are read as the
-- original reads them, quirks included; `remove`, `list` and `status` are ours. What the original
-- took and could not work, like port 0, is refused.
--
-- | text | is |
-- |---|---|
-- | `add DOMAIN PORT…` | blanks and tabs between; what follows the digits of the port is ignored |
-- | `shutdown`, `shutdown …` | |
-- | `remove DOMAIN`, `list`, `status` | line ends at the end are ignored |

local names = require "sluice.coreserver.names"

local commands = {}

--- Bytes that a command may have.
commands.max = 1024

-- Blanks as Go's Sscanf knows them, but for those outside of ASCII, which no name can have.
local blank, not_blank = "[ \t\v\f\r]", "[^ \t\v\f\r\n]"

-- The first word of a text, and the rest.
local function take_word(text)
  return text:match("^" .. blank .. "*(" .. not_blank .. "+)(.*)$")
end

-- Digits as far as they go: `12ab` is 12 and `0x1f90` is 0.
local function take_port(text)
  local between, rest = text:match("^(%s*)(.*)$")
  if rest == "" then
    return nil, "the port is missing"
  elseif between:find("\n", 1, true) then
    return nil, "domain and port must stand on one line"
  end
  local digits = rest:match("^[+-]?%d+")
  if not digits then
    return nil, "the port is not a number"
  end
  return names.port(tonumber((digits:gsub("^+", ""))))
end

local readers = {}

function readers.add(text)
  local word, rest = take_word(text)
  if not word then
    return nil, "domain and port are missing"
  end
  local domain, err = names.domain(word)
  if not domain then
    return nil, err
  end
  local port
  port, err = take_port(rest)
  return port and { word = "add", domain = domain, port = port }, err
end

function readers.remove(text)
  local word, rest = take_word(text)
  if not word then
    return nil, "the domain is missing"
  elseif rest:find("%S") then
    return nil, "there is more than a domain"
  end
  local domain, err = names.domain(word)
  return domain and { word = "remove", domain = domain }, err
end

function readers.shutdown()
  return { word = "shutdown" }
end

function readers.list()
  return { word = "list" }
end

function readers.status()
  return { word = "status" }
end

local legacy = { add = true, shutdown = true }

--- Reads a command.
-- @tparam string text
-- @treturn ?table `word`, and what it is about: `domain`, `port`
-- @treturn ?string what is wrong
-- @treturn ?string the word of a command that is known but wrong
function commands.read(text)
  if #text > commands.max then
    return nil, ("longer than %d bytes"):format(commands.max)
  end
  local word, rest = text:match("^([^ ]*) ?(.*)$")
  if not legacy[word] then
    word = word:gsub("[\r\n]+$", "")
  end
  if not readers[word] or (legacy[word] and text:find("^" .. word .. "[^ ]")) then
    return nil, "unknown command"
  end
  local command, err = readers[word](rest)
  return command, err, not command and word or nil
end

--- Does a sender by datagram get an answer? Those of the original wait for none.
function commands.is_answered(word)
  return word ~= nil and not legacy[word]
end

return commands
