--- Answers to a CA that wants to see that a name leads here: tls-alpn-01 (RFC 8737) and http-01
-- (RFC 8555, section 8.3). What one task of the control thread puts up every worker shows, and with
-- a storage that several instances share those do, too.

local sluice = require "sluice"

local challenges = {}
challenges.__index = challenges

--- Where http-01 asks.
challenges.path = "/.well-known/acme-challenge/"
--- What tls-alpn-01 offers, alone.
challenges.alpn = "acme-tls/1"

local lifetime = 600 -- seconds; orders are given up before

local function board()
  return sluice.shared("sluice.acme.challenges")
end

-- Names and tokens come from strangers; what does not look like one is none.
local function key_of(kind, what)
  return kind .. "/" .. what
end

local function is_token(token)
  return #token <= 512 and token:find("^[%w_-]+$") ~= nil
end

--- @tparam[opt] table storage one that other instances share
function challenges.new(storage)
  return setmetatable({ _storage = storage }, challenges)
end

local answers = {}

answers["http-01"] = function(_, token, authorization)
  return key_of("http", token), authorization
end

answers["tls-alpn-01"] = function(name, _, authorization)
  local key = sluice.crypto.new_key()
  local cert = key:self_signed({ name }, {
    days = 1,
    acme_identifier = sluice.crypto.sha256(authorization),
  })
  return key_of("alpn", name), key:pem("sec1") .. cert
end

--- Puts the answer up.
-- @tparam string kind "http-01" or "tls-alpn-01"
-- @tparam string name
-- @tparam string token of the challenge
-- @tparam string authorization of the key (RFC 8555, section 8.1)
-- @treturn ?function takes it down again
-- @treturn ?string why it cannot be shown
function challenges:show(kind, name, token, authorization)
  if not is_token(token) then
    return nil, "the CA sent a token that is none"
  end
  local key, answer = answers[kind](name, token, authorization)
  local ok, err = board():set(key, answer, lifetime)
  if ok and self._storage then
    ok, err = self._storage:write("challenge/" .. key, answer, lifetime)
  end
  if not ok then
    return nil, "the answer cannot be shown: " .. err
  end
  return function()
    board():delete(key)
    if self._storage then
      self._storage:remove("challenge/" .. key)
    end
  end
end

--- On any thread: the answer for a name or a token, if there is one.
-- @tparam string kind "alpn" or "http"
-- @tparam string what name or token
-- @treturn ?string key and certificate as PEM, or the key authorization
function challenges.find(kind, what)
  return board():get(key_of(kind, what))
end

--- In control: one that another instance has put up.
function challenges:fetch(kind, what)
  if not self._storage or (kind == "http" and not is_token(what)) then
    return nil
  end
  local answer = self._storage:read("challenge/" .. key_of(kind, what))
  if answer then
    board():set(key_of(kind, what), answer, lifetime)
  end
  return answer
end

challenges.is_token = is_token

return challenges
