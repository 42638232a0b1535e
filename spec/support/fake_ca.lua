--- A CA in the fake world, that keeps the rules of RFC 8555 and breaks them on demand.
--
--   local ca = fake_ca.new { certify = function(csr) return pem end }
--   ca:serve()                              -- at ca.directory
--   ca:next_problem("new-order", 429, "rateLimited", { ["retry-after"] = "120" })

local sluice = require "sluice"

local fake_ca = {}
fake_ca.__index = fake_ca

local base = "http://127.0.0.1:14000"

--- @tparam table options certify(csr): PEM; `profiles`, `eab` (required), `renewal_info`,
-- `on_challenge(challenge, order)`: true, or the type of a problem
function fake_ca.new(options)
  return setmetatable({
    directory = base .. "/directory",
    options = options,
    nonces = {}, n_nonces = 0,
    accounts = {}, orders = {}, n_accounts = 0,
    problems = {},
    log = {},
    windows = {},
  }, fake_ca)
end

local function json(status, value, headers)
  headers = headers or {}
  headers["content-type"] = headers["content-type"] or "application/json"
  return sluice.reply(status, sluice.json.encode(value), headers)
end

local function problem(status, kind, headers)
  headers = headers or {}
  headers["content-type"] = "application/problem+json"
  return json(status, { type = "urn:ietf:params:acme:error:" .. kind, detail = "so it is" },
    headers)
end

--- The next request to this endpoint is answered so.
function fake_ca:next_problem(endpoint, status, kind, headers)
  self.problems[endpoint] = self.problems[endpoint] or {}
  table.insert(self.problems[endpoint], problem(status, kind, headers))
end

--- The next request to this endpoint is answered with this verb.
function fake_ca:next_reply(endpoint, verb)
  self.problems[endpoint] = self.problems[endpoint] or {}
  table.insert(self.problems[endpoint], verb)
end

function fake_ca:count(endpoint)
  local n = 0
  for _, entry in ipairs(self.log) do
    n = n + (entry.endpoint == endpoint and 1 or 0)
  end
  return n
end

--- What the last request to this endpoint said.
function fake_ca:last(endpoint)
  for i = #self.log, 1, -1 do
    if self.log[i].endpoint == endpoint then
      return self.log[i]
    end
  end
end

local gets = {}

function gets.directory(self)
  return json(200, {
    newNonce = base .. "/new-nonce", newAccount = base .. "/new-account",
    newOrder = base .. "/new-order",
    renewalInfo = self.options.renewal_info and base .. "/renewal" or nil,
    meta = { profiles = self.options.profiles },
  })
end

gets["new-nonce"] = function()
  return sluice.reply(200, "")
end

function gets.renewal(self, what)
  local window = self.windows[what] or self.window
  return window and json(200, { suggestedWindow = window }, { ["retry-after"] = "3600" })
    or problem(404, "malformed")
end

local posts = {}

posts["new-account"] = function(self, _, message)
  if self.options.eab and not message.payload.externalAccountBinding then
    return problem(403, "externalAccountRequired")
  end
  local known = sluice.json.encode(message.protected.jwk)
  local status = self.accounts[known] and 200 or 201
  if status == 201 then
    self.n_accounts = self.n_accounts + 1
    self.accounts[known] = ("%s/account/%d"):format(base, self.n_accounts)
  end
  return json(status, { status = "valid", contact = message.payload.contact },
    { location = self.accounts[known] })
end

function posts.account(_, _, message)
  return json(200, { status = "valid", contact = message.payload.contact })
end

local function shown_order(order)
  return json(200, {
    status = order.status, authorizations = { order.url .. "/authz" },
    finalize = order.url:gsub("/order/", "/finalize/"), error = order.error,
    certificate = order.chain and order.url:gsub("/order/", "/certificate/") or nil,
  }, { location = order.url, ["retry-after"] = order.retry_after })
end

