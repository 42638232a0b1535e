--- The certificate of a hub: the operator's, or one that it signs itself at its first start and
-- keeps in its state folder, since edges know it by its key: hub.pem holds certificate and key,
-- hub.crt the certificate alone, for those who want to look at it.

local sluice = require "sluice"

local certificate = {}

local max_len = 1048576
local common_name = "sluice-hub" -- edges do not look at names

local readable, private = 420, 384 -- 0644 and 0600

local function read(path)
  local text, err = sluice.file.read(path, max_len)
  if not text then
    return nil, ("%s: %s"):format(path, err), err == "not found"
  end
  return text
end

local function read_pair(cert_file, key_file)
  local cert, err = read(cert_file)
  if not cert then
    return nil, err
  end
  local key
  key, err = read(key_file)
  if not key then
    return nil, err
  end
  return { cert = cert, key = key }
end

local function block(text, kind)
  return text:match(("%%-%%-%%-%%-%%-BEGIN %s%%-%%-%%-%%-%%-.-%%-END %s%%-%%-%%-%%-%%-\n?")
    :format(kind, kind))
end

-- One file for both, so that there is never one without the other.
local function make(dir, path)
  local cert, key = sluice.crypto.self_signed(common_name)
  if not cert then
    return nil, key
  end
  if sluice.check then
    return { cert = cert, key = key }
  end
  local ok, err = sluice.file.mkdir(dir)
  if ok then
    ok, err = sluice.file.write(path, cert .. key, { mode = private })
  end
  if ok then
    ok, err = sluice.file.write(dir .. "/hub.crt", cert, { mode = readable })
  end
  if not ok then
    return nil, ("the certificate of the hub cannot be kept in %s: %s"):format(dir, err)
  end
  sluice.log.info("a certificate for the hub was made", { file = path })
  return { cert = cert, key = key }
end

local function kept(dir)
  local path = dir .. "/hub.pem"
  local text, err, is_missing = read(path)
  if is_missing then
    return make(dir, path)
  elseif not text then
    return nil, err
  end
  local cert, key = block(text, "CERTIFICATE"), block(text, "PRIVATE KEY")
  if not cert or not key then
    return nil, path .. ": does not hold a certificate and its key; without the file new ones "
      .. "are made, which edges with the old fingerprint will not trust"
  end
  return { cert = cert, key = key }
end

--- @tparam table settings from sluice.hub.settings
-- @treturn ?table `cert`, `key` (PEM), `pin` (32 raw bytes)
-- @treturn ?string what is wrong
function certificate.load(settings)
  local pair, err
  if settings.cert then
    pair = { cert = settings.cert, key = settings.key }
  elseif settings.cert_file then
    pair, err = read_pair(settings.cert_file, settings.key_file)
  else
    pair, err = kept(settings.state_dir)
  end
  if not pair then
    return nil, err
  end
  pair.pin, err = sluice.crypto.fingerprint(pair.cert)
  if not pair.pin then
    return nil, err
  end
  return pair
end

return certificate
