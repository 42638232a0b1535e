--- What the control thread tells the workers about certificates, in memory that they share: which
-- names are served, and the certificates themselves. A look-up takes the same time however many
-- there are.

local sluice = require "sluice"

local board = {}

-- A certificate that has not been used for longest gives way when memory is full, and is fetched
-- from the storage when it is asked for again. Only what has a time to live does so.
local long = 365 * 86400

-- Entries carry the number of their manager; what counts is from one number to another.
local epoch_key, from_key, any_key, shared_key = "!epoch", "!from", "!any", "!shared"

local function names()
  return sluice.shared("sluice.certificates.names")
end

local function pairs_of()
  return sluice.shared("sluice.certificates")
end

--- In control: a manager begins. The names of the one before stay until it has its own.
-- @tparam boolean any whether names that are not on the board may be asked for, too
-- @tparam boolean is_shared whether other instances answer for the same names
-- @treturn number which manager it is
function board.begin(any, is_shared)
  local epoch = names():incr(epoch_key, 1, 0)
  names():add(from_key, epoch)
  names():set(any_key, any and epoch or 0)
  names():set(shared_key, is_shared and epoch or 0)
  return epoch
end

--- In control: all names of this manager are on the board, those of managers before count no more.
function board.settle(epoch)
  if names():get(from_key) < epoch then
    names():set(from_key, epoch)
  end
end

--- In control: takes a name down that a manager before the one that has settled had put up.
function board.drop(epoch, name)
  local entry = names():get(name)
  if names():get(from_key) > epoch and entry and tonumber(entry:match("^%d+")) == epoch then
    names():delete(name)
  end
end

--- In control: this name is served.
-- @tparam number epoch
-- @tparam string name
-- @tparam ?table ports on which it is; nil: on all
-- @treturn ?boolean
-- @treturn ?string what is wrong
function board.want(epoch, name, ports)
  local where = ports and table.concat(ports, "|") .. "|" or "*"
  return names():set(name, ("%d|%s"):format(epoch, where))
end

--- In control: this name is served no more.
function board.unwant(name)
  names():delete(name)
  pairs_of():delete(name)
end

--- In control: puts a certificate into service.
-- @tparam string name
-- @tparam string text key and chain
-- @treturn ?boolean
-- @treturn ?string what is wrong
function board.put(name, text)
  return pairs_of():set(name, text, long)
end

--- The certificate of a name, as text.
-- @treturn ?string
function board.get(name)
  return pairs_of():get(name)
end

--- Is a name served on this port?
-- @treturn ?string "listed"; "perhaps": only who is asked can say; nil: it is not
function board.wants(name, port)
  local shared = names()
  local epoch, entry = shared:get(epoch_key), shared:get(name)
  if not epoch then
    return nil
  end
  local of, ports = (type(entry) == "string" and entry or ""):match("^(%d+)(|.*)$")
  of = tonumber(of)
  if not of or of > epoch or of < shared:get(from_key) then
    return shared:get(any_key) == epoch and "perhaps" or nil
  end
  local is_here = ports == "|*" or ports:find(("|%d|"):format(port), 1, true)
  return is_here and "listed" or nil
end

--- Do other instances answer for the same names?
function board.is_shared()
  local shared = names()
  local epoch = shared:get(epoch_key)
  return epoch ~= nil and shared:get(shared_key) == epoch
end

--- The topic on which it is told that an order has come to an end.
function board.topic(name)
  return "sluice.certificates/" .. name
end

--- Where a manager is asked, with sluice.ask. There may be two of them while a script is reloaded.
-- @tparam[opt] number epoch of the manager; the newest
function board.question(epoch)
  return ("sluice.certificates/%d"):format(epoch or names():get(epoch_key) or 0)
end

return board
