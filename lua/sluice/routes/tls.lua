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

local function certificate(c, value)
  if value == "self-signed" then
    return value
  end
  if value == "auto" then
    c:fail('"auto" is not supported yet; give key and cert as PEM text, or "self-signed"',
      "action.tls.certificate")
  end
  if type(value) ~= "table" then
    c:fail((value == nil and "is missing" or check.show(value) .. " is not a certificate")
      .. ': give key and cert as PEM text, or "self-signed"', "action.tls.certificate")
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
    spec.cert = certificate(c, given.certificate)
  elseif given.certificate ~= nil then
    c:warn("ignored: the target shows its own certificate", "action.tls.certificate")
  end
  return given
end

return tls
