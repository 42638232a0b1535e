--- Where a core-server has its certificates from: mkcert in local mode, an ACME authority in
-- release mode. Both only when somebody asks for a name.

local acme = require "sluice.acme"
local certificates = require "sluice.certificates"
local mkcert = require "sluice.mkcert"
local sluice = require "sluice"

local source = {}

-- mkcert asks nobody, so nobody has to be spared.
local no_budget = { orders = 1000000, seconds = 60, per_name = 60, per_name_seconds = 60 }

local how_to = "install mkcert (https://github.com/FiloSottile/mkcert), run `mkcert -install` once "
  .. "and start again"

local function from_mkcert(settings)
  if settings.mkcert == "off" then
    sluice.log.info "names are served over HTTP: mkcert is switched off"
    return nil
  end
  local issuer = mkcert.new { command = settings.mkcert, folder = settings.certs }
  local root, err = issuer:find()
  if not root then
    sluice.log.warn("names are served over HTTP only", { error = "mkcert: " .. err,
      ["for HTTPS"] = how_to })
    return nil
  end
  sluice.log.info("certificates come from mkcert; browsers trust them after `mkcert -install`",
    { ca = root, folder = settings.certs })
  return certificates.new { issuer = issuer, eager = false, budget = no_budget,
    allow = settings.any_name and function() return true end or nil }
end

local function from_acme(settings)
  local storage = certificates.disk(settings.certs)
  local issuer, err = acme.new {
    directory = settings.acme_directory or acme.lets_encrypt, storage = storage,
    email = settings.acme_email, ca_file = settings.acme_ca_file,
    challenges = settings.acme_challenges,
    eab = settings.acme_eab_kid and { kid = settings.acme_eab_kid,
      hmac_key = settings.acme_eab_key },
  }
  if not issuer then
    return nil, err
  end
  return certificates.new { issuer = issuer, storage = storage, eager = false }
end

--- Begins to take care of certificates. Waits.
-- @tparam table settings from sluice.coreserver.settings
-- @treturn ?table a manager; nil: there is no HTTPS
-- @treturn ?string what is wrong with the settings
function source.start(settings)
  return (settings.is_release and from_acme or from_mkcert)(settings)
end

return source
