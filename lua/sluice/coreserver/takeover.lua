--- The start beside a core-server that runs already, and the end when another one starts.
--
-- Between two sluices of the same user the newcomer gets the listening sockets, and no request is
-- lost. To anything else, which includes the original, it says `shutdown` over UDP and takes the
-- ports as they become free.
--
-- Whoever has the Unix socket for commands is the one that runs: two that are started at the same
-- moment do not both become it.

local sluice = require "sluice"

local takeover = {}
takeover.__index = takeover

-- Seconds. A start that takes longer than 2 is taken for one that has succeeded.
local patience, look_again_for, interval = 1.7, 0.2, 0.01

--- @tparam table options `path`: the Unix socket for handing over, nil for none; `listeners`
function takeover.new(options)
  return setmetatable({ _path = options.path, _listeners = options.listeners }, takeover)
end

-- Tries until it works, at the latest until then.
local function retry(deadline, fn)
  while true do
    local ok, err = fn()
    if ok or sluice.now() >= deadline then
      return ok, err
    end
    sluice.sleep(interval)
  end
end

-- The sockets of another sluice.
local function take(self)
  local took, err = sluice.takeover.from(self._path)
  if not took and err ~= "nobody is there" then
    self._said = err
  end
  self._took = took
  return took
end

-- Sockets, or the place of the one that runs.
local function settle(self)
  if take(self) then
    return true
  end
  local ok, err = self._listeners:open_socket()
  if ok or err:find("in use", 1, true) then
    return ok, err
  end
  sluice.log.error("there will be no commands over the Unix socket", { error = err })
  return true
end

-- Somebody has the port for commands, but not the Unix socket. It may be a sluice that has just
-- followed another one, and offers in a moment.
local function look_again(self)
  return self._path and retry(sluice.now() + look_again_for, function()
    return take(self)
  end)
end

-- The port for commands; from one that is no sluice, or belongs to somebody else, by telling it to
-- go.
local function get_port(self)
  local ok, err, is_taken = self._listeners:bind_udp(self._took)
  if ok or not is_taken or self._took then
    return ok, err
  elseif look_again(self) then
    return self._listeners:bind_udp(true)
  end
  sluice.log.info "another core-server runs, telling it to go"
  self._has_told = true
  self._listeners:send_shutdown()
  return retry(self._deadline, function()
    return self._listeners:bind_udp(false)
  end)
end

--- Before the routes are published: gets sockets, or makes room.
-- @treturn ?true
-- @treturn ?string why not
function takeover:begin()
  self._deadline = sluice.now() + patience
  if self._path then
    local ok, err = retry(self._deadline, function()
      return settle(self)
    end)
    if not ok then
      return nil, "another core-server runs and does not hand over: " .. (self._said or err)
    end
  end
  local ok, err = get_port(self)
  if not ok and not self._took then
    sluice.log.error("there will be no commands over UDP", { error = err })
  end
  return true
end

--- Does something that needs ports which the other one may be about to free.
-- @return what the function returned
function takeover:patiently(fn)
  return retry(self._has_told and self._deadline or 0, fn)
end

local function offer(self)
  local ok, err = sluice.takeover.offer(self._path)
  if not ok then
    sluice.log.warn("a newer core-server will not be able to take over", { error = err })
  end
end

--- Once the routes are live: the other one may go, and this one may be followed.
-- @treturn boolean whether there was another one; what it was told last is in the state file
function takeover:finish()
  if self._took then
    local ok, err = sluice.takeover.done()
    if not ok then
      sluice.log.error("the core-server before this one did not end in order", { error = err })
    end
  end
  if self._path then
    offer(self) -- at once: whoever starts now looks for it
  end
  return self._took == true
end

--- Opens the ways for commands that the other one had.
function takeover:inherit()
  local deadline = sluice.now() + patience
  local ok, err = retry(deadline, function()
    return self._listeners:open_socket()
  end)
  if ok then
    ok, err = retry(deadline, function()
      return self._listeners:bind_udp(true)
    end)
  end
  if not ok and err ~= "closed" then
    sluice.log.error("not all ways for commands are open", { error = err })
  end
  self._listeners:serve()
end

return takeover
