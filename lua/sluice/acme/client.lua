--- What goes over the wire to a CA (RFC 8555, section 6): its directory, nonces, signed requests.
--
-- Knows no orders. A fault is a table of sluice.acme.fault. The time of the CA is learned from its
-- answers: a machine whose clock is wrong is the reason for many things that go wrong here.
--
-- @usage
--   local ca = client.new { directory = "https://acme.example/directory" }
--   local response, fault = ca:post(url, { status = "deactivated" }, { key = key, kid = kid })

local sluice = require "sluice"
local dates = require "sluice.acme.dates"
local fault = require "sluice.acme.fault"
local jws = require "sluice.jws"

local client = {}
client.__index = client

local max_body = 1048576
local timeout = 30
local keep_directory = 3600
local max_nonces = 16  -- that are kept for later
local max_tries = 10   -- a CA may forget nonces at any time, and Pebble refuses some for sport

-- A directory in the clear is for a CA on this machine: for tests.
local function is_url(url)
  return type(url) == "string" and (url:find("^https://[^%s%c]+$")
    or url:find("^http://127%.0%.0%.1[:/][^%s%c]*$") or url:find("^http://localhost[:/][^%s%c]*$"))
end

client.is_url = is_url

--- @tparam table options `directory` (URL), `ca_file` (whom to trust in place of the system's CAs)
function client.new(options)
  return setmetatable({
    _url = options.directory,
    _ca_file = options.ca_file,
    _nonces = {},
    _offset = 0,
  }, client)
end

-- The clock of the CA and ours; within the minute that a response may take they are the same.
local function note_time(self, response)
  local at = dates.http(response.headers.date)
  local offset = at and at - sluice.time()
  if offset then
    self._offset = math.abs(offset) > 60 and offset or 0
  end
end

local function note_nonce(self, response)
  local nonce = response.headers["replay-nonce"]
  if nonce and #nonce <= 1024 and nonce:find("^[%w_-]+$") and #self._nonces < max_nonces then
    table.insert(self._nonces, nonce)
  end
end

local function fetch(self, url, options)
  options.timeout, options.max_body, options.ca_file = timeout, max_body, self._ca_file
  options.headers = options.headers or {}
  options.headers["user-agent"] = "sluice/" .. sluice.version
  options.headers["accept-language"] = "en"
  local response, err = sluice.fetch(url, options)
  if not response then
    return nil, fault.unreachable(url, tostring(err))
  end
  note_time(self, response)
  note_nonce(self, response)
  response.retry_after = dates.retry_after(response.headers["retry-after"],
    sluice.time() + self._offset)
  return response
end

local function is_json(response)
  return (response.headers["content-type"] or ""):find("json", 1, true) ~= nil
end

-- Puts the JSON of a response into `value`; whatever is not 2xx is a fault.
local function judged(url, response)
  local value = is_json(response) and sluice.json.decode(response.body) or nil
  if response.status < 200 or response.status > 299 then
    return nil, fault.of_response(url, response, value, response.retry_after)
  end
  response.value = value
  return response
end

--- An answer without a signature.
-- @treturn ?table response of sluice.fetch, with `value` if it was JSON, and `retry_after`
-- @treturn ?table fault
function client:get(url)
  local response, err = fetch(self, url, {})
  if not response then
    return nil, err
  end
  return judged(url, response)
end

local function check_directory(url, directory)
  if type(directory) ~= "table" then
    return nil, fault.garbage(url, "what is there is no JSON object")
  end
  for _, name in ipairs { "newNonce", "newAccount", "newOrder" } do
    if not is_url(directory[name]) then
      return nil, fault.garbage(url, "no https URL for " .. name)
    end
  end
  directory.meta = type(directory.meta) == "table" and directory.meta or {}
  return directory
end

--- What the CA offers: URLs by name, and `meta`.
-- @treturn ?table
-- @treturn ?table fault
function client:directory()
  local now = sluice.now()
  if self._directory and now - self._directory_at < keep_directory then
    return self._directory
  end
  local response, err = self:get(self._url)
  if not response then
    return nil, err
  end
  local directory
  directory, err = check_directory(self._url, response.value)
  if directory then
    self._directory, self._directory_at = directory, now
  end
  return directory, err
end

--- Forgets the directory, which may have changed: after a fault.
function client:forget()
  self._directory = nil
  self._nonces = {}
end

--- How far the clock of the CA is ahead of ours, in seconds; 0 when it is less than a minute.
function client:offset()
  return self._offset
end

local function take_nonce(self)
  if self._nonces[1] then
    return table.remove(self._nonces)
  end
  local directory, err = self:directory()
  if not directory then
    return nil, err
  end
  local response
  response, err = fetch(self, directory.newNonce, { method = "HEAD" })
  if not response then
    return nil, err
  end
  if not self._nonces[1] then
    local _, problem = judged(directory.newNonce, response)
    return nil, problem or fault.garbage(directory.newNonce, "no usable Replay-Nonce")
  end
  return table.remove(self._nonces)
end

local function post_once(self, url, payload, account, accept)
  local nonce, err = take_nonce(self)
  if not nonce then
    return nil, err
  end
  local protected = { alg = "ES256", nonce = nonce, url = url, kid = account.kid }
  if not account.kid then
    protected.jwk = account.key:jwk()
  end
  local bytes = payload and sluice.json.encode(payload) or ""
  local message = jws.sign(account.key, "ES256", protected, bytes, "flattened")
  local response
  response, err = fetch(self, url, {
    method = "POST",
    body = type(message) == "string" and message or sluice.json.encode(message),
    headers = { ["content-type"] = "application/jose+json", accept = accept },
  })
  if not response then
    return nil, err
  end
  return judged(url, response)
end

--- A signed request.
-- @tparam string url
-- @tparam ?table payload nil: POST-as-GET
-- @tparam table account `key`; `kid`, its URL, except where there is none yet
-- @tparam[opt] string accept the media type that is wanted
-- @treturn ?table response of sluice.fetch, with `value` if it was JSON, and `retry_after`
-- @treturn ?table fault
function client:post(url, payload, account, accept)
  if not is_url(url) then
    return nil, fault.garbage(self._url, "the CA sent something that is no https URL")
  end
  local response, err
  for _ = 1, max_tries do
    response, err = post_once(self, url, payload, account, accept)
    if response or err.type ~= "badNonce" then
      return response, err
    end
  end
  return nil, err
end

return client
