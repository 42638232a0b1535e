--- Who a client is: its private key, in the file of the original, and the tokens that it signs.

local jws = require "sluice.jws"
local messages = require "sluice.brickchain.messages"
local sluice = require "sluice"

local identity = {}

local max_file = 64 * 1024

-- The key of a new client; the file is there before anybody hears of the name that it gives.
local function make(path)
  local key, err = sluice.crypto.new_key "P-256"
  local ok = key
  if key then
    ok, err = sluice.file.write(path, key:pem "sec1", { mode = 384 }) -- 0600
  end
  if not ok then
    return nil, ("%s: %s"):format(path, err)
  end
  sluice.log.info("a new key was made: whoever has it has the name", { file = path })
  return key
end

--- The key in a file, which is made when it is not there; waits.
-- @tparam string path PEM: SEC1, PKCS#1 or PKCS#8
-- @treturn ?sluice.Key
-- @treturn ?string what is wrong
function identity.load(path)
  local pem, err = sluice.file.read(path, max_file)
  if not pem then
    if err == "not found" then
      return make(path)
    end
    return nil, ("%s: %s"):format(path, err)
  end
  local key
  key, err = sluice.crypto.key(pem)
  if key and not key:is_private() then
    key, err = nil, "it is a public key"
  end
  if not key then
    return nil, ("%s: %s"):format(path, err)
  end
  return key
end

--- A mandate token, good for a minute.
-- @tparam sluice.Key key
-- @tparam string endpoint as it was configured
function identity.token(key, endpoint)
  return jws.sign(key, nil, { jwk = key:jwk() }, sluice.json.encode {
    ["@type"] = "https://schema.brickchain.com/v2/mandate-token.json",
    ["@timestamp"] = messages.timestamp(),
    uri = endpoint,
    ttl = 60,
  })
end

return identity
