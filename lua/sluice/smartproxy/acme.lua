--- The `acme` of SmartProxy's configuration (IAcmeOptions), in terms of sluice.acme and
-- sluice.certificates. Pure.

local acme = require "sluice.acme"
local check = require "sluice.check"

local options = {}

local keys = {
  enabled = true, email = true, accountEmail = true, environment = true, useProduction = true,
  port = true, autoRenew = true, renewThresholdDays = true, certificateStore = true,
  directory = true, eab = true, caFile = true, challenges = true, profile = true, redis = true,
  renewCheckIntervalHours = check.ignore "certificates are renewed when it is time",
  skipConfiguredCerts = check.ignore 'only routes with the certificate "auto" get one',
  routeForwards = check.ignore "challenges are answered here",
}

local eab_keys = { kid = true, hmacKey = true }
local redis_keys = {
  host = true, port = true, unix = true, tls = true, verify = true, caFile = true,
  username = true, password = true, db = true, prefix = true,
}
local environments = { production = true, staging = true }
local default_store = "./certs"
local day = 86400

local function is_production(c, o)
  local production = c:boolean(o.useProduction, false, "acme.useProduction")
  if o.environment ~= nil then
    c:one_of(o.environment, environments, "acme.environment")
    production = o.environment == "production"
  end
  return production
end

local function text(c, o, name)
  return o[name] ~= nil and c:string(o[name], "acme." .. name) or nil
end

local function binding(c, value)
  if value == nil then
    return nil
  end
  local eab = c:object(value, eab_keys, "acme.eab")
  return {
    kid = c:string(eab.kid, "acme.eab.kid"),
    hmac_key = c:string(eab.hmacKey, "acme.eab.hmacKey"),
  }
end

local function redis_options(c, value)
  if value == nil then
    return nil
  end
  local o = c:object(value, redis_keys, "acme.redis")
  local options_of = {
    port = o.port ~= nil and c:port(o.port, "acme.redis.port") or nil,
    db = o.db ~= nil and c:integer(o.db, 0, 1000000, "a number of a database", "acme.redis.db")
      or nil,
    tls = c:boolean(o.tls, nil, "acme.redis.tls"),
    verify = c:boolean(o.verify, nil, "acme.redis.verify"),
    ca_file = o.caFile ~= nil and c:string(o.caFile, "acme.redis.caFile") or nil,
  }
  for _, name in ipairs { "host", "unix", "username", "password", "prefix" } do
    options_of[name] = o[name] ~= nil and c:string(o[name], "acme.redis." .. name) or nil
  end
  return options_of
end

local function renew_before(c, o)
  if o.renewThresholdDays == nil then
    return nil
  end
  return c:integer(o.renewThresholdDays, 1, 3650, "a number of days", "acme.renewThresholdDays")
    * day
end

local function issuer_options(c, o)
  local issuer = {
    directory = text(c, o, "directory")
      or (is_production(c, o) and acme.lets_encrypt or acme.lets_encrypt_staging),
    email = text(c, o, "email") or text(c, o, "accountEmail"),
    eab = binding(c, o.eab),
    ca_file = text(c, o, "caFile"),
    challenges = o.challenges,
    profile = text(c, o, "profile"),
  }
  local ok, err = acme.check(issuer)
  if not ok then
    c:fail(err, "acme")
  end
  return issuer
end

--- @param c a checker
-- @param value what the file says
-- @treturn ?table `issuer` (options of sluice.acme, without its storage), `store` (a folder),
-- `redis` (options of sluice.certificates.redis, which then has everything), `port` (where http-01
-- is answered, if it was said), `renew`, `renew_before`; nil: switched off
function options.parse(c, value)
  if value == nil then
    return nil
  end
  local o = c:object(value, keys, "acme")
  local settings = {
    issuer = issuer_options(c, o),
    store = text(c, o, "certificateStore") or default_store,
    redis = redis_options(c, o.redis),
    port = o.port ~= nil and c:port(o.port, "acme.port") or nil,
    renew = c:boolean(o.autoRenew, true, "acme.autoRenew"),
    renew_before = renew_before(c, o),
  }
  return c:boolean(o.enabled, true, "acme.enabled") and settings or nil
end

return options
