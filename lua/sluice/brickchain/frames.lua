--- Frames: the binary messages that two sluices send each other beside the documents.
--
--   1 byte    what it is
--   36 bytes  @id of the request it belongs to
--   4 bytes   a number, most significant byte first
--   the rest  payload
--
-- Pieces (`D`, `E`, `M`, `T`, `B`) are numbered from 0 for each id and direction, so that a lost
-- one ends the exchange instead of cutting it short. docs/brickchain.md, "Between two sluices",
-- says what each means.

local bit = require "bit"

local band, rshift = bit.band, bit.rshift
local char = string.char

local frames = {}

frames.data = "D"   -- a piece of a body
frames.finish = "E" -- the body is complete
frames.abort = "X"  -- the exchange is over; the payload says why
frames.window = "W" -- the number is how many bytes were consumed
frames.text = "T"   -- the last piece of a message of a WebSocket, or all of it
frames.binary = "B"
frames.more = "M"   -- a piece of a message before its last

--- Bytes that may be under way in one direction of an exchange before the receiver has said that it
-- consumed some. Who has less than this under way may send one more piece, whatever its size.
frames.credit = 262144

--- Bytes of a body, or of a message, in one piece at most.
frames.piece = 65536

local head_len = 41

local known = { D = true, E = true, X = true, W = true, T = true, B = true, M = true }

--- @tparam string kind one of those above
-- @tparam string id 36 bytes
-- @tparam number n
-- @tparam[opt] string payload
function frames.encode(kind, id, n, payload)
  return kind .. id .. char(rshift(n, 24), band(rshift(n, 16), 255), band(rshift(n, 8), 255),
    band(n, 255)) .. (payload or "")
end

--- @treturn ?string kind; nil: not a frame
-- @treturn string id
-- @treturn number n
-- @treturn string payload
function frames.decode(message)
  local kind = message:sub(1, 1)
  if #message < head_len or not known[kind] then
    return nil
  end
  local a, b, c, d = message:byte(38, 41)
  return kind, message:sub(2, 37), ((a * 256 + b) * 256 + c) * 256 + d, message:sub(head_len + 1)
end

return frames
