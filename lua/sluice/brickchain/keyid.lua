--- Names made from keys: the id of a key (or of one of its sessions), and the host name with it.

local sluice = require "sluice"

local keyid = {}

--- @tparam string thumbprint the 32 bytes of RFC 7638
-- @tparam[opt] string session lets one key have several names
-- @treturn string 52 characters of a-z and 2-7
function keyid.of(thumbprint, session)
  local id = sluice.crypto.base32(thumbprint)
  if session and session ~= "" then
    id = sluice.crypto.base32(sluice.crypto.sha256(id .. session))
  end
  return id
end

--- Can this be the id of a client?
function keyid.is_valid(id)
  return #id == 52 and id:find("^[a-z2-7]+$") ~= nil
end

return keyid
