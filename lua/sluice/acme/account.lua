--- The account of a CA (RFC 8555, section 7.3): its key, which is kept, and its URL, which the CA
-- tells whoever shows the key.
--
-- The key lies under the name that Go's autocert gives it, so that a folder of certificates can
-- change hands with its account.

local sluice = require "sluice"
local fault = require "sluice.acme.fault"
local lock = require "sluice.certificates.lock"

local account = {}

local key_name = "acme_account+key"

local function kept_key(storage)
  local text, err = storage:read(key_name)
  if not text then
    return nil, err ~= "not found" and fault.new("ca", "the key of the account cannot be read: %s "
      .. "(look after the storage of certificates)", err) or nil
  end
  local key
  key, err = sluice.crypto.key(text)
  if not key or not key:is_private() or key:kind() ~= "P-256" then
    return nil, fault.new("ca", "%s in the storage of certificates is no private P-256 key%s (move "
      .. "it away and a new account is made)", key_name, err and ": " .. err or "")
  end
  return key
end

local function new_key(storage)
  local key = sluice.crypto.new_key("P-256")
  local ok, err = storage:write(key_name, key:pem("sec1"))
  if not ok then
    return nil, fault.new("ca", "the key of the account cannot be kept: %s (look after the storage "
      .. "of certificates)", err)
  end
  return key
end

-- Of several instances that begin at once one makes the key, and the others wait for it.
local function key_of(storage)
  local key, err = kept_key(storage)
  if key or err then
    return key, err
  end
  local unlock
  unlock, err = lock.take(storage, key_name)
  if not unlock then
    return nil, fault.new("ca", "the key of the account cannot be locked: %s (look after the "
      .. "storage of certificates)", err)
  end
  key, err = kept_key(storage)
  if not key and not err then
    key, err = new_key(storage)
  end
  unlock()
  return key, err
end

--- The binding to an account that the operator has with the CA by other means (section 7.3.4): the
-- account key, signed with the secret that the CA gave him.
local function binding(eab, url, key)
  local secret, err = sluice.crypto.unbase64url((eab.hmac_key:gsub("=+$", "")))
  if not secret then
    return nil, fault.new("ca", "eab.hmac_key is not base64url: %s", err)
  end
  local encode = sluice.crypto.base64url
  local protected = encode(sluice.json.encode { alg = "HS256", kid = eab.kid, url = url })
  local payload = encode(sluice.json.encode(key:jwk()))
  local signature = sluice.crypto.hmac_sha256(secret, protected .. "." .. payload)
  return { protected = protected, payload = payload, signature = encode(signature) }
end

local function contacts(email)
  return email and sluice.json.array { "mailto:" .. email } or nil
end

-- An account that was there keeps its old address unless it is told.
local function update(ca, registered, body, email)
  local known = type(body) == "table" and type(body.contact) == "table" and body.contact[1]
  if not email or known == "mailto:" .. email then
    return true
  end
  return ca:post(registered.kid, { contact = contacts(email) }, registered)
end

--- Registers the account, or finds it again.
-- @tparam table ca from sluice.acme.client
-- @tparam table options `storage`, `email`, `eab` (`kid`, `hmac_key`)
-- @treturn ?table `key`, `kid`, `thumbprint` (base64url)
-- @treturn ?table fault
function account.register(ca, options)
  local directory, err = ca:directory()
  if not directory then
    return nil, err
  end
  local key
  key, err = key_of(options.storage)
  if not key then
    return nil, err
  end
  local request = { termsOfServiceAgreed = true, contact = contacts(options.email) }
  if options.eab then
    request.externalAccountBinding, err = binding(options.eab, directory.newAccount, key)
    if not request.externalAccountBinding then
      return nil, err
    end
  end
  local response
  response, err = ca:post(directory.newAccount, request, { key = key })
  if not response then
    err.scope = err.scope == "name" and "ca" or err.scope
    return nil, err
  end
  local found = {
    key = key,
    kid = response.headers.location,
    thumbprint = sluice.crypto.base64url(key:thumbprint()),
  }
  if not found.kid then
    return nil, fault.garbage(directory.newAccount, "an account without a URL")
  end
  if response.status == 200 then
    local ok
    ok, err = update(ca, found, response.value, options.email)
    if not ok then
      return nil, err
    end
  end
  return found
end

return account
