--- Certificates that are ordered when they are needed, and renewed in time. See
-- docs/certificates.md.
--
-- On the control thread a manager takes care of names; it gets certificates from an issuer
-- (sluice.acme, sluice.mkcert) and keeps them in a storage. On the workers the two hooks show them:
-- a handshake for a name without a certificate waits while one is issued.
--
-- @usage
--   local certificates = require "sluice.certificates"
--   local policy = { on_hello = certificates.on_hello, on_request = certificates.on_request }
--
--   function policy.start()
--     local storage = certificates.disk "/var/lib/certs"
--     local issuer = assert(acme.new { directory = acme.lets_encrypt, storage = storage })
--     local manager = assert(certificates.new { issuer = issuer, storage = storage })
--     manager:set_names { ["app.example.com"] = true }
--   end

local disk = require "sluice.certificates.disk"
local manager = require "sluice.certificates.manager"
local redis = require "sluice.certificates.redis"
local suggest = require "sluice.suggest"
local worker = require "sluice.certificates.worker"

local certificates = { disk = disk.new, redis = redis.new }

--- The two hooks of a worker: on_hello and on_request. What they remember is theirs.
function certificates.hooks()
  local state = worker.new()
  return {
    on_hello = function(hello)
      return state:on_hello(hello)
    end,
    on_request = function(req)
      return state:on_request(req)
    end,
  }
end

local hooks = certificates.hooks()
certificates.on_hello, certificates.on_request = hooks.on_hello, hooks.on_request

local types = {
  issuer = "table", storage = "table", allow = "function", eager = "boolean", renew = "boolean",
  renew_before = "number", budget = "table", max_unlisted = "number",
}

-- Let's Encrypt allows 300 orders in 3 hours, and 5 failures of a name in one.
local budget = { orders = 280, seconds = 3 * 3600, per_name = 5, per_name_seconds = 3600 }

local function with_budget(options)
  local result = { max_unlisted = 10000 }
  for key, value in pairs(options) do
    result[key] = value
  end
  result.budget = {}
  for key, value in pairs(budget) do
    result.budget[key] = (options.budget or {})[key] or value
  end
  return result
end

local function check(given, known, where)
  for key, value in pairs(given) do
    local expected = known[key] and (type(known[key]) == "string" and known[key]
      or type(known[key]))
    if not expected then
      error(("certificates: unknown %s %s%s"):format(where, tostring(key),
        suggest.hint(key, known)), 3)
    end
    if type(value) ~= expected then
      error(("certificates: %s %s must be a %s"):format(where, key, expected), 3)
    end
  end
end

--- Begins to take care of certificates, in the control thread. One at a time: the newest counts.
-- @tparam table options `issuer`: an object with issue(name, before), which returns
-- `{ cert, key }`, or nil, why, seconds to wait, and who has to ("name", "ca", "limit"), and if it
-- likes accepts(name), renewal(certificate) and offset(); `storage`, unless the issuer keeps
-- everything; `allow`: function(name, client_ip), may wait, says whether a name that is not listed
-- gets a certificate when somebody asks for it; `eager`: false orders for listed names only when
-- somebody asks for them; `renew`: false renews nothing; `renew_before`: seconds before the end,
-- else a third of the life; `budget`: `orders` in `seconds`, `per_name` in `per_name_seconds`;
-- `max_unlisted`: how many names allow() may let in
-- @treturn table see sluice.certificates.manager: set_names, add, remove, status, close
function certificates.new(options)
  check(options, types, "option")
  check(options.budget or {}, budget, "budget")
  if not options.issuer then
    error("certificates: option issuer is missing", 2)
  end
  return manager.new(with_budget(options))
end

return certificates
