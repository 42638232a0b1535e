--- The side of the control thread: which names have certificates, who is asked whether they may,
-- and when it is time to do something about them. See sluice.certificates.

local sluice = require "sluice"
local ask = require "sluice.ask"
local board = require "sluice.certificates.board"
local challenges = require "sluice.acme.challenges"
local orders = require "sluice.certificates.orders"
local queue = require "sluice.certificates.queue"
local recent = require "sluice.certificates.recent"
local shelf = require "sluice.certificates.shelf"
local timing = require "sluice.certificates.timing"

local manager = {}
manager.__index = manager

local width = 4                            -- orders at a time
local max_refused, refused_for = 10000, 60 -- by allow()
local longest_sleep, shortest_sleep = 300, 0.2 -- a clock may be set while nothing happens
local storage_pause = 30                   -- seconds for a storage that does not answer
local ask_again = 6 * 3600                 -- about renewals, when the CA did not say

-- Names.

local function new_name(name, ports, is_listed)
  return { name = name, ports = ports, is_listed = is_listed, failures = 0, retry_at = 0 }
end

-- What workers are told.
local function refusal(seconds)
  return { state = "no", seconds = math.min(math.max(seconds, 1), refused_for) }
end

local function tell(self, state)
  local outcome = state.certificate and { state = "ready" } or refusal(self._orders:blocked(state))
  sluice.bus.publish(board.topic(state.name), sluice.json.encode(outcome))
end

local function is_allowed(self, name, ip)
  if not self._allow or self._refused:left(name) then
    return false
  end
  local ok, err = sluice.spawn(self._allow, name, ip):wait()
  if not ok then
    self._refused:note(name, refused_for)
    self._n_refused = self._n_refused + 1
    sluice.log.debug("a name was not allowed", { name = name, ip = ip, error = err })
  end
  return ok and true or false
end

-- Somebody who was let in by allow() may have gone since.
local function is_wanted(self, state)
  return state.is_listed or not state.certificate or is_allowed(self, state.name)
end

local function work(self, name)
  local state = self._names[name]
  if not state or self._is_closed then
    return
  end
  state.is_over = false
  if is_wanted(self, state) then
    self._orders:run(state)
  else
    self:remove(state.name)
  end
  state.is_over = true
  tell(self, state)
  self:_wake_at(self._orders:next_at(state))
end

-- Time.

function manager:_wake_at(at)
  if self._is_closed or (self._timer and self._timer_at <= at) then
    return
  end
  if self._timer then
    self._timer:cancel()
  end
  local now = sluice.now()
  local wait = math.min(math.max(at - now, shortest_sleep), longest_sleep)
  self._timer_at = now + wait
  self._timer = sluice.timer(wait, function()
    self._timer = nil
    self:_look()
  end)
end

