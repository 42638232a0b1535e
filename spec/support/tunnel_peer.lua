--- A fake edge or a fake hub of the original's protocol, led step by step; the program is
-- tunnel_peer.py, and its head lists commands and events.
--
--   local edge = tunnel_peer.edge(port)
--   assert.matches("listenPorts", edge:greet("nyc-01", "secret"))
--   edge:frame("OPEN", 1, "PROXY TCP4 192.0.2.7 192.0.2.1 4000 443\r\n")
--   edge:say(1, "hello")
--   assert.equal("hello", edge:wait("data", 1).bytes)

local dkjson = require "dkjson"
local mux_client = require "support.mux_client"
local process = require "support.process"
local sluice = require "support.sluice"

local tunnel_peer = setmetatable({}, { __index = mux_client })
tunnel_peer.__index = tunnel_peer

local hex = mux_client.hex

local function start(...)
  local child = process.start({ "python3", "spec/support/tunnel_peer.py", ... }, nil, true)
  return setmetatable({ child = child, events = {} }, tunnel_peer)
end

--- An edge that knows the port of a hub.
function tunnel_peer.edge(port, options)
  return start("edge", tostring(port), options and dkjson.encode(options))
end

--- A hub that listens: `port`.
function tunnel_peer.hub(options)
  local files = {}
  for _, part in ipairs { "cert", "key" } do
    files[part] = os.tmpname()
    sluice.write(files[part], sluice.certificate("hub.example")[part])
  end
  local self = start("hub", files.cert, files.key, dkjson.encode(options or {}))
  self.port = self:wait("listening").port
  os.remove(files.cert)
  os.remove(files.key)
  return self
end

--- The edge connects and greets; the hub's line.
function tunnel_peer:greet(id, secret)
  self:tell("connect", { id = id, secret = secret })
  return self:wait("answer").line
end

--- A frame; options length and count as in the program.
function tunnel_peer:frame(kind, stream, payload, options)
  options = options or {}
  self:tell("frame", { kind = kind, stream = stream, bytes = hex(payload or ""),
    length = options.length, count = options.count })
end

--- Bytes on a stream, no more than its window allows.
function tunnel_peer:say(stream, bytes)
  self:tell("data", { stream = stream, bytes = hex(bytes) })
end

--- The next frame of this kind, of this stream when one is given.
function tunnel_peer:wait_frame(kind, stream)
  return self:wait_until(function(event)
    return event.kind == kind and (stream == nil or event.id == stream)
  end)
end

--- Waits until the connection has ended, or this stream.
function tunnel_peer:wait_end(stream)
  return self:wait_until(function(event)
    return event.event == "ended"
      or event.id == stream and (event.kind == "CLOSE_BACK" or event.kind == "CLOSE")
  end)
end

--- Waits until a greeting was refused: it must not have been answered by ports.
function tunnel_peer:is_refused()
  local event = self:wait_until(function(event)
    return event.event == "ended" or event.event == "answer"
  end)
  return not (event.line or ""):find("listenPorts", 1, true)
end

--- Ends it, and its connections with it.
function tunnel_peer:close()
  self.child:stop()
end

return tunnel_peer
