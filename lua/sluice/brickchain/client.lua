--- A client of the tunneling proxy: registers with a server, and serves a local URL through it.
--
-- There is one connection at a time (client/link.lua). When it ends there is a new one, after a
-- pause that grows; what was under way is over then, and the server says so to its visitors.
--
-- @usage
--   local client = require "sluice.brickchain.client"
--   local service = assert(client.new(settings))
--   service:run() -- waits until service:close()

local health = require "sluice.brickchain.client.health"
local identity = require "sluice.brickchain.client.identity"
local link = require "sluice.brickchain.client.link"
local sluice = require "sluice"

local client = {}
client.__index = client

-- Seconds between two connections.
local first_pause, longest_pause = 1, 30
local stable = 60 -- after so many seconds a lost connection is a new trouble

-- A server that starts again says so (close code 1012), and is there in a moment.
local restart_code, restart_pause, restart_stable = 1012, 0.1, 5

-- Bytes of one message of a server; a longer one ends the connection. A request in a document has
-- 512,000 bytes of body, but originals let messages of WebSockets have any length.
local max_message = 16 * 1024 * 1024

--- @tparam table settings from sluice.brickchain.client.settings
-- @treturn ?table
-- @treturn ?string what is wrong with the key
function client.new(settings)
  local key, err = identity.load(settings.key)
  if not key then
    return nil, err
  end
  return setmetatable({
    settings = settings, _key = key, _health = health.new(settings.target.text),
    _closing = sluice.event(),
  }, client)
end

local function keep_state(self, hostname)
  local path = self.settings.state
  if not path or self._kept == hostname then
    return
  end
  local ok, err = sluice.file.write(path, sluice.json.encode { hostname = hostname },
    { mode = 384 }) -- 0600
  if ok then
    self._kept = hostname
  else
    sluice.log.error("the state cannot be written", { file = path, error = err })
  end
end

-- A server without a domain gives no host name; its visitors use a path.
local function url_of(endpoint, answer)
  if answer.hostname and answer.hostname ~= "" then
    return ("%s://%s/"):format(endpoint.scheme, answer.hostname)
  end
  return ("%s://%s/proxy/request/%s/"):format(endpoint.scheme, endpoint.authority, answer.keyID)
end

-- What an operator may wait for: the state is there when the log says so.
local function tell(self, answer)
  local endpoint = self.settings.endpoint
  keep_state(self, answer.hostname or "")
  sluice.log.info("registered", { server = endpoint.text, hostname = answer.hostname,
    url = url_of(endpoint, answer), streams = answer.sluice ~= nil })
end

local function on_registered(self, answer)
  self.hostname, self._began = answer.hostname, sluice.now()
  sluice.spawn(tell, self, answer) -- a disk may be slow
end

-- One connection, from its beginning to its end; why it ended, and the code of its close.
local function attend(self)
  local settings = self.settings
  local url = ("%s://%s/proxy/subscribe"):format(
    settings.endpoint.scheme == "https" and "wss" or "ws", settings.endpoint.authority)
  local ws, err = sluice.websocket.connect(url,
    { max_message = max_message, ca_file = settings.ca_file })
  if not ws then
    return err
  elseif self._is_closed then
    ws:close()
    return "closed"
  end
  self._link = link.new(settings, ws, self._health)
  local code
  err, code = self._link:run(identity.token(self._key, settings.endpoint.text), function(answer)
    on_registered(self, answer)
  end)
  self._link, self.hostname = nil, nil
  return err, code
end

-- The pause after a connection that lasted so many seconds (nil: it never was one), if there would
-- be `pause` otherwise.
local function pause_after(pause, lasted, code)
  if not lasted then
    return pause
  elseif code == restart_code and lasted >= restart_stable then
    return restart_pause
  end
  return lasted >= stable and first_pause or pause
end

local function jitter()
  local a, b = sluice.crypto.random(2):byte(1, 2)
  return 0.5 + (a * 256 + b) / 65536
end

--- Serves until close().
function client:run()
  local pause = first_pause
  while not self._is_closed do
    self._began = nil
    local why, code = attend(self)
    local began = self._began
    if self._is_closed then
      return
    end
    pause = pause_after(pause, began and sluice.now() - began, code)
    local wait = pause * jitter()
    sluice.log.warn(began and "the connection to the server is lost" or "cannot register",
      { server = self.settings.endpoint.text, error = why,
        again_in = math.floor(wait * 100) / 100 })
    self._closing:wait(wait)
    pause = math.min(pause * 2, longest_pause)
  end
end

--- Says goodbye to the server; waits for that, but not long.
function client:close()
  self._is_closed = true
  self._closing:set()
  if self._link then
    self._link:goodbye()
  end
end

return client
