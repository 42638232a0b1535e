--- A core-server: names that programs register are served on one port, each from the port of its
-- program. docs/core-server.md is for those who use it.
--
-- State is the registry; routes are made of it, all at once, after each change. Changes that come
-- while one is being made live go live together, a single one is not delayed.
--
-- @usage
--   local service = coreserver.new(assert(settings.read(sluice.env, sluice.args)))
--   assert(service:start())

local certificates = require "sluice.coreserver.certificates"
local health = require "sluice.coreserver.health"
local hooks = require "sluice.coreserver.hooks"
local listeners = require "sluice.coreserver.listeners"
local registry = require "sluice.coreserver.registry"
local routes = require "sluice.coreserver.routes"
local sluice = require "sluice"
local sluice_routes = require "sluice.routes"
local state = require "sluice.coreserver.state"
local takeover = require "sluice.coreserver.takeover"
local taskbuffer = require "sluice.taskbuffer"

local coreserver = {}
coreserver.__index = coreserver

-- Seconds between two sets of routes; the first is never delayed.
local interval = 0.05

local max_names = 100000
local max_file = 64 * 1048576
local state_mode = 420 -- 0644, as of the original

local function buffer(work, seconds)
  return taskbuffer.new(work, { spawn = sluice.spawn, sleep = sluice.sleep, now = sluice.now,
    interval = seconds })
end

--- @tparam table settings from sluice.coreserver.settings
function coreserver.new(settings)
  local self = setmetatable({
    _settings = settings, _specs = setmetatable({}, { __mode = "k" }),
    _registry = registry.new(), _started = sluice.time(),
  }, coreserver)
  self._health = health.new(function(domain)
    return self._registry:find(domain)
  end)
  self._saver = buffer(function()
    return self:_save()
  end)
  self._publisher = buffer(function()
    return self:_publish()
  end, interval)
  self._listeners = listeners.new {
    port = settings.udp and settings.command_port or nil,
    socket = settings.folder and settings.folder .. "/control.sock",
    execute = function(command, waits)
      return self:execute(command, waits)
    end,
  }
  self._takeover = takeover.new {
    path = settings.folder and settings.folder .. "/takeover.sock", listeners = self._listeners,
  }
  return self
end

-- The file.

local function state_file(self)
  return self._settings.folder and self._settings.folder .. "/forward_targets.txt"
end

local function is_own_port(self, port)
  return port == self._rules.http_port or port == self._rules.https_port
end

local function check_entry(self, entry)
  if is_own_port(self, entry.port) then
    return nil, ("port %d is one of ours: that would be a loop"):format(entry.port)
  end
  return true
end

-- What the file says; without a file what this process knew before a reload. False: nobody knows
-- what it says.
local function read_state(path)
  if not path then
    return sluice.shared("sluice.coreserver"):get "state"
  end
  local text, err = sluice.file.read(path, max_file)
  if not text and err ~= "not found" then
    sluice.log.error("the state file cannot be read, and is left alone",
      { path = path, error = err })
    return false
  end
  return text
end

local function write_state(path, text)
  if not path then
    return sluice.shared("sluice.coreserver"):set("state", text)
  end
  return sluice.file.write(path, text, { mode = state_mode })
end

local function load(self)
  local path = state_file(self)
  local text = read_state(path)
  local list, bad = state.parse(text or "")
  for _, problem in ipairs(bad) do
    sluice.log.warn("a line of the state file is wrong", { path = path, error = problem })
  end
  self._registry = registry.new()
  local domains = {}
  for _, entry in ipairs(list) do
    local ok, why = check_entry(self, entry)
    if ok then
      self._registry:add(entry.domain, entry.port)
      domains[entry.domain] = true
    else
      sluice.log.warn("a line of the state file is wrong", { path = path, error = why })
    end
  end
  self._saved, self._may_save = text or nil, text ~= false
  if self._certificates then
    self._certificates:set_names(domains)
  end
end

function coreserver:_save()
  self._is_unsaved = false
  local text = state.text(self._registry:list())
  if text == self._saved then
    return true
  elseif not self._may_save then
    return nil, "the state file could not be read, and is left alone"
  end
  local path = state_file(self)
  local ok, err = write_state(path, text)
  if not ok then
    sluice.log.error("the names cannot be remembered", { path = path, error = err })
    return nil, err
  end
  self._saved = text
  return true
end

-- Routes.

local function spec_of(self, entry)
  local spec = self._specs[entry]
  if not spec then
    spec = assert(sluice_routes.compile_one(routes.forward(entry, self._rules)))
    self._specs[entry] = spec
  end
  return spec
end

local function specs_of(self)
  local list, specs = self._registry:list(), {}
  for i, entry in ipairs(list) do
    specs[i] = spec_of(self, entry)
  end
  for _, route in ipairs(routes.common(list, self._rules)) do
    table.insert(specs, assert(sluice_routes.compile_one(route)))
  end
  return specs
end

-- All or nothing at the start: without its ports this program is of no use. Later on what has not
-- changed is known by its table.
local function publish(self)
  local specs = specs_of(self)
  if not self._is_up then
    return sluice_routes.publish_compiled(specs, { places = {} })
  end
  local result, err = sluice_routes.publish_good(specs)
  local bad = result and result.refused and result.refused[1]
  if bad then
    err = ("%s: %s"):format(specs[bad.index].name, bad.error)
  end
  return not err and result, err
