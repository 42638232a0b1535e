--- A client of HTTP/2 or HTTP/3 that a spec leads step by step: requests on one connection, and
-- whatever frames it likes. The client is a process of its own (h2_client.py, quic_client.py).
--
--   local client = mux_client.connect("h2", { port = port, host = "app.example" })
--   local id = client:request { path = "/a" }
--   assert.equal(200, client:response(id).status)
--   client:close()

local dkjson = require "dkjson"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

local mux_client = {}
mux_client.__index = mux_client

local programs = { h2 = "spec/support/h2_client.py", h3 = "spec/support/quic_client.py" }

--- Bytes as the commands want them.
function mux_client.hex(bytes)
  return (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

local hex = mux_client.hex

local function from_hex(digits)
  return (digits:gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

--- Begins to connect and waits for nothing: for one that is meant to fail.
function mux_client.start(version, options)
  local own = {}
  for name, value in pairs(options) do
    own[name] = name ~= "port" and name ~= "host" and value or nil
  end
  local host = options.host or "localhost"
  local child = process.start({ "python3", programs[version], tostring(options.port), host,
    next(own) and dkjson.encode(own) or "{}" }, nil, true)
  return setmetatable({ child = child, version = version, host = host, events = {},
    last_id = 0 }, mux_client)
end

--- A connection that is ready.
-- @tparam string version h2 or h3
-- @tparam table options port, host (for SNI and :authority); the rest is the client's own
function mux_client.connect(version, options)
  local self = mux_client.start(version, options)
  local ok, err = pcall(self.wait, self, "connected")
  if not ok then
    self.child:stop()
    error(err, 2)
  end
  return self
end

--- Tells it to do something; the commands are in the head of its program.
function mux_client:tell(what, command)
  command = command or {}
  command["do"] = what
  self.child:say(dkjson.encode(command))
end

-- The names of events whose bytes are hexadecimal digits.
local byte_fields = { "bytes", "body" }

local function decode(line)
  local event = assert(dkjson.decode(line, 1, nil), line)
  for _, name in ipairs(byte_fields) do
    if type(event[name]) == "string" then
      event[name] = from_hex(event[name])
    end
  end
  if event.headers then
    event.list, event.headers = event.headers, {}
    for _, field in ipairs(event.list) do
      local before = event.headers[field[1]]
      event.headers[field[1]] = before and before .. ", " .. field[2] or field[2]
    end
  end
  return event
end

local function is_wanted(event, name, id)
  return event.event == name and (id == nil or event.id == id)
end

-- What nobody waits for is kept for later.
local function next_event(self, seconds)
  local ok, line = pcall(self.child.wait_for, self.child, "stdout", "^{.*}$",
    seconds or sluice.patience)
  if not ok then
    error(line .. self.child:text("stderr"), 3)
  end
  return decode(line)
end

--- The next event that is wanted. What comes before it is kept.
-- @tparam function wanted(event)
function mux_client:wait_until(wanted, seconds)
  for i, event in ipairs(self.events) do
    if wanted(event) then
      return table.remove(self.events, i)
    end
  end
  while true do
    local event = next_event(self, seconds)
    if wanted(event) then
      return event
    end
    table.insert(self.events, event)
  end
end

--- The next event with this name, of this request when an id is given.
function mux_client:wait(name, id, seconds)
  return self:wait_until(function(event)
    return is_wanted(event, name, id)
  end, seconds)
end

--- Whether such an event has come; waits for nothing but what is on its way already.
function mux_client:has(name, id)
  self:ping()
  for _, event in ipairs(self.events) do
    if is_wanted(event, name, id) then
      return true
    end
  end
  return false
end

--- Asks the server for a sign of life: what it sent before has been taken in.
function mux_client:ping()
  self:tell "ping"
  self:wait "pong"
end

--- A request; its id.
-- @tparam table options method, path, host, scheme, protocol (extended CONNECT), headers (list of
-- { name, value }), body or size, open, live
function mux_client:request(options)
  self.last_id = self.last_id + 1
  local fields = {}
  local function add(name, value)
    if value then
      table.insert(fields, { name, value })
    end
  end
  add(":method", options.method or "GET")
  add(":protocol", options.protocol)
  add(":scheme", options.scheme or "https")
  add(":authority", options.host or self.host)
  add(":path", options.path or "/")
  for _, field in ipairs(options.headers or {}) do
    add(field[1], field[2])
  end
  self:tell("request", { id = self.last_id, headers = fields, size = options.size,
    bytes = options.body and hex(options.body), open = options.open, live = options.live })
  return self.last_id
end

--- More of the body of a request that is open.
function mux_client:send(id, bytes, is_end)
  self:tell("send", { id = id, bytes = hex(bytes), ["end"] = is_end or false })
end

local cancel = { h2 = 8, h3 = 0x10c }

--- Gives up a request, in both directions.
function mux_client:cancel(id)
  self:tell("reset", { id = id, code = cancel[self.version] })
  if self.version == "h3" then
    self:tell("stop", { id = id, code = cancel.h3 })
  end
end

--- The whole response: status, headers, list, body (up to 64 KiB), size, sha256, trailers.
function mux_client:response(id, seconds)
  return self:wait("response", id, seconds)
end

--- Sends a request and waits for its response.
function mux_client:ask(options)
  return self:response(self:request(options))
end

--- Waits until the request is refused: by 400, or by the end of its stream or connection with
-- this code. Whether the connection goes on.
function mux_client:is_refused(id, code)
  while true do
    local event = next_event(self)
    local is_mine = event.id == id
    if event.event == "closed" or is_mine and event.event == "reset" then
      assert(event.code == code, dkjson.encode(event))
      return event.event == "reset"
    elseif is_mine and event.event == "head" then
      assert(event.status == 400, dkjson.encode(event))
      return true
    end
    table.insert(self.events, event)
  end
end

--- HTTP/3: bytes on a stream, "uni" or "bidi" for a new one.
function mux_client:raw(stream, bytes, is_end)
  self:tell("raw", { stream = stream, bytes = hex(bytes), ["end"] = is_end or false })
end

--- HTTP/3: a QUIC packet with these frames, so many times; `bits` go into its first byte.
function mux_client:packet(frames, count, bits)
  self:tell("packet", { payload = hex(frames), count = count, bits = bits })
end

--- HTTP/2: a frame with whatever is in it.
function mux_client:frame(kind, flags, stream, payload)
  self:tell("frame", { kind = kind, flags = flags, stream = stream, payload = hex(payload or "") })
end

--- Ends the connection as the version wants it, and the client.
function mux_client:close()
  if pcall(self.tell, self, "close") then
    pcall(self.child.wait, self.child, sluice.patience)
  end
  self.child:stop()
end

--- Ends the client without a word, as when its machine loses power.
function mux_client:vanish()
  self.child:kill(signal.SIGKILL)
  self.child:wait(sluice.patience)
end

return mux_client
