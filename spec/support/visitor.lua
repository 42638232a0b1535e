--- Visitors who may live in another network namespace than the spec; the program is
-- tunnel_visitor.py, and its head lists commands and events.
--
--   local visitors = visitor.start(prefix)
--   visitors:tell("open", { id = "a", port = port, bytes = visitor.hex("ECHO\n") })

local mux_client = require "support.mux_client"
local process = require "support.process"

local visitor = setmetatable({ hex = mux_client.hex }, { __index = mux_client })
visitor.__index = visitor

--- @tparam[opt] table prefix words in front of the command
function visitor.start(prefix)
  local argv = { unpack(prefix or {}) }
  table.insert(argv, "python3")
  table.insert(argv, "spec/support/tunnel_visitor.py")
  return setmetatable({ child = process.start(argv, nil, true), events = {} }, visitor)
end

--- Bytes that one visitor gets, until there are as many as expected; fails when they differ.
function visitor:expect(id, bytes)
  local got = ""
  while #got < #bytes do
    got = got .. self:wait("data", id).bytes
  end
  assert(got == bytes, "got " .. got:sub(1, 300))
end

--- Sends a line and expects it back.
function visitor:echo(id, line)
  self:tell("send", { id = id, bytes = visitor.hex(line) })
  self:expect(id, line)
end

function visitor:close()
  self.child:stop()
end

return visitor
