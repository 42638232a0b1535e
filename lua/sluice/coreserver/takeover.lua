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

local patience, interval = 2, 0.01

--- @tparam table options `path`: the Unix socket for handing over, nil for none; `listeners`
function takeover.new(options)
  return setmetatable({ _path = options.path, _listeners = options.listeners }, takeover)
end

-- Tries until it works, at most for a time.
local function retry(seconds, fn)
  local deadline = sluice.now() + seconds
  while true do
    local ok, err = fn()
    if ok or sluice.now() >= deadline then
      return ok, err
    end
    sluice.sleep(interval)
  end
end

-- From another sluice its sockets, or the place of the one that runs.
local function settle(self)
  local took, err = sluice.takeover.from(self._path)
  if took then
    self._took = true
    return true
  elseif err ~= "nobody is there" then
    sluice.log.warn("the core-server that runs hands nothing over", { error = err })
  end
  return self._listeners:open_socket()
end

-- The ports for commands of one that is no sluice, or belongs to somebody else.
local function drive_out(self)
  local ok, err, is_taken = self._listeners:bind_udp(self._took)
  if ok or not is_taken or self._took then
    return ok, err
  end
  sluice.log.info "another core-server runs, telling it to go"
  self._has_told = true
  self._listeners:send_shutdown()
  return retry(patience, function()
    return self._listeners:bind_udp(false)
  end)
end

--- Before the routes are published: gets sockets, or makes room.
-- @treturn ?true
-- @treturn ?string why not
function takeover:begin()
  if self._path then
    local ok, err = retry(patience, function()
      return settle(self)
    end)
    if not ok then
      return nil, ("another core-server runs and does not hand over: %s"):format(err)
    end
  end
  local ok, err = drive_out(self)
  if not ok and not self._took then
    sluice.log.error("there will be no commands over UDP", { error = err })
  end
  return true
end

--- Does something that needs ports which the other one may be about to free.
-- @return what the function returned
function takeover:patiently(fn)
  return retry(self._has_told and patience or 0, fn)
end

--- Once the routes are live: the other one may go, and this one may be followed.
-- @treturn boolean whether there was another one; what it was told last is in the state file
function takeover:finish()
  local took = self._took
  if took then
    local ok, err = sluice.takeover.done()
    if not ok then
      sluice.log.error("the core-server before this one did not end in order", { error = err })
    end
    ok, err = retry(patience, function()
      return self._listeners:open_socket()
    end)
    if not ok then
      sluice.log.error("there will be no commands over the Unix socket", { error = err })
    end
    ok, err = retry(patience, function()
      return self._listeners:bind_udp(true)
    end)
    if not ok then
      sluice.log.error("there will be no commands over UDP", { error = err })
    end
  end
  if self._path then
    local ok, err = sluice.takeover.offer(self._path)
    if not ok then
      sluice.log.warn("a newer core-server will not be able to take over", { error = err })
    end
  end
  return took == true
end

return takeover
