--- When a CA wants a certificate to be renewed (RFC 9773).

local sluice = require "sluice"
local dates = require "sluice.acme.dates"

local renewal = {}

local ask_again, soonest, latest = 6 * 3600, 60, 86400

--- The name of a certificate in renewal information: its authority's key and its serial number.
-- @tparam table certificate of sluice.crypto.certificate
-- @treturn ?string nil: it does not say who made it
function renewal.id(certificate)
  if not certificate.authority_key_id then
    return nil
  end
  local encode = sluice.crypto.base64url
  return encode(certificate.authority_key_id) .. "." .. encode(certificate.serial_der)
end

-- Any moment of the window, so that not all come at once.
local function pick(window)
  local from = type(window) == "table" and dates.rfc3339(window.start)
  local to = from and dates.rfc3339(window["end"])
  if not to or to < from then
    return nil
  end
  local fraction = sluice.crypto.random(1):byte() / 256
  return from + (to - from) * fraction, from, to
end

--- Asks the CA.
-- @tparam table ca from sluice.acme.client
-- @tparam table certificate of sluice.crypto.certificate
-- @treturn ?table `at` (seconds since 1970, may be over), `from` and `to` (the window it is in),
-- `ask_after` (seconds); nil: this CA does not say
function renewal.ask(ca, certificate)
  local directory = ca:directory()
  local id = renewal.id(certificate)
  if not directory or not id or not ca.is_url(directory.renewalInfo) then
    return nil
  end
  local response = ca:get(directory.renewalInfo:gsub("/$", "") .. "/" .. id)
  if not response or type(response.value) ~= "table" then
    return nil
  end
  local at, from, to = pick(response.value.suggestedWindow)
  if not at then
    return nil
  end
  local wait = response.retry_after or ask_again
  return { at = at, from = from, to = to, ask_after = math.min(math.max(wait, soonest), latest) }
end

return renewal
