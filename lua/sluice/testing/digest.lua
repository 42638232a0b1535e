--- Digests and encodings of sluice.crypto in plain LuaJIT, for specs: the same answers as the
-- runtime's, slowly.

local bit = require "bit"

local digest = {}

-- The first 32 bits of the fractional parts of the nth root of the first primes: the constants of
-- FIPS 180-4, computed rather than listed.
local function prime_roots(count, root)
  local words, candidate = {}, 2
  while #words < count do
    local is_prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      is_prime = is_prime and candidate % divisor ~= 0
    end
    if is_prime then
      local value = candidate ^ (1 / root)
      table.insert(words, bit.tobit(math.floor((value % 1) * 2 ^ 32)))
    end
    candidate = candidate + 1
  end
  return words
end

local initial, rounds = prime_roots(8, 2), prime_roots(64, 3)

local function big_endian(n)
  return string.char(bit.band(bit.rshift(n, 24), 255), bit.band(bit.rshift(n, 16), 255),
    bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

local function schedule(block, at)
  local w = {}
  for i = 0, 15 do
    local a, b, c, d = block:byte(at + i * 4, at + i * 4 + 3)
    w[i] = bit.bor(bit.lshift(a, 24), bit.lshift(b, 16), bit.lshift(c, 8), d)
  end
  for i = 16, 63 do
    local x, y = w[i - 15], w[i - 2]
    local s0 = bit.bxor(bit.ror(x, 7), bit.ror(x, 18), bit.rshift(x, 3))
    local s1 = bit.bxor(bit.ror(y, 17), bit.ror(y, 19), bit.rshift(y, 10))
    w[i] = bit.tobit(w[i - 16] + s0 + w[i - 7] + s1)
  end
  return w
end

local function compress(state, block, at)
  local w = schedule(block, at)
  local a, b, c, d, e, f, g, h = unpack(state)
  for i = 0, 63 do
    local s1 = bit.bxor(bit.ror(e, 6), bit.ror(e, 11), bit.ror(e, 25))
    local choice = bit.bxor(bit.band(e, f), bit.band(bit.bnot(e), g))
    local t1 = bit.tobit(bit.tobit(h + s1 + choice) + rounds[i + 1] + w[i])
    local s0 = bit.bxor(bit.ror(a, 2), bit.ror(a, 13), bit.ror(a, 22))
    local majority = bit.bxor(bit.band(a, b), bit.band(a, c), bit.band(b, c))
    h, g, f, e = g, f, e, bit.tobit(d + t1)
    d, c, b, a = c, b, a, bit.tobit(t1 + s0 + majority)
  end
  for i, value in ipairs { a, b, c, d, e, f, g, h } do
    state[i] = bit.tobit(state[i] + value)
  end
end

--- @treturn string 32 raw bytes
function digest.sha256(message)
  local padding = "\128" .. ("\0"):rep((55 - #message) % 64)
  local padded = message .. padding .. "\0\0\0\0" .. big_endian(#message * 8)
  local state = { unpack(initial) }
  for at = 1, #padded, 64 do
    compress(state, padded, at)
  end
  for i = 1, 8 do
    state[i] = big_endian(state[i])
  end
  return table.concat(state)
end

local function xor_all(text, with)
  return (text:gsub(".", function(c)
    return string.char(bit.bxor(c:byte(), with))
  end))
end

function digest.hmac_sha256(key, message)
  key = #key > 64 and digest.sha256(key) or key
  key = key .. ("\0"):rep(64 - #key)
  local inner = digest.sha256(xor_all(key, 0x36) .. message)
  return digest.sha256(xor_all(key, 0x5c) .. inner)
end

function digest.hex(bytes)
  return (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

function digest.base64(bytes)
  local out = {}
  for at = 1, #bytes, 3 do
    local a, b, c = bytes:byte(at, at + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for i = 0, 3 do
      local six = math.floor(n / 64 ^ (3 - i)) % 64 + 1
      local is_padding = (i == 2 and not b) or (i == 3 and not c)
      table.insert(out, is_padding and "=" or alphabet:sub(six, six))
    end
  end
  return table.concat(out)
end

function digest.unbase64(text)
  local body = text:match("^([%w+/]*)=?=?$")
  if not body or #text % 4 ~= 0 then
    return nil, "not base64"
  end
  local out, n, bits = {}, 0, 0
  for digit in body:gmatch(".") do
    n, bits = n * 64 + alphabet:find(digit, 1, true) - 1, bits + 6
    if bits >= 8 then
      bits = bits - 8
      table.insert(out, string.char(math.floor(n / 2 ^ bits)))
      n = n % 2 ^ bits
    end
  end
  return table.concat(out)
end

function digest.base64url(bytes)
  return (digest.base64(bytes):gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" }))
end

function digest.unbase64url(text)
  local plain = text:gsub("[-_]", { ["-"] = "+", ["_"] = "/" })
  return digest.unbase64(plain .. ("="):rep(-#text % 4))
end

local letters = "abcdefghijklmnopqrstuvwxyz234567"

function digest.base32(bytes)
  local out, n, bits = {}, 0, 0
  for byte in bytes:gmatch(".") do
    n, bits = n * 256 + byte:byte(), bits + 8
    while bits >= 5 do
      bits = bits - 5
      local five = math.floor(n / 2 ^ bits) + 1
      table.insert(out, letters:sub(five, five))
      n = n % 2 ^ bits
    end
  end
  local last = n * 2 ^ (5 - bits) + 1
  return table.concat(out) .. (bits > 0 and letters:sub(last, last) or "")
end

function digest.unbase32(text)
  local out, n, bits = {}, 0, 0
  for digit in text:lower():gmatch(".") do
    local at = letters:find(digit, 1, true)
    if not at then
      return nil, "not base32"
    end
    n, bits = n * 32 + at - 1, bits + 5
    if bits >= 8 then
      bits = bits - 8
      table.insert(out, string.char(math.floor(n / 2 ^ bits)))
      n = n % 2 ^ bits
    end
  end
  if n ~= 0 or bits >= 5 then
    return nil, "not base32"
  end
  return table.concat(out)
end

function digest.random(n)
  local bytes = {}
  for i = 1, n do
    bytes[i] = string.char(math.random(0, 255))
  end
  return table.concat(bytes)
end

function digest.equal(a, b)
  return a == b
end

return digest
