--- One order of one certificate (RFC 8555, section 7.4): order, authorizations, challenge, CSR,
-- chain.

local sluice = require "sluice"
local fault = require "sluice.acme.fault"
local pair = require "sluice.certificates.pair"

local order = {}
order.__index = order

local patience = 120        -- seconds for an order from its beginning to its end
local first_pause, longest_pause = 0.25, 10

-- A CA says how long its answer takes, or is asked more and more seldom.
local function pause(self, response, tries)
  local wait = response.retry_after or math.min(first_pause * 1.6 ^ tries, longest_pause)
  wait = math.min(math.max(wait, first_pause), longest_pause)
  if sluice.now() + wait > self._ends then
    return nil, fault.new("name", "the CA did not come to an end within %d s", patience)
  end
  sluice.sleep(wait)
  return true
end

local function post(self, url, payload, accept)
  return self._ca:post(url, payload, self._account, accept)
end

local function object(url, response)
  if type(response.value) ~= "table" or type(response.value.status) ~= "string" then
    return nil, fault.garbage(url, "what was sent is no ACME object")
  end
  return response.value
end

-- Asks until the object at this URL is in none of the states that pass.
local function await(self, url, passing, response)
  local tries = 0
  while true do
    local err
    if not response then
      response, err = post(self, url)
      if not response then
        return nil, err
      end
    end
    local value
    value, err = object(url, response)
    if not value then
      return nil, err
    end
    if not passing[value.status] then
      return value
    end
    local ok
    ok, err = pause(self, response, tries)
    if not ok then
      return nil, err
    end
    response, tries = nil, tries + 1
  end
end

local function new_order(self)
  local directory, err = self._ca:directory()
  if not directory then
    return nil, err
  end
  local request = {
    identifiers = sluice.json.array { { type = "dns", value = self._name } },
    profile = self._profile,
    replaces = directory.renewalInfo and self._replaces or nil,
  }
  local response
  response, err = post(self, directory.newOrder, request)
  if not response and self._replaces then
    -- One that was replaced before, or that this CA has not issued: it is new to it.
    if err.scope == "name" then
      self._replaces = nil
      return new_order(self)
    end
  end
  if not response then
    return nil, err
  end
  local url = response.headers.location
  if not url then
    return nil, fault.garbage(directory.newOrder, "an order without a URL")
  end
  local value
  value, err = object(directory.newOrder, response)
  return value, err or url
end

local function find_challenge(authorization, kind)
  local list = authorization.challenges
  for _, challenge in ipairs(type(list) == "table" and list or {}) do
    if type(challenge) == "table" and challenge.type == kind and type(challenge.token) == "string"
      and type(challenge.url) == "string" then
      return challenge
    end
  end
end

local function why_invalid(authorization, kind)
  local challenge = find_challenge(authorization, kind)
  local found = challenge and fault.of_problem(challenge.error)
    or fault.new("name", "the authorization is %s", authorization.status)
  found.scope = "name"
  found.text = kind .. ": " .. found.text
  return found
end

-- Answers the challenge of one authorization and waits for what the CA makes of it.
local function authorize(self, url)
  local authorization, err = await(self, url, {})
  if not authorization then
    return nil, err
  end
  if authorization.status == "valid" then
    return true
  end
  local challenge = find_challenge(authorization, self._kind)
  if not challenge then
    return nil, fault.new("name", "%s: the CA does not offer this challenge", self._kind)
  end
  local hide
  hide, err = self._challenges:show(self._kind, self._name, challenge.token,
    challenge.token .. "." .. self._account.thumbprint)
  if not hide then
    return nil, fault.new("name", "%s", err)
  end
  local response
  response, err = post(self, challenge.url, {})
  if response then
    authorization, err = await(self, url, { pending = true, processing = true })
  end
  hide()
  if response and authorization and authorization.status ~= "valid" then
    return nil, why_invalid(authorization, self._kind)
  end
  return response and authorization and true, err
end

local chain_type = "application/pem-certificate-chain"

local function download(self, url, key)
  local response, err = post(self, url, nil, chain_type)
  if not response then
    return nil, err
  end
  local issued = { cert = response.body, key = key:pem("sec1") }
  local ok, why = pair.check(issued, self._name) -- a CA may be mistaken as well
  if not ok then
    return nil, fault.garbage(url, why)
  end
  return issued
end

local function failed(value)
  local found = fault.of_problem(value.error)
    or fault.new("name", "the order is %s", value.status)
  found.scope = found.scope == "ca" and "ca" or "name"
  return found
end

local function finalize(self, value, url)
  local key = sluice.crypto.new_key("P-256")
  local csr = sluice.crypto.base64url(key:csr { self._name })
  local response, err = post(self, value.finalize, { csr = csr })
  if not response then
    return nil, err
  end
  value, err = await(self, url, { ready = true, processing = true }, response)
  if not value then
    return nil, err
  end
  if value.status ~= "valid" or type(value.certificate) ~= "string" then
    return nil, failed(value)
  end
  return download(self, value.certificate, key)
end

--- Orders a certificate and waits for it.
-- @tparam table with `ca` (sluice.acme.client), `account` (of sluice.acme.account), `challenges`
-- (sluice.acme.challenges), `name`, `kind` of challenge, `profile`, `replaces` (RFC 9773)
-- @treturn ?table `cert` (the chain), `key`: PEM
-- @treturn ?table fault
function order.run(with)
  local self = setmetatable({
    _ca = with.ca,
    _account = with.account,
    _challenges = with.challenges,
    _name = with.name,
    _kind = with.kind,
    _profile = with.profile,
    _replaces = with.replaces,
    _ends = sluice.now() + patience,
  }, order)
  local value, url = new_order(self)
  if not value then
    return nil, url
  end
  local list = type(value.authorizations) == "table" and value.authorizations or {}
  if #list ~= 1 then
    return nil, fault.garbage(url, "one name needs one authorization, not " .. #list)
  end
  local ok, refusal = authorize(self, list[1])
  if not ok then
    return nil, refusal
  end
  local err
  value, err = await(self, url, { pending = true })
  if not value then
    return nil, err
  end
  if value.status ~= "ready" then
    return nil, failed(value)
  end
  return finalize(self, value, url)
end

return order
