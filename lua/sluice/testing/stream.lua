--- Bodies in pieces without a network, for specs: a pipe between who writes and who reads, and the
-- object `out` of a body function. Who reads waits for bytes; who writes waits while 64 KiB are
-- unread, when it is a task.

local world = require "sluice.testing.world"

local stream = {}

local room, piece_size = 65536, 65536

local pipe = {}
pipe.__index = pipe

local function wait(self, role)
  local task = world.scheduler:current()
  if not task then
    error("waiting for a body outside of a task would wait for ever", 3)
  end
  self[role] = task
  world.scheduler:suspend()
end

local function wake(self, role)
  local task = self[role]
  if task then
    self[role] = nil
    world.scheduler:resume(task)
  end
end

function pipe:write(bytes)
  assert(type(bytes) == "string", "out:write: a string expected")
  if self._error or self._ended then
    return nil, self._error or "closed"
  end
  self._begun = true
  if bytes ~= "" then
    table.insert(self._pieces, bytes)
    self._size = self._size + #bytes
  end
  wake(self, "_reader")
  while self._size > room and not self._error and world.scheduler:current() do
    wait(self, "_writer")
  end
  if self._error then
    return nil, self._error
  end
  return true
end

local function cut(self, max)
  local piece = table.remove(self._pieces, 1)
  if #piece > max then
    table.insert(self._pieces, 1, piece:sub(max + 1))
    piece = piece:sub(1, max)
  end
  self._size = self._size - #piece
  wake(self, "_writer")
  return piece
end

function pipe:read(max)
  while not self._pieces[1] do
    if self._error or self._ended then
      return nil, self._error
    end
    wait(self, "_reader")
  end
  return cut(self, max or piece_size)
end

--- Everything; nil and why not.
function pipe:all()
  local pieces = {}
  while true do
    local piece, err = self:read()
    if not piece then
      return not err and table.concat(pieces) or nil, err
    end
    table.insert(pieces, piece)
  end
end

--- Waits until something was written, or it ended; whether there was no error.
function pipe:has_begun()
  while not (self._begun or self._ended or self._error) do
    wait(self, "_reader")
  end
  return self._begun or not self._error
end

function pipe:finish()
  self._ended = true
  wake(self, "_reader")
end

function pipe:fail(err)
  self._error = self._error or err
  wake(self, "_reader")
  wake(self, "_writer")
end

--- An empty pipe; with a body, which is a string or a pipe already, one from which that comes.
-- @tparam[opt] string|table body
function stream.pipe(body)
  if type(body) == "table" then
    return body
  end
  local made = setmetatable({ _pieces = { body ~= "" and body or nil }, _size = #(body or "") },
    pipe)
  if body then
    made:finish()
  end
  return made
end

--- Runs a body function as a task; the pipe with what it writes.
-- @tparam function fn
-- @tparam[opt] table source what out:read() reads
function stream.run(fn, source)
  local sink = stream.pipe()
  local out = {
    write = function(_, bytes)
      return sink:write(bytes)
    end,
    read = function(_, max)
      if not source then
        error("out:read: here is nothing to read, only to write", 2)
      end
      return source:read(max)
    end,
  }
  world.scheduler:spawn(function()
    local ok, err = pcall(fn, out)
    if ok and err == false then
      sink:fail("aborted")
    elseif ok then
      sink:finish()
    else
      table.insert(world.logged, { level = "error", message = "the script failed",
        fields = { error = err } })
      sink:fail("aborted")
    end
  end)
  return sink
end

return stream
