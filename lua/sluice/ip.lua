--- IP patterns of access lists: an address, a CIDR block, a range `a-b`, IPv4 with `*` in place of
-- the last octets, or `*` for all. Only checks them; the data plane parses them for itself.

local ip = {}

local max_pattern = 200

-- A number below 256 without leading zeros, which some would read as octal; or nil.
local function octet(text)
  local n = text and text:find("^%d%d?%d?$") and tonumber(text)
  return n and n < 256 and (n == 0 and text == "0" or text:byte(1) ~= 48) and n or nil
end

-- Four octets as one number, or nil.
local function ipv4(text)
  local a, b, c, d = text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  a, b, c, d = octet(a), octet(b), octet(c), octet(d)
  return a and b and c and d and a * 2 ^ 24 + b * 2 ^ 16 + c * 2 ^ 8 + d or nil
end

-- Appends the groups of a part of an IPv6 address that has no "::"; false when it is malformed.
local function add_groups(groups, text)
  if text == "" then
    return true
  end
  for group in (text .. ":"):gmatch("([^:]*):") do
    if not group:find("^%x%x?%x?%x?$") then
      return false
    end
    table.insert(groups, ("%04x"):format(tonumber(group, 16)))
  end
  return true
end

-- "::ffff:1.2.3.4" in hexadecimal groups only, or nil.
local function without_dots(text)
  local head, tail = text:match("^(.*:)([%d.]+)$")
  if not head or not tail:find(".", 1, true) then
    return text
  end
  local n = ipv4(tail)
  return n and ("%s%x:%x"):format(head, math.floor(n / 65536), n % 65536) or nil
end

-- 32 hexadecimal digits, or nil.
local function ipv6(text)
  text = text:find(":", 1, true) and without_dots(text)
  if not text then
    return nil
  end
  local head, tail = text:match("^(.-)::(.*)$")
  local first, last = {}, {}
  if not (add_groups(first, head or text) and add_groups(last, tail or "")) then
    return nil
  end
  local missing = 8 - #first - #last
  if (head and missing < 1) or (not head and missing ~= 0) then
    return nil
  end
  return table.concat(first) .. ("0000"):rep(missing) .. table.concat(last)
end

--- @tparam string text
-- @treturn ?number 4 or 6
-- @treturn ?number|string comparable with others of its version
function ip.parse(text)
  local value = ipv4(text)
  if value then
    return 4, value
  end
  value = ipv6(text)
  if value then
    return 6, value
  end
end

local function check_block(address, prefix)
  local version = ip.parse(address)
  local most = version == 4 and 32 or 128
  if not version then
    return nil, "is not a CIDR block: the part before the / is not an IP address"
  end
  if not prefix:find("^%d%d?%d?$") or tonumber(prefix) > most then
    return nil, ("is not a CIDR block: the prefix must be 0 to %d"):format(most)
  end
  return true
end

local function check_range(from, to)
  local from_version, low = ip.parse(from)
  local to_version, high = ip.parse(to)
  if not from_version or not to_version then
    return nil, "is not a range of IP addresses"
  end
  if from_version ~= to_version then
    return nil, "is not a range: its ends are IPv4 and IPv6"
  end
  if low > high then
    return nil, "is not a range: it ends before it begins"
  end
  return true
end

-- 192.168.1.*, 10.*.*.* or, for short, 10.*: octets, then only stars.
local function is_glob(text)
  local octets, stars = 0, 0
  for part in (text .. "."):gmatch("([^.]*)%.") do
    if part == "*" then
      stars = stars + 1
    elseif stars > 0 or not octet(part) then
      return false
    else
      octets = octets + 1
    end
  end
  return octets > 0 and stars > 0 and octets + stars <= 4
end

--- Is this a pattern?
-- @tparam string pattern
-- @treturn ?boolean true
-- @treturn ?string what is wrong, to be put behind the pattern
-- @usage local ok, err = ip.check("10.0.0.0/8")
function ip.check(pattern)
  if type(pattern) ~= "string" then
    return nil, "is not a string"
  end
  if #pattern > max_pattern then
    return nil, "is too long for an IP pattern"
  end
  if pattern == "*" or ip.parse(pattern) or is_glob(pattern) then
    return true
  end
  local address, prefix = pattern:match("^([^/]+)/(.*)$")
  if address then
    return check_block(address, prefix)
  end
  local from, to = pattern:match("^%s*([^%s-]+)%s*%-%s*([^%s-]+)%s*$")
  if from then
    return check_range(from, to)
  end
  return nil, "is not an IP address, CIDR block, range or pattern such as 192.168.1.*"
end

--- Does this literal address mean this machine alone?
-- @tparam string host
-- @treturn boolean
function ip.is_loopback(host)
  local bare = host:match("^%[(.*)%]$") or host
  local version, value = ip.parse(bare)
  if version == 4 then
    return math.floor(value / 2 ^ 24) == 127
  end
  return version == 6 and value == ("0"):rep(31) .. "1"
end

return ip
