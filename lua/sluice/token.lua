--- Connection tokens: everything an edge needs to find its hub, in one line that can be pasted.
--
-- Base64url of compact JSON with the keys of remoteingress: `h` host, `p` port, `e` id of the edge,
-- `s` secret; ours beside them: `f`, the SHA-256 of the hub's public key in base64url, by which the
-- edge knows that it talks to its hub. Only `h` is proven by the original's published sample; the
-- others have not been tried against it. A token holds the secret: treat it like one.
--
-- @usage
--   local token = require "sluice.token"
--   local text = token.encode { host = "hub.example.com", id = "nyc-01", secret = "s3cret" }
--   local hub = assert(token.decode(text))

local sluice = require "sluice"

local token = {}

local max_len = 8192
local pin_len = 32

-- Text from a value that is text and can stand in the greeting of a tunnel.
local function plain(value, name, allows_space)
  if type(value) ~= "string" or value == "" or value:find("[%z\1-\31\127]") then
    return nil, name .. ": a text without control characters expected"
  end
  if not allows_space and value:find(" ", 1, true) then
    return nil, name .. ": must not contain a space"
  end
  return value
end

local function port_of(value)
  if type(value) ~= "number" or value ~= math.floor(value) or value < 1 or value > 65535 then
    return nil, "port: 1 to 65535 expected"
  end
  return value
end

--- A fingerprint as people write it: the SHA-256 of the hub's public key in hexadecimal digits,
-- with or without colons, or in base64url.
-- @tparam string text
-- @treturn ?string base64url
-- @treturn ?string what is wrong
-- @treturn ?string the 32 raw bytes
function token.fingerprint(text)
  local digits = text:gsub(":", "")
  local pin = digits:find("^%x+$") and #digits == 2 * pin_len
    and digits:gsub("%x%x", function(pair)
      return string.char(tonumber(pair, 16))
    end)
    or sluice.crypto.unbase64url(text)
  if not pin or #pin ~= pin_len then
    return nil, "not a SHA-256 in 64 hexadecimal digits or in base64url"
  end
  return sluice.crypto.base64url(pin), nil, pin
end

local function pin_of(text)
  local pin = type(text) == "string" and sluice.crypto.unbase64url(text)
  if not pin or #pin ~= pin_len then
    return nil, "fingerprint: " .. pin_len .. " bytes in base64url expected"
  end
  return text
end

-- The four that every token has, checked; or nil, err.
local function checked(host, port, id, secret)
  local err
  host, err = plain(host, "host")
  if not host then
    return nil, err
  end
  port, err = port_of(port)
  if not port then
    return nil, err
  end
  id, err = plain(id, "id")
  if not id then
    return nil, err
  end
  secret, err = plain(secret, "secret", true)
  if not secret then
    return nil, err
  end
  return { host = host, port = port, id = id, secret = secret }
end

--- Makes a token of what somebody has said.
-- @tparam table hub `host`, `port` (8443), `id`, `secret` and, if known, `fingerprint` (base64url
-- of the SHA-256 of the public key of the hub)
-- @treturn ?string the token
-- @treturn ?string what is wrong
function token.try_encode(hub)
  local given, err = checked(hub.host, hub.port or 8443, hub.id, hub.secret)
  if not given then
    return nil, err
  end
  local quoted = sluice.json.encode
  local text = ('{"h":%s,"p":%d,"e":%s,"s":%s'):format(
    quoted(given.host), given.port, quoted(given.id), quoted(given.secret))
  if hub.fingerprint then
    local pin
    pin, err = pin_of(hub.fingerprint)
    if not pin then
      return nil, err
    end
    text = text .. ',"f":' .. quoted(pin)
  end
  return sluice.crypto.base64url(text .. "}")
end

--- Makes a token; a mistake in the arguments throws.
-- @tparam table hub as of try_encode()
-- @treturn string the token
function token.encode(hub)
  return assert(token.try_encode(hub))
end

-- Both alphabets, with or without padding, and what copying leaves at the ends.
local function normalized(text)
  local trimmed = text:gsub("^%s+", ""):gsub("%s+$", ""):gsub("=+$", "")
  return (trimmed:gsub("[+/]", { ["+"] = "-", ["/"] = "_" }))
end

--- Reads a token.
-- @tparam string text
-- @treturn ?table `host`, `port`, `id`, `secret`, and `fingerprint` when there is one
-- @treturn ?string what is wrong with it; never a part of it
function token.decode(text)
  if type(text) ~= "string" or #text > max_len then
    return nil, "not a connection token"
  end
  local bytes = sluice.crypto.unbase64url(normalized(text))
  local content = bytes and sluice.json.decode(bytes)
  if type(content) ~= "table" then
    return nil, "not a connection token"
  end
  local hub, err = checked(content.h, content.p, content.e, content.s)
  if hub and content.f ~= nil then
    hub.fingerprint, err = pin_of(content.f)
    hub = hub.fingerprint and hub or nil
  end
  if not hub then
    return nil, "not a connection token: " .. err
  end
  return hub
end

return token
