--- Certificates of a CA that speaks ACME (RFC 8555): an issuer for sluice.certificates.
--
-- @usage
--   local issuer = assert(acme.new {
--     directory = acme.lets_encrypt, email = "ops@example.com", storage = disk.new("/var/certs"),
--   })
--   local pair, err = issuer:issue("app.example.com")

local account = require "sluice.acme.account"
local challenges = require "sluice.acme.challenges"
local client = require "sluice.acme.client"
local fault = require "sluice.acme.fault"
local order = require "sluice.acme.order"
local renewal = require "sluice.acme.renewal"
local sluice = require "sluice"
local suggest = require "sluice.suggest"

local acme = {}
acme.__index = acme

acme.lets_encrypt = "https://acme-v02.api.letsencrypt.org/directory"
acme.lets_encrypt_staging = "https://acme-staging-v02.api.letsencrypt.org/directory"

local kinds = { ["tls-alpn-01"] = true, ["http-01"] = true }

local checks = {}

function checks.directory(value)
  return client.is_url(value), "must be an https URL"
end

function checks.email(value)
  return type(value) == "string" and #value <= 254 and value:find("^[^%s%c<>@?]+@[^%s%c<>@?]+$"),
    "is not an e-mail address"
end

function checks.eab(value)
  return type(value) == "table" and type(value.kid) == "string"
    and type(value.hmac_key) == "string",
    "must have kid and hmac_key as the CA gave them"
end

function checks.ca_file(value)
  return type(value) == "string", "must be a path"
end

function checks.challenges(value)
  local is_list = type(value) == "table" and value[1] ~= nil
  for _, kind in ipairs(is_list and value or {}) do
    is_list = is_list and kinds[kind]
  end
  return is_list, "must be a list of tls-alpn-01, http-01"
end

function checks.storage(value)
  return type(value) == "table", "must be a storage of certificates"
end

function checks.profile(value)
  return type(value) == "string" and value ~= "", "must be the name of a profile of the CA"
end

--- What is wrong with options of new(), but for those that are missing.
-- @treturn ?boolean
-- @treturn ?string what is wrong
function acme.check(options)
  for name, value in pairs(options) do
    if not checks[name] then
      return nil, ("unknown option %s%s"):format(tostring(name), suggest.hint(name, checks))
    end
    local ok, what = checks[name](value)
    if not ok then
      return nil, ("%s %s"):format(name, what)
    end
  end
  return true
end

local function check(options)
  local ok, err = acme.check(options)
  for _, name in ipairs { "directory", "storage" } do
    if ok and options[name] == nil then
      return nil, name .. " is missing"
    end
  end
  return ok, err
end

--- @tparam table options `directory` (URL), `storage` (sluice.certificates.disk or .redis),
-- `email`, `eab` (`kid`, `hmac_key` in base64url), `ca_file` (PEM: whom to trust instead of the
-- system's CAs), `challenges` (tls-alpn-01, http-01 in the order in which they are tried),
-- `profile`
-- @treturn ?table issuer
-- @treturn ?string what is wrong
function acme.new(options)
  local ok, err = check(options)
  if not ok then
    return nil, "acme: " .. err
  end
  local storage = options.storage
  return setmetatable({
    _options = options,
    _ca = client.new(options),
    _challenges = challenges.new(storage:is_shared() and storage or nil),
    _kinds = { unpack(options.challenges or { "tls-alpn-01", "http-01" }) },
  }, acme)
end

--- Public CAs issue for host names with a dot, and not for patterns without DNS.
function acme.accepts(_, name)
  return name:find("^[a-z0-9][a-z0-9.-]*%.[a-z0-9-]*[a-z0-9]$") ~= nil
    and not name:find("^[%d.]+$") and not name:find("..", 1, true) and #name <= 253
end

-- The account, registered once however many orders wait for it.
local function registered(self)
  if self._account then
    return self._account
  end
  if not self._registering then
    self._registering = sluice.spawn(function()
      return account.register(self._ca, self._options)
    end)
  end
  local task = self._registering
  local found, err = task:wait()
  self._registering = self._registering ~= task and self._registering or nil
  self._account = found or self._account
  if found then
    return found
  end
  return nil, type(err) == "table" and err or fault.new("ca", "the account: %s", tostring(err))
end

local function check_profile(self)
  local profile = self._options.profile
  if not profile then
    return true
  end
  local directory, err = self._ca:directory()
  if not directory then
    return nil, err
  end
  local offered = type(directory.meta.profiles) == "table" and directory.meta.profiles or {}
  if offered[profile] ~= nil then
    return true
  end
  local names = {}
  for name in pairs(offered) do
    names[#names + 1] = tostring(name)
  end
  table.sort(names)
  return nil, fault.new("ca", 'the CA has no profile "%s" (%s)', profile,
    names[1] and "it has " .. table.concat(names, ", ") or "it has none: leave profile out")
end

local function replaced(pem)
  local certificate = pem and sluice.crypto.certificate(pem)
  return certificate and renewal.id(certificate)
end

local function try(self, name, kind, replaces)
  local found, err = registered(self)
  if not found then
    return nil, err
  end
  return order.run {
    ca = self._ca, account = found, challenges = self._challenges, name = name, kind = kind,
    profile = self._options.profile, replaces = replaces,
  }
end

-- A CA that was set up anew knows no account of ours: it is registered again, once.
local function try_again(self, name, kind, replaces)
  local pair, err = try(self, name, kind, replaces)
  if not pair and err.type == "accountDoesNotExist" then
    self._account = nil
    return try(self, name, kind, replaces)
  end
  return pair, err
end

-- What has worked last comes first from then on.
local function prefer(self, kind)
  local others = { kind }
  for _, other in ipairs(self._kinds) do
    others[#others + 1] = other ~= kind and other or nil
  end
  self._kinds = others
end

-- One kind of challenge after the other.
local function try_kinds(self, name, replaces)
  local texts, last = {}, nil
  for i, kind in ipairs(self._kinds) do
    local pair, err = try_again(self, name, kind, replaces)
    if pair then
      prefer(self, kind)
      return pair
    end
    last, texts[i] = err, err.text
    if err.scope ~= "name" or err.type == "rejectedIdentifier" or err.type == "caa" then
      return nil, err
    end
  end
  last.text = table.concat(texts, "; ")
  return nil, last
end

--- Orders a certificate; waits.
-- @tparam string name
-- @tparam[opt] string before the certificate (PEM) that this one takes the place of
-- @treturn ?table `cert` (with its chain), `key`: PEM
-- @treturn ?string what is wrong, and what to do about it
-- @treturn ?number seconds that the CA asks to wait
-- @treturn ?string who has to wait: "name" (this one), "ca" (all), "limit" (this one, and all for
-- a while)
function acme:issue(name, before)
  local pair, err = check_profile(self)
  if pair then
    pair, err = try_kinds(self, name, replaced(before))
  end
  if pair then
    return pair
  end
  if err.scope ~= "name" then
    self._ca:forget()
  end
  return nil, err.text, err.retry_after, err.scope
end

--- When the CA wants this certificate to be renewed; waits.
-- @tparam table certificate of sluice.crypto.certificate
-- @treturn ?table see sluice.acme.renewal; nil: it does not say
function acme:renewal(certificate)
  return renewal.ask(self._ca, certificate)
end

--- How far the clock of the CA is ahead of ours; asks it when that was long ago.
-- @treturn number seconds; 0 when it is not known
function acme:offset()
  self._ca:directory()
  return self._ca:offset()
end

return acme
