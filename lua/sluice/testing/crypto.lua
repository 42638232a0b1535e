--- sluice.crypto of the fake core: exact digests and encodings, fake keys and certificates.

local digest = require "sluice.testing.digest"
local keys = require "sluice.testing.keys"

local crypto = {
  new_key = keys.new_key,
  key = keys.key,
  certificate = keys.certificate,
}
for name, fn in pairs(digest) do
  crypto[name] = fn
end

--- Texts that look like PEM and hold a fake key.
function crypto.self_signed(name)
  local key = keys.new_key()
  return key:self_signed(name, { days = 3650 }), key:pem()
end

function crypto.fingerprint(cert)
  local facts, err = keys.certificate(cert)
  return facts and facts.pin, err
end

return crypto
