--- The two kinds of dates that a CA writes, in seconds since 1970. Pure.

local dates = {}

-- Days from 1970-01-01 to a day of the Gregorian calendar, whose years begin in March here.
local function days(year, month, day)
  year = month <= 2 and year - 1 or year
  local of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + of_year - 719468
end

local function seconds(year, month, day, hour, minute, second)
  if month < 1 or month > 12 or day < 1 or day > 31 or hour > 23 or minute > 59 or second > 60 then
    return nil
  end
  return ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
end

local months = {
  Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10,
  Nov = 11, Dec = 12,
}

--- A date of HTTP (RFC 9110): "Sun, 06 Nov 1994 08:49:37 GMT".
-- @treturn ?number
function dates.http(text)
  local day, month, year, hour, minute, second = tostring(text)
    :match("^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  if not months[month] then
    return nil
  end
  return seconds(tonumber(year), months[month], tonumber(day), tonumber(hour), tonumber(minute),
    tonumber(second))
end

local function offset(zone)
  if zone == "Z" or zone == "z" then
    return 0
  end
  local sign, hours, minutes = zone:match("^([+-])(%d%d):(%d%d)$")
  if not sign then
    return nil
  end
  return (sign == "+" and 1 or -1) * (tonumber(hours) * 3600 + tonumber(minutes) * 60)
end

--- A date of RFC 3339: "2025-01-02T04:00:00Z". Fractions of a second are cut off.
-- @treturn ?number
function dates.rfc3339(text)
  local year, month, day, hour, minute, second, zone = tostring(text)
    :match("^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)%.?%d*([Zz+-][%d:]*)$")
  local shift = zone and offset(zone)
  if not shift then
    return nil
  end
  local local_time = seconds(tonumber(year), tonumber(month), tonumber(day), tonumber(hour),
    tonumber(minute), tonumber(second))
  return local_time and local_time - shift
end

local week = 7 * 86400

--- How long a Retry-After header asks to wait; at most a week, since nobody means more.
-- @tparam ?string text seconds or a date
-- @tparam number now seconds since 1970
-- @treturn ?number seconds
function dates.retry_after(text, now)
  local wait = text and text:find("^%d+$") and tonumber(text)
  if not wait then
    local at = text and dates.http(text)
    wait = at and math.max(0, at - now)
  end
  return wait and math.min(wait, week)
end

return dates