end

-- After a reload of the script the newer state speaks.
local function is_newest(self)
  return sluice.shared("sluice.coreserver"):get "epoch" == self._epoch
end

function coreserver:_publish()
  self._is_unpublished = false
  if not is_newest(self) then
    return true
  end
  local ok, err = publish(self)
  if not ok then
    sluice.log.error("the routes could not be changed", { error = err })
  end
  return ok, err
end

-- However many changes nobody waits for, there is one task that waits.
local function soon(self, buffered, flag)
  if not self[flag] then
    self[flag] = true
    sluice.spawn(function()
      buffered:run()
    end)
  end
end

-- Makes a change live, and writes it.
local function apply(self, waits)
  if not waits then
    soon(self, self._saver, "_is_unsaved")
    soon(self, self._publisher, "_is_unpublished")
    return true
  end
  local saving = sluice.spawn(function()
    return self._saver:run()
  end)
  local ok, err = self._publisher:run()
  local is_saved, why = saving:wait()
  return ok and is_saved, err or why
end

-- Commands.

local handlers = {}

function handlers.add(self, command, waits)
  local ok, err = check_entry(self, command)
  if not ok then
    return nil, err
  elseif not self._registry:find(command.domain) and #self._registry:list() >= max_names then
    return nil, "there are too many names"
  end
  local is_known = self._registry:find(command.domain) ~= nil
  local is_change = self._registry:add(command.domain, command.port)
  self._health:forget(command.domain)
  sluice.log.info("added", { name = command.domain, port = command.port })
  if self._certificates and not is_known then
    self._certificates:add(command.domain)
  end
  if is_change or waits then
    ok, err = apply(self, waits)
  end
  return ok and "", err
end

function handlers.remove(self, command, waits)
  if not self._registry:remove(command.domain) then
    return nil, command.domain .. " is not known"
  end
  self._health:forget(command.domain)
  if self._certificates then
    self._certificates:remove(command.domain)
  end
  sluice.log.info("removed", { name = command.domain })
  local ok, err = apply(self, waits)
  return ok and "", err
end

function handlers.list(self)
  local text = state.text(self._registry:list())
  return text == "" and "" or text .. "\n"
end

function handlers.status(self)
  return sluice.json.encode(self:status()) .. "\n"
end

function handlers.shutdown(self)
  sluice.log.info "told to shut down"
  self._listeners:close_udp() -- whoever takes our place has 10 ms to wait for it
  sluice.drain()
  return ""
end

--- Does what a command says.
-- @tparam table command from sluice.coreserver.commands
-- @tparam boolean waits whether to return only when everything is live and written
-- @treturn ?string what is said about it: "", or lines
-- @treturn ?string what is wrong
function coreserver:execute(command, waits)
  return handlers[command.word](self, command, waits)
end

--- How it is, as a table for JSON.
function coreserver:status()
  local names = sluice.json.array {}
  for i, entry in ipairs(self._registry:list()) do
    local since = self._health:down_since(entry.domain)
    names[i] = { domain = entry.domain, port = entry.port, stale = since ~= nil,
      staleSince = since and math.floor(since) }
  end
  return {
    version = sluice.version, mode = self._settings.mode,
    https = self._certificates ~= nil, httpPort = self._rules.http_port,
    httpsPort = self._rules.https_port, uptime = math.floor(sluice.time() - self._started),
    stateFile = state_file(self), names = names, stale = self._health:count(),
  }
end

-- Life.

local function make_folder(self)
  local folder = self._settings.folder
  if not folder then
    sluice.log.warn "neither HOME nor XDG_CONFIG_HOME is set: names will not be remembered"
    return
  end
  local ok, err = sluice.file.mkdir(folder)
  if not ok then
    sluice.log.error("the folder for the state cannot be made", { path = folder, error = err })
  end
end

--- Serves what is remembered, and takes commands.
-- @treturn ?true
-- @treturn ?string what is wrong
function coreserver:start()
  local s = self._settings
  local manager, wrong = certificates.start(s)
  if wrong then
    return nil, wrong
  end
  self._certificates = manager
  self._rules = { http_port = s.http_port, https_port = manager and s.https_port,
    is_public = s.is_release }
  self._epoch = sluice.shared("sluice.coreserver"):incr("epoch", 1, 0)
  make_folder(self)
  local ok, err = self._takeover:begin()
  if not ok then
    return nil, err
  end
  load(self)
  ok, err = self._takeover:patiently(function()
    return publish(self)
  end)
  if not ok then
    return nil, err
  end
  self._is_up = true
  if self._takeover:finish() then
    load(self) -- the other one took commands until now
    self._publisher:run()
    sluice.spawn(self._takeover.inherit, self._takeover)
  end
  self._health:start(hooks.topic)
  self._listeners:serve()
  return true
end

--- Takes no more commands, and waits until what was told is written.
function coreserver:close()
  self._listeners:close()
  self._saver:run()
end

return coreserver
