--- Names and values of HTTP header fields: what may stand in a message.

local field = {}

local max_name, max_value = 256, 16384

--- A token of RFC 9110: letters, digits and a few signs, not empty.
function field.is_name(name)
  return type(name) == "string" and #name <= max_name
    and name:find("^[%w!#$%%&'*+%-.^_`|~]+$") ~= nil
end

--- No line break and no other control character but tab.
function field.is_value(value)
  return type(value) == "string" and #value <= max_value
    and not value:find("[%z\1-\8\10-\31\127]")
end

local framing = {
  connection = true, ["content-length"] = true, ["http2-settings"] = true, ["keep-alive"] = true,
  ["proxy-connection"] = true, te = true, trailer = true, ["transfer-encoding"] = true,
  upgrade = true,
}

--- Does this field say where a message ends, or belong to one connection? Whoever set it could make
-- the next hop see other messages than this one, so sluice alone does.
function field.is_framing(name)
  return framing[name:lower()] == true
end

--- Goes over headers as scripts give them: name to value, or a list of { name, value } pairs.
-- @tparam table headers
-- @treturn function iterator of name and value; the name is false for an item that is no pair
function field.each(headers)
  if headers[1] == nil then
    return next, headers
  end
  local i = 0
  return function()
    i = i + 1
    local pair = headers[i]
    if pair ~= nil then
      local is_pair = type(pair) == "table" and #pair == 2
      return is_pair and pair[1] or false, is_pair and pair[2] or nil
    end
  end
end

return field
