--- Coreflow mode: routes pushed by a Coreflow, of which the newest wins.
--
-- Each push is the complete set of hosts. It is applied as a whole, one after another; pushes that
-- come meanwhile replace each other (sluice.taskbuffer), and each is answered with how the run went
-- that covered it. An entry that is wrong takes nobody else down: if its host was served before,
-- that goes on, the rest of the push goes live, and Coreflow is told which entry it was.
--
-- What runs stays when the connection or Coreflow itself goes, and through a reload of the script.
--
-- @usage
--   local service = coreflow.new(assert(settings.read(sluice.env, sluice.args)))
--   assert(service:start())
--   service:run() -- waits for ever

local configs = require "sluice.coreflow.configs"
local routes = require "sluice.routes"
local sluice = require "sluice"
local taskbuffer = require "sluice.taskbuffer"
local typedsocket = require "sluice.typedsocket"

local coreflow = {}
coreflow.__index = coreflow

-- Seconds between two applications, so that a storm of pushes costs two a second at most.
local interval = 0.5

-- What is said of refused entries, in an answer and in the log at a time.
local most_said, most_logged = 20, 100

--- @tparam table settings see sluice.coreflow.settings
-- @tparam[opt] table with `connect` for sluice.typedsocket
function coreflow.new(settings, with)
  local self = setmetatable({
    _settings = {
      http_port = settings.http_port, https_port = settings.https_port,
      alt_svc_port = settings.alt_svc_port, version = sluice.version,
    },
    _live = {}, -- { label, entry, spec } by label
    _told = {}, -- complaint by label, as logged
  }, coreflow)
  self._redirect = assert(routes.compile_one(configs.redirect(self._settings)))
  self._buffer = taskbuffer.new(function(list)
    return self:apply(list)
  end, { spawn = sluice.spawn, sleep = sluice.sleep, now = sluice.now, interval = interval })
  self._socket = typedsocket.new {
    url = settings.url,
    tag = "coretraffic",
    connect = with and with.connect,
    handlers = {
      updateRouting = function(request)
        return self:update(request)
      end,
    },
  }
  return self
end

local function compile(self, entry)
  local route, err = configs.route(entry, self._settings)
  if not route then
    return nil, err
  end
  local spec
  spec, err = routes.compile_one(route)
  if not spec then
    return nil, configs.in_words(err)
  end
  return spec
end

-- The host of an entry: what ran before when nothing has changed.
local function host_of(self, entry, label)
  local before = self._live[label]
  if before and configs.is_same(before.entry, entry) then
    return before
  end
  local spec, err = compile(self, entry)
  return spec and { label = label, entry = entry, spec = spec }, err
end

-- The hosts of a push, and the entries that are wrong by themselves.
local function read(self, list)
  local hosts, refused, taken = {}, {}, {}
  for i = 1, #list do
    local label = configs.label(list[i], i - 1)
    local host, err = host_of(self, list[i], label)
    if not host then
      table.insert(refused, { label = label, error = err })
    elseif taken[label] then
      table.insert(refused, { label = label, is_note = true,
        error = "hostName: is also that of an earlier entry, which counts" })
    else
      taken[label] = true
      table.insert(hosts, host)
    end
  end
  return hosts, refused
end

-- What ran before for the refused entries comes back in, unless another entry serves the host.
local function restore(self, hosts, refused)
  local taken, n = {}, #hosts
  for _, host in ipairs(hosts) do
    taken[host.label] = true
  end
  for _, entry in ipairs(refused) do
    local before = self._live[entry.label]
    if before and not taken[entry.label] then
      taken[entry.label] = true
      entry.is_kept = true
      table.insert(hosts, before)
    end
  end
  return #hosts > n
end

-- Makes hosts live, with the redirect. Returns also those that the data plane refused, by place;
-- the redirect is at 0.
local function publish(self, hosts)
  local specs = { self._redirect }
  for i, host in ipairs(hosts) do
    specs[i + 1] = host.spec
  end
  local result, err = routes.publish_good(specs)
  if not result then
    return nil, err
  end
  local errors = {}
  for _, bad in ipairs(result.refused or {}) do
    errors[bad.index - 1] = configs.in_words(bad.error)
  end
  return result, errors
