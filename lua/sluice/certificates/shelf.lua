--- Where the certificates of a manager lie: in its storage, and in service on the board.
--
-- A `state` is what the manager knows of a name: `name`; `certificate`, the facts of the one that
-- is in service; `renew_at` and `ask_at`, when it is to be renewed and the CA to be asked about
-- that; `failures` and `retry_at`, of orders.

local sluice = require "sluice"
local board = require "sluice.certificates.board"
local lock = require "sluice.certificates.lock"
local pair = require "sluice.certificates.pair"
local timing = require "sluice.certificates.timing"

local shelf = {}
shelf.__index = shelf

--- @tparam ?table storage nil: the issuer keeps everything
-- @tparam ?number renew_before seconds, see sluice.certificates.timing
function shelf.new(storage, renew_before)
  return setmetatable({ _storage = storage, _renew_before = renew_before }, shelf)
end

--- Puts a certificate into service.
-- @tparam table state
-- @tparam table issued `cert` and `key`: PEM
-- @tparam table certificate its facts
function shelf:put(state, issued, certificate)
  local ok, err = board.put(state.name, pair.text(issued))
  if not ok then
    sluice.log.error("a certificate cannot be put into service", { name = state.name, error = err })
  end
  local before = state.certificate
  if before and before.serial == certificate.serial and before.pin == certificate.pin then
    return -- it was only fetched again
  end
  state.certificate = certificate
  state.renew_at = timing.renew_at(certificate, self._renew_before)
  state.window, state.ask_at = nil, sluice.now()
  state.failures, state.retry_at = 0, 0
end

-- What was said once about a name is not said again each time that it is looked at.
local function complain(state, err)
  if not state.is_unusable then
    state.is_unusable = true
    sluice.log.warn("what the storage has for a name is not used", { name = state.name,
      error = err or "it is no certificate with its key" })
  end
end

--- Puts into service what the storage has; waits.
-- @treturn ?boolean true: there is one in service now; false: there is none; nil: the storage does
-- not say
-- @treturn ?string it, as PEM
function shelf:load(state)
  if not self._storage then
    state.certificate = board.get(state.name) and state.certificate
    return state.certificate ~= nil
  end
  local text, err = self._storage:read(state.name)
  if not text then
    if err ~= "not found" then
      sluice.log.error("the storage of certificates does not answer; what is in service stays",
        { name = state.name, error = err })
      return nil
    end
    return false
  end
  local issued, certificate = pair.parse(text), nil
  if issued then
    certificate, err = pair.check(issued, state.name)
  end
  if not certificate then
    complain(state, err)
    return false
  end
  self:put(state, issued, certificate)
  return true, issued.cert
end

--- Keeps a certificate for later; waits.
-- @treturn boolean
function shelf:keep(state, issued)
  local ok, err = true, nil
  if self._storage then
    ok, err = self._storage:write(state.name, pair.text(issued))
  end
  if not ok then
    sluice.log.error("a certificate is in service, but cannot be kept: after a restart it has to "
      .. "be ordered again", { name = state.name, error = err })
  end
  return ok
end

local function nothing()
end

--- Of several instances with one storage one orders and the others take what it has got; waits.
-- @treturn ?function unlocks
-- @treturn ?string
function shelf:lock(state)
  if not self._storage then
    return nothing
  end
  return lock.take(self._storage, state.name)
end

return shelf
