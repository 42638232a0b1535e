--- Messages of a WebSocket over a flow between two sluices: long ones in pieces.

local frames = require "sluice.brickchain.frames"

local wsflow = {}

local piece_len = frames.piece

--- Sends a message; waits until it may.
-- @treturn true|nil
-- @treturn string why not
function wsflow.send(sender, message, kind)
  local from = 1
  while #message - from + 1 > piece_len do
    local ok, err = sender:piece(frames.more, message:sub(from, from + piece_len - 1))
    if not ok then
      return nil, err
    end
    from = from + piece_len
  end
  return sender:piece(kind == "binary" and frames.binary or frames.text,
    from > 1 and message:sub(from) or message)
end

--- The next message of a receiver; waits for it.
-- @tparam table receiver
-- @tparam table parts of a message whose rest is still to come; empty at first
-- @tparam integer max bytes of a message
-- @treturn ?string the message
-- @treturn ?string "text" or "binary"; without a message "too large", or why there is none
function wsflow.receive(receiver, parts, max)
  while true do
    local piece, err, kind = receiver:read()
    if not piece then
      return nil, err
    end
    parts.len = (parts.len or 0) + #piece
    if parts.len > max then
      return nil, "too large"
    end
    parts[#parts + 1] = piece
    if kind ~= frames.more then
      local message = parts[2] and table.concat(parts) or piece
      for i = #parts, 1, -1 do
        parts[i] = nil
      end
      parts.len = 0
      return message, kind == frames.binary and "binary" or "text"
    end
  end
end

local sendable = { [1000] = true, [1001] = true, [1002] = true, [1003] = true, [1007] = true,
  [1008] = true, [1009] = true, [1010] = true, [1011] = true, [1012] = true, [1013] = true,
  [1014] = true }

--- What a ws-teardown says of a WebSocket that has ended.
-- @tparam integer code of ws:receive()
-- @tparam string reason of ws:receive(), which is "closed" when the peer gave none
-- @tparam integer broken the code for the other side when the connection just broke
function wsflow.goodbye(code, reason, broken)
  if code == 1006 then
    return { code = broken }
  end
  return { code = code, reason = reason ~= "closed" and reason or nil }
end

--- A code and a reason as they may be sent; others are replaced.
function wsflow.close_of(code, reason)
  if type(code) ~= "number" or not (sendable[code] or (code >= 3000 and code <= 4999
    and code % 1 == 0)) then
    code = 1000
  end
  if type(reason) ~= "string" or #reason > 123 or reason:find("[\128-\255]") then
    reason = nil
  end
  return code, reason
end

return wsflow
