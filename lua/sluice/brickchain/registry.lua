--- Which clients there are: for each key id the sessions that serve it, wherever they are
-- connected.
--
-- A session is a text of 16 characters that node.lua makes; the registry only keeps them. Entries
-- have a lifetime and are renewed while the session lives, so that one whose process died goes by
-- itself.

local sluice = require "sluice"

local registry = {}

--- Seconds that an entry lives without being renewed, as in the original.
registry.lifetime = 60

-- Two workers change the same entry one after the other: nothing waits while it is locked.
local lock_lifetime, lock_pause = 1, 0.001

local memory = {}
memory.__index = memory

--- For the workers of one process.
function registry.memory()
  return setmetatable({ _entries = sluice.shared("brickchain.sessions"), _split = {} }, memory)
end

local function change(self, key_id, fn)
  while not self._entries:add("lock/" .. key_id, true, lock_lifetime) do
    sluice.sleep(lock_pause)
  end
  local before = self._entries:get(key_id) or ""
  local after = fn(before)
  local ok, err = true, nil
  if after == "" then
    self._entries:delete(key_id)
  else
    ok, err = self._entries:set(key_id, after, registry.lifetime)
  end
  self._entries:delete("lock/" .. key_id)
  return ok, err
end

--- Adds a session, or renews it.
-- @treturn ?true
-- @treturn ?string why not
function memory:add(key_id, session)
  return change(self, key_id, function(before)
    if before:find(session, 1, true) then
      return before
    end
    return before .. session
  end)
end

memory.renew = memory.add

function memory:remove(key_id, session)
  return change(self, key_id, function(before)
    local at = before:find(session, 1, true)
    return at and before:sub(1, at - 1) .. before:sub(at + #session) or before
  end)
end

-- The same text comes again and again: one table for it. Texts of clients that went are dropped.
local most_kept = 4096

local function split(self, text)
  local list = self._split[text]
  if not list then
    list = {}
    for session in text:gmatch(("."):rep(16)) do
      list[#list + 1] = session
    end
    self._n_split = (self._n_split or 0) + 1
    if self._n_split > most_kept then
      self._split, self._n_split = {}, 1
    end
    self._split[text] = list
  end
  return list
end

--- The sessions of a client; may be stale by as much as the lifetime.
-- @treturn ?table nil: there is none
-- @treturn ?string why it cannot be said; nil when there is none
function memory:find(key_id)
  local text = self._entries:get(key_id)
  return text and split(self, text) or nil
end

local redis = {}
redis.__index = redis

local sessions_key, client_key = "/proxy/sessions/", "/proxy/clients/"

-- Seconds that an answer of Redis is good for: a busy client is asked for once in a while, and a
-- new session is found soon.
local fresh = 0.2

-- A byte string of msgpack, which is what originals keep.
local function packed(text)
  local n = #text
  local head = n < 256 and string.char(0xc4, n)
    or string.char(0xc5, math.floor(n / 256) % 256, n % 256)
  return head .. text
end

--- For all servers on one Redis, originals among them: these find our clients, and we theirs.
-- @tparam function command command(name, ...) as of sluice.Redis
-- @tparam function original makes the session that stands for a client of an original
function registry.redis(command, original)
  return setmetatable({ _command = command, _original = original, _records = {}, _found = {} },
    redis)
end

local function put(self, key_id, session)
  local key, command = sessions_key .. key_id, self._command
  local ends = ("%.3f"):format(sluice.time() + registry.lifetime)
  local ok, err = command("ZADD", key, ends, session)
  if not ok then
    return nil, err
  end
  command("EXPIRE", key, registry.lifetime)
  self._found[key_id] = nil
  return true
end

local function put_record(self, key_id)
  return self._command("SET", client_key .. key_id, self._records[key_id], "EX",
    registry.lifetime)
end

function redis:add(key_id, session, jwk)
  self._records[key_id] = packed(sluice.json.encode { ID = key_id, Key = jwk })
  local ok, err = put_record(self, key_id)
  if not ok then
    return nil, err
  end
  return put(self, key_id, session)
end

function redis:renew(key_id, session)
  local known = self._command("EXPIRE", client_key .. key_id, registry.lifetime)
  if known == 0 and self._records[key_id] then
    put_record(self, key_id)
  end
  return put(self, key_id, session)
end

-- The record stays as it does with originals: one of theirs may have the same client.
function redis:remove(key_id, session)
  self._found[key_id] = nil
  return self._command("ZREM", sessions_key .. key_id, session)
end

local function ask(self, key_id)
  local list, err = self._command("ZRANGEBYSCORE", sessions_key .. key_id,
    ("%.3f"):format(sluice.time()), "+inf")
  if not list or list[1] then
    return list, err
  end
  local known
  known, err = self._command("EXISTS", client_key .. key_id)
  return known == 1 and { self._original(key_id) } or nil, err
end

local function remember(self, key_id, list)
  local now = sluice.now()
  if not self._dropped_at or now - self._dropped_at > 10 then
    self._found, self._dropped_at = {}, now -- of clients that nobody asks for any more
  end
  self._found[key_id] = { list = list, at = now }
end

function redis:find(key_id)
  local known = self._found[key_id]
  if known and sluice.now() - known.at < fresh then
    return known.list
  end
  local list, err = ask(self, key_id)
  if list then
    remember(self, key_id, list)
  end
  return list, err
end

return registry
