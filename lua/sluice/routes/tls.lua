--- The `tls` of a route: who ends it, and with which certificate.

local check = require "sluice.check"
local keys = require "sluice.routes.keys"

local tls = {}

local modes = {
  passthrough = "passthrough",
  terminate = "terminate",
  ["terminate-and-reencrypt"] = "reencrypt",
}

-- People put PEM text into JSON with its line breaks escaped twice.
local function pem(c, value, label, path)
  if type(value) ~= "string" then
    c:fail(value == nil and "is missing" or "must be PEM text", path)
  end
  if not value:find("\n", 1, true) and value:find("\\n", 1, true) then
    value = value:gsub("\\r", ""):gsub("\\n", "\n")
  end
  if not value:find(label, 1, true) then
    c:fail(("holds no PEM block %s"):format(label), path)
  end
  return value
end

-- A public CA issues for whole host names that have a dot; for patterns it would want to see DNS.
local function can_be_issued(name)
  return name:find("^[a-z0-9][a-z0-9-]*%.[a-z0-9.-]+$") ~= nil and not name:find("^[%d.]+$")
end

-- The names that need a certificate, which somebody else takes care of: sluice.certificates.
local function automatic(c, spec)
  local names = {}
  for _, name in ipairs(spec.domains or {}) do
    if can_be_issued(name) then
      names[#names + 1] = name
    else
      c:warn(check.show(name) .. ' gets no certificate: "auto" is for whole names with a dot',
        "action.tls.certificate")
    end
  end
  if not names[1] then
    c:fail('"auto" needs match.domains with a whole name that has a dot', "action.tls.certificate")
  end
  return names
end

local function certificate(c, value)
  if value == "self-signed" then
    return value
  end
  if type(value) ~= "table" then
    c:fail((value == nil and "is missing" or check.show(value) .. " is not a certificate")
      .. ': give key and cert as PEM text, "auto" or "self-signed"', "action.tls.certificate")
  end
  local pair = c:object(value, keys.certificate, "action.tls.certificate")
  return {
    cert = pem(c, pair.cert, "BEGIN CERTIFICATE-----", "action.tls.certificate.cert"),
    key = pem(c, pair.key, "PRIVATE KEY-----", "action.tls.certificate.key"),
  }
end

--- Puts mode and certificate into the spec.
-- @treturn table what was given
function tls.compile(c, value, spec)
  local given = c:object(value, keys.tls, "action.tls")
  if given.mode == nil then
    c:fail("is missing: passthrough, terminate or terminate-and-reencrypt", "action.tls.mode")
  end
  spec.tls = c:one_of(given.mode, modes, "action.tls.mode")
  c:boolean(given.verify, false, "action.tls.verify")
  if spec.tls ~= "passthrough" then
    if given.certificate == "auto" then
      spec.auto = automatic(c, spec)
    elseif given.certificate ~= "hook" then -- which the on_hello of the script has
      spec.cert = certificate(c, given.certificate)
    end
  elseif given.certificate ~= nil then
    c:warn("ignored: the target shows its own certificate", "action.tls.certificate")
  end
  return given
end

return tls
