--- Orders: who may be ordered for, how often, and what follows when an issuer does not give a
-- certificate.
--
-- What is in service stays there until there is something better, whatever the CA, the storage or
-- the clock do. A `state` is that of sluice.certificates.shelf.

local sluice = require "sluice"
local backoff = require "sluice.certificates.backoff"
local budget = require "sluice.certificates.budget"
local pair = require "sluice.certificates.pair"
local timing = require "sluice.certificates.timing"

local orders = {}
orders.__index = orders

local for_new = 0.75                        -- of the budget; the rest is for renewals
local first_wait, longest_wait = 60, 6 * 3600 -- a name that fails
local first_pause, longest_pause = 30, 3600 -- a CA that fails
local wrong_clock = 3600                    -- seconds from which on our clock is wrong

--- @tparam table issuer see sluice.certificates.new
-- @tparam table shelf of sluice.certificates.shelf
-- @tparam table limits `orders` in `seconds`, `per_name` in `per_name_seconds`
-- @tparam boolean renews
function orders.new(issuer, shelf, limits, renews)
  return setmetatable({
    _issuer = issuer,
    _shelf = shelf,
    _limits = limits,
    _budget = budget.new(limits.orders, limits.seconds),
    _renews = renews,
    _ca_failures = 0,
    _pause_until = 0,
    _offset = 0,
    stats = { orders = 0, issued = 0, renewed = 0, failed = 0, not_stored = 0 },
  }, orders)
end

--- Seconds since 1970 as the CA has them, if it was heard lately.
function orders:time()
  return sluice.time() + self._offset
end

--- How far the CA is ahead of our clock.
function orders:offset()
  return self._offset
end

--- How long nothing is ordered at all, in seconds.
function orders:paused()
  return math.max(self._pause_until - sluice.now(), 0)
end

--- How long nothing may be ordered for this name; 0: it may be now.
function orders:blocked(state)
  local wait = math.max(state.retry_at - sluice.now(), self:paused())
  if wait > 0 then
    return wait
  end
  state.budget = state.budget or budget.new(self._limits.per_name, self._limits.per_name_seconds)
  return math.max(self._budget:wait(state.certificate and 1 or for_new), state.budget:wait())
end

--- When something has to be done about a name, or had to be, on the clock that only goes forward.
function orders:next_at(state)
  local at = 0
  if state.certificate then
    at = self._renews and sluice.now() + state.renew_at - self:time() or math.huge
  end
  return math.max(at, state.retry_at, self._pause_until)
end

-- Failures.

local function pause(self, retry_after)
  self._ca_failures = self._ca_failures + 1
  local wait = backoff.wait(self._ca_failures, first_pause, longest_pause)
  self._pause_until = sluice.now() + math.max(wait, retry_after or 0)
end

-- Who has to wait, and for how long.
local function put_off(self, state, retry_after, scope)
  if scope == "ca" then
    pause(self, retry_after)
    state.retry_at = self._pause_until
    return
  end
  if scope == "limit" then
    pause(self)
  end
  state.failures = state.failures + 1
  local wait = backoff.wait(state.failures, first_wait, longest_wait)
  state.retry_at = sluice.now() + math.max(wait, retry_after or 0)
end

local function complain(self, state, err)
  local left = state.certificate and state.certificate.not_after - self:time()
  local fields = {
    name = state.name,
    error = err,
    retry_in = math.ceil(self:next_at(state) - sluice.now()),
    expires_in = left and math.floor(left),
  }
  if not left then
    sluice.log.warn("no certificate was issued", fields)
  elseif left < timing.life(state.certificate) / 10 then
    sluice.log.error("a certificate is about to expire and was not renewed", fields)
  else
    sluice.log.warn("a certificate was not renewed, the old one stays in service", fields)
  end
end

local function failed(self, state, err, retry_after, scope)
  self.stats.failed = self.stats.failed + 1
  self.stats.last_error = ("%s: %s"):format(state.name, err)
  put_off(self, state, retry_after, scope)
  complain(self, state, err)
end

-- One order.

local function issue(self, state, before)
  self._budget:take()
  self.stats.orders = self.stats.orders + 1
  local issued, err, retry_after, scope = self._issuer:issue(state.name, before)
  if scope ~= "ca" then -- a CA that is not well is not the fault of the name
    state.budget:take()
  end
  if not issued then
    return failed(self, state, err, retry_after, scope)
  end
  local certificate, why = pair.check(issued, state.name)
  if not certificate then
    return failed(self, state, why)
  end
  local kind = state.certificate and "renewed" or "issued"
  self.stats[kind] = self.stats[kind] + 1
  self._ca_failures, self._pause_until = 0, 0
  self._shelf:put(state, issued, certificate)
  if not self._shelf:keep(state, issued) then
    self.stats.not_stored = self.stats.not_stored + 1
  end
  sluice.log.info("a certificate was " .. kind, { name = state.name, issuer = certificate.issuer,
    valid_for = math.floor(timing.life(certificate)) })
end

local function is_due(self, state)
  return not state.certificate or (self._renews and self:time() >= state.renew_at)
end

-- A clock that is wrong makes certificates look due, or not due. The CA knows better.
local function look_at_clock(self)
  local offset = self._issuer.offset and self._issuer:offset() or 0
  if math.abs(offset) >= wrong_clock and math.abs(self._offset - offset) > 60 then
    sluice.log.error("the clock of this machine is wrong: set it; until then the CA's counts for "
      .. "renewals", { ca_is_ahead_by = math.floor(offset) })
  end
  self._offset = offset
end

local function put_off_for_storage(state)
  state.retry_at = sluice.now() + backoff.wait(1, first_pause, longest_pause)
end

local function order(self, state)
  local is_there, before = self._shelf:load(state)
  if is_there == nil then
    put_off_for_storage(state)
    return true
  end
  look_at_clock(self)
  local wait = self:blocked(state)
  if wait > 0 then
    state.retry_at = math.max(state.retry_at, sluice.now() + wait)
  elseif is_due(self, state) then
    issue(self, state, before)
  end
  return true
end

--- Gets a certificate for a name, from the storage or from the issuer, if it is due and may be
-- ordered; waits. What came of it is in the state.
function orders:run(state)
  local unlock, err = self._shelf:lock(state)
  if not unlock then
    sluice.log.error("no certificate was ordered: the storage cannot be locked",
      { name = state.name, error = err })
    return put_off_for_storage(state)
  end
  local ok
  ok, err = sluice.spawn(order, self, state):wait()
  unlock()
  if not ok then
    failed(self, state, tostring(err)) -- a mistake of ours, or of the issuer
  end
end

return orders
