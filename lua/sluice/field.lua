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

return field