posts["new-order"] = function(self, _, message)
  local n = #self.orders + 1
  self.orders[n] = {
    url = ("%s/order/%d"):format(base, n), status = "pending", authorization = "pending",
    name = message.payload.identifiers[1].value, replaces = message.payload.replaces,
    profile = message.payload.profile, challenge_status = {},
  }
  local verb = shown_order(self.orders[n])
  verb.status = 201
  return verb
end

local function challenge_of(order, kind)
  local url = order.url:gsub("/order/", "/challenge/") .. "/" .. kind
  return { type = kind, url = url, token = "token-of-" .. kind,
    status = order.challenge_status[kind] or "pending", error = order.challenge_error }
end

function posts.order(self, what)
  local order = self.orders[tonumber(what:match("^%d+"))]
  if what:find("/authz") then
    return json(200, { status = order.authorization,
      identifier = { type = "dns", value = order.name },
      challenges = { challenge_of(order, "http-01"), challenge_of(order, "tls-alpn-01") } })
  end
  return shown_order(order)
end

function posts.challenge(self, what)
  local n, kind = what:match("^(%d+)/(.*)$")
  local order = self.orders[tonumber(n)]
  local judge = self.options.on_challenge or function() return true end
  local verdict = judge(challenge_of(order, kind), order)
  if verdict == true then
    order.authorization, order.status = "valid", "ready"
  else
    order.authorization, order.status = "invalid", "invalid"
    order.challenge_error = { type = "urn:ietf:params:acme:error:" .. verdict, detail = "no" }
  end
  order.challenge_status[kind] = order.authorization
  return json(200, challenge_of(order, kind))
end

function posts.finalize(self, what, message)
  local order = self.orders[tonumber(what)]
  order.chain = self.options.certify(sluice.crypto.unbase64url(message.payload.csr), order.name)
  order.status = "valid"
  return shown_order(order)
end

function posts.certificate(self, what)
  return sluice.reply(200, self.orders[tonumber(what)].chain,
    { ["content-type"] = "application/pem-certificate-chain" })
end

local function message_of(req)
  local body = sluice.json.decode(req:body())
  local payload = sluice.crypto.unbase64url(body.payload)
  return {
    protected = sluice.json.decode(sluice.crypto.unbase64url(body.protected)),
    payload = payload ~= "" and sluice.json.decode(payload) or nil,
    bytes = payload,
  }
end

local function is_known(self, kid)
  for _, url in pairs(self.accounts) do
    if url == kid then
      return true
    end
  end
end

-- Section 6: nonces once, the URL that was asked, the account that is known.
local function refusal(self, req, endpoint, message)
  if not self.nonces[message.protected.nonce] then
    return problem(400, "badNonce")
  end
  self.nonces[message.protected.nonce] = nil
  if message.protected.url ~= base .. req:path()
    or req:header("content-type") ~= "application/jose+json" then
    return problem(400, "malformed")
  end
  if endpoint ~= "new-account" and not is_known(self, message.protected.kid) then
    return problem(400, "accountDoesNotExist")
  end
end

local function answer(self, req)
  local endpoint, what = req:path():match("^/([%w-]+)/?(.*)$")
  local entry = { endpoint = endpoint, agent = req:header("user-agent") }
  table.insert(self.log, entry)
  local planned = table.remove(self.problems[endpoint] or {}, 1)
  if planned then
    return planned
  end
  if req:method() ~= "POST" then
    return gets[endpoint](self, what)
  end
  local message = message_of(req)
  entry.protected, entry.payload, entry.bytes = message.protected, message.payload, message.bytes
  return refusal(self, req, endpoint, message) or posts[endpoint](self, what, message)
end

--- For sluice.serve; every answer brings a nonce.
function fake_ca:handle(req)
  local verb = answer(self, req)
  self.n_nonces = self.n_nonces + 1
  local nonce = "nonce-" .. self.n_nonces
  self.nonces[nonce] = true
  verb.headers = verb.headers or {}
  verb.headers["replay-nonce"] = nonce
  verb.headers.date = self.date
  return verb
end

function fake_ca:serve()
  return sluice.serve { port = 14000, handler = function(req) return self:handle(req) end }
end

return fake_ca
