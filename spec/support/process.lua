--- Child processes of specs: started with pipes for what they say, waited for with deadlines, and
-- ended by their process id.
--
--   local child = process.start({ "sluice", "version" }, { HOME = "/tmp" })
--   child:wait_for("stdout", "^1%.", 5)
--   local code = child:wait(5)

local fcntl = require "posix.fcntl"
local poll = require "posix.poll"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local time = require "posix.time"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait"

local process = {}
process.__index = process

local set_pipe_size = 1031 -- F_SETPIPE_SZ: a child that logs much must not wait for its spec

--- Seconds of a clock that only goes forward.
function process.now()
  local t = time.clock_gettime(time.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

local function pipe()
  local from, to = assert(unistd.pipe())
  fcntl.fcntl(from, set_pipe_size, 1048576)
  return { fd = from, pending = "", lines = {} }, to
end

local function run_child(argv, env, out, err, input)
  if input then
    unistd.dup2(input, 0)
  end
  unistd.dup2(out, 1)
  unistd.dup2(err, 2)
  for fd = 3, 255 do
    unistd.close(fd)
  end
  for name, value in pairs(env) do
    stdlib.setenv(name, value or nil)
  end
  local _, message = unistd.execp(argv[1], { unpack(argv, 2) })
  io.stderr:write(message, "\n")
  unistd._exit(127)
end

--- @tparam table argv program and arguments
-- @tparam[opt] table env variables to set; false removes one
-- @tparam[opt] boolean is_led whether it gets commands by say() on its stdin
function process.start(argv, env, is_led)
  local out, child_out = pipe()
  local err, child_err = pipe()
  local child_in, to_child
  if is_led then
    child_in, to_child = assert(unistd.pipe())
  end
  local pid = assert(unistd.fork())
  if pid == 0 then
    run_child(argv, env or {}, child_out, child_err, child_in)
  end
  for _, fd in ipairs { child_out, child_err, child_in } do
    unistd.close(fd)
  end
  return setmetatable({ pid = pid, stdout = out, stderr = err, stdin = to_child }, process)
end

--- A line on the stdin of one that is led.
function process:say(line)
  local bytes = line .. "\n"
  while bytes ~= "" do
    bytes = bytes:sub(assert(unistd.write(self.stdin, bytes)) + 1)
  end
end

-- Takes in what has arrived; false at the end.
local function read_some(stream)
  local bytes = unistd.read(stream.fd, 65536)
  if not bytes or bytes == "" then
    stream.ended = true
    return false
  end
  local text, from = stream.pending .. bytes, 1
  local at = text:find("\n", #stream.pending + 1, true) -- a pattern is slow with long lines
  while at do
    table.insert(stream.lines, text:sub(from, at - 1))
    from = at + 1
    at = text:find("\n", from, true)
  end
  stream.pending = text:sub(from)
  return true
end

-- Waits for bytes on either stream; false when time is up or both have ended.
local function pump(self, deadline)
  local fds = {}
  for _, stream in ipairs { self.stdout, self.stderr } do
    if not stream.ended then
      fds[stream.fd] = { events = { IN = true } }
    end
  end
  local left = math.ceil((deadline - process.now()) * 1000)
  if next(fds) == nil or left <= 0 or poll.poll(fds, left) == 0 then
    return false
  end
  for _, stream in ipairs { self.stdout, self.stderr } do
    local entry = fds[stream.fd]
    if entry and (entry.revents.IN or entry.revents.HUP) then
      read_some(stream)
    end
  end
  return true
end

--- All that it has said so far, as one string.
function process:text(name)
  local stream = self[name]
  return table.concat(stream.lines, "\n") .. "\n" .. stream.pending
end

--- Waits for a line with the pattern and returns its captures, or the line. A line is found once.
function process:wait_for(name, pattern, seconds)
  local stream, deadline = self[name], process.now() + (seconds or 10)
  stream.seen = stream.seen or 0
  while true do
    while stream.seen < #stream.lines do
      stream.seen = stream.seen + 1
      local found = { stream.lines[stream.seen]:match(pattern) }
      if found[1] then
        return unpack(found)
      end
    end
    if not pump(self, deadline) then
      error(("no line with %q in %s:\n%s"):format(pattern, name, self:text(name)), 2)
    end
  end
end

function process:kill(number)
  if not self.code then
    signal.kill(self.pid, number or signal.SIGTERM)
  end
end

--- Waits for the end and returns the exit code; a signal counts as 128 and its number.
function process:wait(seconds)
  local deadline = process.now() + (seconds or 10)
  while not self.code and pump(self, deadline) do
    -- until both streams have ended
  end
  if not self.code then
    local ended = self.stdout.ended and self.stderr.ended
    local pid, how, code = wait.wait(self.pid, ended and 0 or wait.WNOHANG)
    if pid == 0 or pid == nil then
      error(("process %d does not end:\n%s"):format(self.pid, self:text("stderr")), 2)
    end
    self.code = how == "exited" and code or 128 + code
    unistd.close(self.stdout.fd)
    unistd.close(self.stderr.fd)
    if self.stdin then
      unistd.close(self.stdin)
    end
  end
  return self.code
end

--- Ends it whatever it does; for after_each.
function process:stop()
  if self.code then
    return self.code
  end
  self:kill(signal.SIGTERM)
  local ok, code = pcall(self.wait, self, 20)
  if ok then
    return code
  end
  self:kill(signal.SIGKILL)
  self:wait(5)
  error("process " .. self.pid .. " had to be killed:\n" .. self:text("stderr"), 2)
end

return process
