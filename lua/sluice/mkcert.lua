--- Certificates by mkcert, a local CA, for the manager of certificates (sluice.certificates).
--
-- The command line and the names of the files are those of hasenj/go-core-server: what lies there
-- is used when certificate and key belong together, are for the name and still have a third of
-- their life before them. Else mkcert is run. Names are checked here: they become names of files.
--
-- @usage
--   local issuer = mkcert.new { folder = "certs" }
--   local root = issuer:find() -- nil: mkcert is not installed
--   local pair = issuer:issue "app.localhost"

local names = require "sluice.coreserver.names"
local pair = require "sluice.certificates.pair"
local sluice = require "sluice"

local mkcert = {}
mkcert.__index = mkcert

local max_file = 65536
local run_timeout = 30
local retry_after = 60

--- @tparam table options `folder`; `command`: "mkcert"
function mkcert.new(options)
  return setmetatable({
    _folder = options.folder,
    _command = options.command or "mkcert",
  }, mkcert)
end

--- Is it installed?
-- @treturn ?string the folder of its CA
-- @treturn ?string why not
function mkcert:find()
  local result, err = sluice.exec({ self._command, "-CAROOT" }, { timeout = run_timeout })
  if not result then
    return nil, err
  elseif result.status ~= 0 then
    return nil, "it does not run"
  end
  return (result.stdout:match("^[^\r\n]*"))
end

local function files_of(self, name)
  local base = self._folder .. "/" .. name
  return base .. "-cert.pem", base .. "-key.pem"
end

-- True while a third of its life is left.
local function is_fresh(certificate)
  local life = certificate.not_after - certificate.not_before
  return certificate.not_after - sluice.time() >= life / 3
end

-- What is there and can be used.
local function load(self, name)
  local cert_file, key_file = files_of(self, name)
  local cert, err = sluice.file.read(cert_file, max_file)
  if not cert then
    return nil, err
  end
  local key
  key, err = sluice.file.read(key_file, max_file)
  if not key then
    return nil, err
  end
  local issued = { cert = cert, key = key }
  local certificate, why = pair.check(issued, name)
  if certificate and not is_fresh(certificate) then
    return nil, "the certificate expires soon"
  end
  return certificate and issued, why
end

local function reason(result)
  local line = result.stderr:match("([^\r\n]+)%s*$") or result.stdout:match("([^\r\n]+)%s*$")
  return line and line:sub(1, 300) or "it ended with code " .. tostring(result.status)
end

local function run(self, name)
  local cert_file, key_file = files_of(self, name)
  local ok, err = sluice.file.mkdir(self._folder)
  if not ok then
    return nil, ("%s: %s"):format(self._folder, err)
  end
  local result
  result, err = sluice.exec({ self._command, "-key-file", key_file, "-cert-file", cert_file,
    name }, { timeout = run_timeout })
  if not result then
    return nil, err
  elseif result.status ~= 0 then
    return nil, reason(result)
  end
  return true
end

-- The first run makes the CA when there is none: until one has succeeded, one runs at a time.
local function run_in_turn(self, name)
  while not self._has_run and self._running do
    self._running:wait()
  end
  if self._has_run then
    return run(self, name)
  end
  self._running = sluice.spawn(run, self, name)
  local ok, err = self._running:wait()
  self._running = nil
  self._has_run = ok
  return ok, err
end

--- Does mkcert make certificates for such a name?
function mkcert.accepts(_, name)
  return names.domain(name) ~= nil
end

--- Makes a certificate, or finds the one that is there. Waits.
-- @tparam string name
-- @tparam[opt] string before the certificate (PEM) that this one takes the place of
-- @treturn ?table `cert` and `key`, PEM
-- @treturn ?string why not
-- @treturn ?number seconds after which it is worth another try; nil: never
function mkcert:issue(name, before)
  local domain, err = names.domain(name)
  if not domain then
    return nil, err
  end
  local found, why = load(self, domain)
  if found and found.cert ~= before then
    return found
  end
  local ok
  ok, err = run_in_turn(self, domain)
  if not ok then
    return nil, "mkcert: " .. err, retry_after
  end
  sluice.log.info("mkcert has made a certificate", { name = domain, before = why })
  found, err = load(self, domain)
  return found, err and "mkcert: " .. err, not found and retry_after or nil
end

return mkcert
