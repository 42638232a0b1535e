--- A certificate with its key, as it is kept and as it is put into service.

local sluice = require "sluice"

local pair = {}

--- One text of both, the key first: what Go's autocert keeps in a file.
-- @tparam table issued `cert` (with its chain) and `key`: PEM
function pair.text(issued)
  return (issued.key:gsub("\n*$", "\n")) .. issued.cert
end

--- The way back.
-- @treturn ?table nil: there are not both in it
function pair.parse(text)
  local at = text:find("-----BEGIN CERTIFICATE-----", 1, true)
  local key_at = text:find("PRIVATE KEY-----", 1, true)
  if not at or not key_at or key_at > at then
    return nil
  end
  return { key = text:sub(1, at - 1), cert = text:sub(at) }
end

local function public_of(key)
  local body = key:public_pem():match("^%-%-%-%-%-BEGIN[^\n]*\n(.-)%-%-%-%-%-END")
  return assert(sluice.crypto.unbase64((body:gsub("%s", ""))))
end

local function covers(names, name)
  for _, covered in ipairs(names) do
    if covered:lower() == name then
      return true
    end
  end
  return false
end

--- Is this for the name, and does the key belong to it?
-- @tparam table issued `cert` and `key`: PEM
-- @tparam string name
-- @treturn ?table of sluice.crypto.certificate
-- @treturn ?string what is wrong
function pair.check(issued, name)
  local certificate, err = sluice.crypto.certificate(issued.cert)
  if not certificate then
    return nil, "the certificate cannot be read: " .. err
  end
  local key
  key, err = sluice.crypto.key(issued.key)
  if not key then
    return nil, "the key of the certificate cannot be read: " .. err
  end
  if not covers(certificate.names, name) then
    return nil, "the certificate is not for " .. name
  end
  if certificate.pin ~= sluice.crypto.sha256(public_of(key)) then
    return nil, "certificate and key do not belong together"
  end
  return certificate
end

return pair
