--- WebSockets: `local websocket = require "sluice.websocket"`, the same as `sluice.websocket`.
--
-- `websocket.connect` is the client. The module itself can be called: `websocket(fn)` is the verb
-- with which on_request or a handler of sluice.serve makes a WebSocket of a request.
--
-- @usage
--   local ws = assert(websocket.connect("wss://push.example/feed", { protocols = { "feed.v2" } }))
--   assert(ws:send(sluice.json.encode { subscribe = "routes" }))
--   local message, kind = ws:receive(60)
--   ws:close()
--
-- @usage
--   sluice.serve { port = 8081, handler = function()
--     return websocket(function(ws)
--       for message, kind in websocket.messages(ws) do
--         ws:send(message, kind)
--       end
--     end)
--   end }

local verbs = require "sluice.verbs"

local core = package.preload["sluice.core"] and require "sluice.core"
  or require "sluice.testing.core"

local websocket = { connect = core.websocket.connect }

--- Goes over the messages until the connection is closed.
-- @tparam WebSocket ws
-- @treturn function iterator of message and kind
function websocket.messages(ws)
  return function()
    return ws:receive()
  end
end

return setmetatable(websocket, {
  __call = function(_, fn, options)
    local ok, verb = pcall(verbs.websocket, fn, options)
    if not ok then
      error(verb:gsub("^.-:%d+: ", ""), 2)
    end
    return verb
  end,
})