-- Looks at all names; those that are about to expire come first.
function manager:_look()
  local due, now, nearest = {}, sluice.now(), math.huge
  for name, state in pairs(self._names) do
    if state.is_loaded and not self._queue:has(name)
      and (state.certificate or (self._eager and state.is_listed)) then
      local at = self._orders:next_at(state)
      if at <= now then
        due[#due + 1] = state
      else
        nearest = math.min(nearest, at)
      end
    end
  end
  table.sort(due, function(a, b)
    return (a.certificate and a.certificate.not_after or math.huge)
      < (b.certificate and b.certificate.not_after or math.huge)
  end)
  for _, state in ipairs(due) do
    self._queue:add(state.name, state.certificate ~= nil)
  end
  self:_wake_at(math.min(nearest, now + longest_sleep))
end

-- What the CA says about the time of renewals (RFC 9773), one name after the other.
local function ask_about_renewals(self)
  for _, state in pairs(self:_snapshot()) do
    if not self._is_closed and state.certificate and sluice.now() >= state.ask_at then
      local said = self._issuer:renewal(state.certificate)
      state.ask_at = sluice.now() + (said and said.ask_after or ask_again)
      if said then
        timing.take_window(state, said)
        self:_wake_at(self._orders:next_at(state))
      end
    end
  end
end

function manager:_snapshot()
  local copy = {}
  for name, state in pairs(self._names) do
    copy[name] = state
  end
  return copy
end

-- Questions of workers.

local function accepts(self, name)
  return not self._issuer.accepts or self._issuer:accepts(name)
end

-- Names that were let in, got nothing and may be tried again make room for others.
local function make_room(self)
  if self._n_unlisted < self._max_unlisted then
    return true
  end
  for name, state in pairs(self:_snapshot()) do
    if not state.is_listed and not state.certificate and not self._queue:has(name)
      and state.retry_at <= sluice.now() then
      self:remove(name)
    end
  end
  return self._n_unlisted < self._max_unlisted
end

-- The state of a name that a visitor asks for; nil: it gets no certificate.
local function find(self, name, ip)
  local state = self._names[name]
  if state then
    return state
  end
  if not accepts(self, name) or not is_allowed(self, name, ip) or not make_room(self) then
    return nil
  end
  if not self._names[name] then -- allow() may have waited
    self._n_unlisted = self._n_unlisted + 1
    self._names[name] = new_name(name, nil, false)
  end
  return self._names[name]
end

local function answer(self, question)
  if question.challenge then
    self._challenges:fetch(question.challenge, question.what)
    return { state = "ready" }
  end
  local state = find(self, question.name, question.ip)
  if not state then
    return refusal(refused_for)
  end
  if self._queue:has(state.name) and not state.is_over then
    return { state = "pending" }
  end
  if self._shelf:load(state) == nil then
    return refusal(2)
  end
  state.is_loaded = true
  if state.certificate then
    self:_wake_at(self._orders:next_at(state))
    return { state = "ready" }
  end
  local wait = self._orders:blocked(state)
  if wait > 0 or self._queue:has(state.name) then
    return refusal(wait)
  end
  state.is_over = false
  self._queue:add(state.name, false)
  return { state = "pending" }
end

-- The list of names.

local function load_all(self)
  for name, state in pairs(self:_snapshot()) do
    if self._names[name] == state and not state.is_loaded and not self._is_closed then
      if sluice.spawn(self._shelf.load, self._shelf, state):wait() == nil then
        state.retry_at = sluice.now() + storage_pause -- for whatever reason
      end
      state.is_loaded = true
    end
  end
  self:_look()
end

-- One after the other: names that come while others are loaded are loaded after them.
local function load_soon(self)
  if self._is_loading then
    self._has_more = true
    return
  end
  self._is_loading = true
  sluice.spawn(function()
    repeat
      self._has_more = false
      sluice.spawn(load_all, self):wait()
    until not self._has_more
    self._is_loading = false
  end)
end

local function add(self, name, ports)
  local state = self._names[name]
  if not accepts(self, name) then
    sluice.log.warn("no certificate can be had for this name", { name = name })
    return
  end
  if not state then
    state = new_name(name, ports, true)
    self._names[name] = state
  elseif not state.is_listed then
    self._n_unlisted = self._n_unlisted - 1
  end
  state.is_listed, state.ports = true, ports
  local ok, err = board.want(self._epoch, name, ports)
  if not ok then
    sluice.log.error("there is no room for a further name with a certificate",
      { name = name, error = err })
  end
end

--- Serves this name, too.
-- @tparam string name in lower case
-- @tparam[opt] table ports on which it is served; all
function manager:add(name, ports)
  add(self, name, ports)
  board.settle(self._epoch)
  load_soon(self)
end

--- Serves this name no more. What is in the storage stays there.
function manager:remove(name)
  local state = self._names[name]
  if state then
    self._names[name] = nil
    self._n_unlisted = self._n_unlisted - (state.is_listed and 0 or 1)
    board.unwant(name)
  end
end

--- Serves these names and no others, but for those that allow() lets in.
-- @tparam table names name to `true` or to a list of ports
function manager:set_names(names)
  for name, state in pairs(self:_snapshot()) do
    if state.is_listed and not names[name] then
      self:remove(name)
    end
  end
  for name, ports in pairs(names) do
    add(self, name, ports ~= true and ports or nil)
  end
  board.settle(self._epoch)
  load_soon(self)
end

--- How it is, as numbers for those who watch.
-- @treturn table names, live, expiring (less than a tenth of their life is left), waiting (without
-- a certificate), orders, issued, renewed, failed, refused (by allow), not_stored, paused_for,
-- clock_is_off_by, last_error
function manager:status()
  local status = { names = 0, live = 0, expiring = 0, waiting = 0, refused = self._n_refused }
  for key, value in pairs(self._orders.stats) do
    status[key] = value
  end
  local now = self._orders:time()
  for _, state in pairs(self._names) do
    local kind = state.certificate and "live" or "waiting"
    status.names, status[kind] = status.names + 1, status[kind] + 1
    if state.certificate
      and state.certificate.not_after - now < timing.life(state.certificate) / 10 then
      status.expiring = status.expiring + 1
    end
  end
  status.paused_for = math.ceil(self._orders:paused())
  status.clock_is_off_by = self._orders:offset()
  return status
end

--- Ends it. What is in service stays there, for a newer one; set_names {} before takes it down.
function manager:close()
  self._is_closed = true
  self._subscription:cancel()
  for _, name in ipairs { "_timer", "_renewal_timer" } do
    if self[name] then
      self[name]:cancel()
    end
  end
  for name in pairs(self._names) do
    board.drop(self._epoch, name)
  end
end

--- Begins; see sluice.certificates.new, which checks the options.
function manager.new(options)
  local storage = options.storage
  local is_shared = storage and storage:is_shared() or false
  local own_shelf, renews = shelf.new(storage, options.renew_before), options.renew ~= false
  local self = setmetatable({
    _issuer = options.issuer,
    _shelf = own_shelf,
    _orders = orders.new(options.issuer, own_shelf, options.budget, renews),
    _allow = options.allow,
    _eager = options.eager ~= false,
    _challenges = challenges.new(is_shared and storage or nil),
    _names = {},
    _n_unlisted = 0,
    _max_unlisted = options.max_unlisted,
    _refused = recent.new(max_refused),
    _n_refused = 0,
  }, manager)
  self._queue = queue.new(width, function(name)
    work(self, name)
  end)
  self._epoch = board.begin(options.allow ~= nil, is_shared)
  self._subscription = ask.serve(board.question(self._epoch), function(question)
    return sluice.json.encode(answer(self, sluice.json.decode(question)))
  end)
  if options.issuer.renewal and renews then
    self._renewal_timer = sluice.every(longest_sleep, function()
      ask_about_renewals(self)
    end)
  end
  return self
end

return manager
