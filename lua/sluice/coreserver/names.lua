--- Domain names and ports as they may be registered. Pure.
--
-- A name ends up in routes, in the state file, in certificates and in the names of files, so only
-- letters, digits, hyphens, underscores and dots pass. Names of other alphabets are refused, not
-- translated: whoever registers one writes it in its xn-- form, as clients send it.

local check = require "sluice.check"

local names = {}

local max_name, max_label = 253, 63

local function check_label(label)
  if label == "" then
    return nil, "has an empty part"
  elseif #label > max_label then
    return nil, ("has a part of more than %d characters"):format(max_label)
  elseif label:find("^%-") or label:find("%-$") then
    return nil, "has a part that begins or ends with a hyphen"
  end
  return true
end

-- Nobody but a machine is called by digits: what ends in a number is an address for URL parsers.
local function is_address(name)
  local last = name:match("[^.]*$")
  return name:find(":", 1, true) or name:find("[", 1, true) or last:find("^%d+$")
    or last:find("^0x%x*$")
end

local function problem_of(name)
  if name == "" then
    return "is empty"
  elseif #name > max_name then
    return ("is longer than %d characters"):format(max_name)
  elseif name:find("[\128-\255]") then
    return "is not ASCII: write international names in their xn-- form"
  elseif name:find("*", 1, true) then
    return "is a pattern: register each name"
  elseif is_address(name) then
    return "is an address, not a name"
  elseif name:find("[^a-z0-9_.-]") then
    return "is not a domain name"
  elseif name == "localhost" then
    return "is this machine itself: register a name like app.localhost"
  end
end

--- A name as it is kept and compared: lower case, without a dot at the end.
-- @tparam string text
-- @treturn ?string
-- @treturn ?string what is wrong
function names.domain(text)
  local name = text:lower():gsub("%.$", "")
  local problem = problem_of(name)
  if problem then
    return nil, check.show(text) .. " " .. problem
  end
  for label in (name .. "."):gmatch("([^.]*)%.") do
    local ok, err = check_label(label)
    if not ok then
      return nil, check.show(text) .. " " .. err
    end
  end
  return name
end

--- A port that somebody can listen on.
-- @tparam number port
-- @treturn ?number
-- @treturn ?string what is wrong
function names.port(port)
  if port < 1 or port > 65535 then
    return nil, ("%.0f is not a port (1 to 65535)"):format(port)
  end
  return port
end

return names
