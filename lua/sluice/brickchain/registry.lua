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

return registry