end

local function without(hosts, errors, refused)
  local good = {}
  if errors[0] then
    table.insert(refused, { label = "the redirect to HTTPS", error = errors[0] })
  end
  for i, host in ipairs(hosts) do
    if errors[i] then
      table.insert(refused, { label = host.label, error = errors[i] })
    else
      table.insert(good, host)
    end
  end
  return good
end

-- Makes live what can be; once more when an older version can stand in for what cannot.
local function publish_good(self, hosts, refused)
  restore(self, hosts, refused)
  local result, errors = publish(self, hosts)
  if not result or next(errors) == nil then
    return result, result and hosts or errors
  end
  hosts = without(hosts, errors, refused)
  if restore(self, hosts, refused) then
    result, errors = publish(self, hosts)
  end
  return result, result and hosts or errors
end

local function result_of(entry)
  if entry.is_note then
    return "ignored"
  end
  return entry.is_kept and "as it was before" or "not served"
end

-- Each complaint once, until it changes or the entry is right.
local function log_refused(self, refused)
  local told, n = {}, 0
  for _, entry in ipairs(refused) do
    if self._told[entry.label] ~= entry.error then
      n = n + 1
      if n <= most_logged then
        sluice.log.warn("an entry from Coreflow is wrong", { host = entry.label,
          error = entry.error, result = result_of(entry) })
      end
    end
    told[entry.label] = entry.error
  end
  if n > most_logged then
    sluice.log.warn("more entries from Coreflow are wrong", { more = n - most_logged })
  end
  self._told = told
end

local function answer(refused)
  local said, n = {}, 0
  for _, entry in ipairs(refused) do
    n = n + (entry.is_note and 0 or 1)
    if not entry.is_note and n <= most_said then
      said[n] = ("%s: %s"):format(entry.label, entry.error:sub(1, 300))
    end
  end
  if n > most_said then
    table.insert(said, ("and %d more"):format(n - most_said))
  end
  return { status = n == 0 and "ok" or "error", errorText = table.concat(said, "; ") }
end

local function remember(self, hosts)
  self._live = {}
  for _, host in ipairs(hosts) do
    self._live[host.label] = host
  end
end

--- Makes a push live and waits until it is.
-- @tparam table list IReverseProxyConfig[]
-- @treturn table the response for Coreflow
function coreflow:apply(list)
  local hosts, refused = read(self, list)
  local result, live = publish_good(self, hosts, refused)
  if not result then
    sluice.log.error("the routes of Coreflow could not be applied, what ran before goes on",
      { error = live, hosts = #list })
    return { status = "error", errorText = live }
  end
  remember(self, live)
  log_refused(self, refused)
  sluice.log.info("routes are live",
    { hosts = #live, compiled = result.compiled, refused = #refused })
  return answer(refused)
end

local function is_array(value)
  return type(value) == "table" and value ~= sluice.json.null
    and (value[1] ~= nil or next(value) == nil)
end

--- Handles a call of updateRouting.
function coreflow:update(request)
  local list = type(request) == "table" and request.reverseConfigs
  if not is_array(list) then
    sluice.log.warn("a push without an array of reverseConfigs was refused")
    return { status = "error", errorText = "reverseConfigs must be an array" }
  end
  return self._buffer:run(list)
end

--- Serves the redirect until the first push comes. After a reload of the script routes are there
-- already, and stay.
-- @treturn ?true
-- @treturn ?string why not
function coreflow:start()
  if (sluice.stats().routes_count or 0) > 0 then
    return true
  end
  local result, errors = publish(self, {})
  if not result or errors[0] then
    return nil, result and errors[0] or errors
  end
  return true
end

--- Stays connected to Coreflow until close() is called.
function coreflow:run()
  self._socket:run()
end

--- Ends the connection in order; what runs goes on.
function coreflow:close()
  self._socket:close()
end

return coreflow
