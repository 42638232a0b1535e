--- Settings of a script: from its command line, else from the environment, else a default.
--
-- @usage
--   local rows = {
--     { name = "port", option = "--port", variable = "APP_PORT", read = options.port,
--       otherwise = "8080" },
--   }
--   local settings, err = options.read(rows, sluice.env, sluice.args)

local options = {}

--- What follows `--name value` or `--name=value`; the last one counts.
-- @tparam table args the words of the command line
-- @treturn ?string "" when it is the last word
function options.find(args, option)
  local found
  for i, word in ipairs(args) do
    if word == option then
      found = args[i + 1] or ""
    elseif word:sub(1, #option + 1) == option .. "=" then
      found = word:sub(#option + 2)
    end
  end
  return found
end

--- The text without blanks around; nil when nothing is left.
function options.trimmed(text)
  local body = text and text:match("^%s*(.-)%s*$")
  return body ~= "" and body or nil
end

-- Readers: the value of a text, or nil and what is wrong with it.

function options.text(text)
  if text == "" then
    return nil, "is empty"
  end
  return text
end

local function number_of(text, most)
  local n = text:find("^%d%d?%d?%d?%d?%d?%d?%d?%d?$") and tonumber(text)
  return n and n <= most and n or nil
end

function options.port(text)
  local port = number_of(text, 65535)
  if not port or port == 0 then
    return nil, "not a port (1 to 65535)"
  end
  return port
end

--- 0 stands for a free one.
function options.any_port(text)
  local port = number_of(text, 65535)
  return port, not port and "not a port (0 to 65535)" or nil
end

function options.seconds(text)
  local seconds = number_of(text, 86400)
  return seconds, not seconds and "not a number of seconds (0 to 86400)" or nil
end

local words = {
  ["true"] = true, yes = true, on = true, ["1"] = true,
  ["false"] = false, no = false, off = false, ["0"] = false,
}

function options.boolean(text)
  local value = words[text:lower()]
  if value == nil then
    return nil, "neither true nor false"
  end
  return value
end

--- "443,8000-8010" as an array of ports.
function options.ports(text)
  local list = {}
  for part in text:gmatch("[^%s,]+") do
    local from, to = part:match("^(%d+)%-(%d+)$")
    from, to = options.port(from or part), options.port(to or part)
    if not from or not to or from > to then
      return nil, "not a list of ports like 443,8000-8010"
    end
    for port = from, to do
      list[#list + 1] = port
    end
  end
  return list
end

-- The text of a setting and what to call it in a complaint.
local function text_of(row, env, args)
  local option = row.option and options.find(args, row.option)
  if option then
    return option, row.option
  end
  return options.trimmed(env(row.variable)) or row.otherwise, row.variable
end

--- @tparam table rows of `name`, `variable`, `read`, and if there are such `option`, `otherwise`
-- @tparam function env name to value or nil
-- @tparam table args the words of the command line
-- @treturn ?table value by name; what was not said and has no default is missing
-- @treturn ?string what is wrong; begins with the option or variable
function options.read(rows, env, args)
  local result = {}
  for _, row in ipairs(rows) do
    local text, called = text_of(row, env, args)
    if text then
      local value, err = row.read(text)
      if value == nil then
        return nil, ("%s: %s"):format(called, err)
      end
      result[row.name] = value
    end
  end
  return result
end

return options
