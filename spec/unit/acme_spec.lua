local acme = require "sluice.acme"
local certificates = require "sluice.certificates"
local challenges = require "sluice.acme.challenges"
local dates = require "sluice.acme.dates"
local fake_ca = require "support.fake_ca"
local fault = require "sluice.acme.fault"
local keys = require "sluice.testing.keys"
local sluice = require "sluice"
local testing = require "sluice.testing"

local world = testing.world

-- Runs fn as a task and moves the clock until it has ended.
local function run(fn)
  local results
  sluice.spawn(function() results = { fn() } end)
  for _ = 1, 2000 do
    if results then
      return unpack(results, 1, 4)
    end
    testing.clock():advance(0.25)
  end
  error("the task does not end")
end

local function certify(csr)
  local request = sluice.json.decode(csr)
  return keys.fake_certificate(keys.key(request.jwk), request.names,
    { authority_key_id = "0102", serial = "0a0b" })
end

describe("the client of a CA", function()
  local ca, issuer, storage

  local function begin(options, ca_options)
    ca_options = ca_options or {}
    ca_options.certify = ca_options.certify or certify
    world.servers, world.files = {}, {}
    ca = fake_ca.new(ca_options)
    ca:serve()
    storage = certificates.disk "/certs"
    options = options or {}
    options.directory, options.storage = ca.directory, storage
    issuer = assert(acme.new(options))
  end

  local function issue(name, before)
    return run(function() return issuer:issue(name or "app.example.com", before) end)
  end

  before_each(function()
    testing.reset()
    begin()
  end)

  it("gets a certificate", function()
    local pair = assert(issue())
    assert.same({ "app.example.com" }, sluice.crypto.certificate(pair.cert).names)
    assert.matches("EC PRIVATE KEY", pair.key)
    assert.equal("ES256", ca:last("new-order").protected.alg)
    assert.matches("^sluice/", ca:last("directory").agent)
  end)

  it("keeps its account under the name that autocert gives it", function()
    begin { email = "ops@example.com" }
    assert(issue())
    assert.matches("BEGIN EC PRIVATE KEY", world.files["/certs/acme_account+key"])
    local request = ca:last("new-account")
    assert.same({ true, { "mailto:ops@example.com" } },
      { request.payload.termsOfServiceAgreed, request.payload.contact })
    assert.is_nil(request.protected.kid)
    assert.equal("EC", request.protected.jwk.kty)
  end)

  it("registers once, and finds the account again after a restart", function()
    assert(issue())
    assert(issue "b.example.com")
    assert.equal(1, ca:count "new-account")
    issuer = assert(acme.new { directory = ca.directory, storage = storage })
    assert(issue "c.example.com")
    assert.equal(1, ca.n_accounts)
  end)

  it("does not replace an account key that it cannot read", function()
    world.files["/certs/acme_account+key"] = "rubbish"
    local pair, err, _, scope = issue()
    assert.is_nil(pair)
    assert.matches("move it away", err)
    assert.equal("ca", scope)
    assert.equal("rubbish", world.files["/certs/acme_account+key"])
  end)

  it("registers again with a CA that has forgotten it", function()
    assert(issue())
    ca.accounts = {}
    assert(issue "b.example.com")
    assert.equal(2, ca.n_accounts)
  end)

  it("takes a new nonce when the CA does not like the old one", function()
    ca:next_problem("new-order", 400, "badNonce")
    ca:next_problem("new-order", 400, "badNonce")
    assert(issue())
    assert.equal(3, ca:count "new-order")
  end)

  it("gives up on a CA that likes no nonce", function()
    for _ = 1, 50 do
      ca:next_problem("new-account", 400, "badNonce")
    end
    local pair, err = issue()
    assert.is_nil(pair)
    assert.matches("badNonce", err)
    assert.is_true(ca:count "new-account" <= 10)
  end)

  it("binds the account to the one that the operator has", function()
    begin({}, { eab = true })
    local _, refused, _, scope = issue()
    assert.matches("externalAccountRequired.*set eab", refused)
    assert.equal("ca", scope)
    begin({ eab = { kid = "me", hmac_key = sluice.crypto.base64url "secret" } }, { eab = true })
    assert(issue())
    local sent = ca:last("new-account")
    local binding = sent.payload.externalAccountBinding
    local protected = sluice.json.decode(sluice.crypto.unbase64url(binding.protected))
    assert.same({ alg = "HS256", kid = "me", url = sent.protected.url }, protected)
    assert.same(sent.protected.jwk, sluice.json.decode(sluice.crypto.unbase64url(binding.payload)))
    assert.equal(sluice.crypto.base64url(sluice.crypto.hmac_sha256("secret",
      binding.protected .. "." .. binding.payload)), binding.signature)
  end)

  it("shows the answer to tls-alpn-01 while it is asked, and no longer", function()
    local shown
    begin({}, { on_challenge = function(challenge, order)
      local text = challenges.find("alpn", order.name)
      shown = { challenge.type, text and sluice.crypto.certificate(text).names[1] }
      return true
    end })
    assert(issue())
    assert.same({ "tls-alpn-01", "app.example.com" }, shown)
    assert.is_nil(challenges.find("alpn", "app.example.com"))
  end)

  it("goes on with http-01 where tls-alpn-01 fails, and begins with it next time", function()
    local asked = {}
    begin({}, { on_challenge = function(challenge)
      table.insert(asked, challenge.type)
      return challenge.type == "http-01" and challenges.find("http", challenge.token) ~= nil
        or "connection"
    end })
    assert(issue())
    assert(issue "b.example.com")
    assert.same({ "tls-alpn-01", "http-01", "http-01" }, asked)
    assert.matches("^token%-of%-http%-01%.[%w_-]+$", "token-of-http-01." .. sluice.crypto.base64url(
      sluice.crypto.key(world.files["/certs/acme_account+key"]):thumbprint()))
  end)

  it("tells what is wrong with each challenge, and what to do", function()
    begin({}, { on_challenge = function() return "connection" end })
    local pair, err, _, scope = issue()
    assert.is_nil(pair)
    assert.matches("tls%-alpn%-01: connection: no.*must lead here.*http%-01: connection", err)
    assert.equal("name", scope)
  end)

  it("passes on how long a CA asks to wait", function()
    ca:next_problem("new-order", 429, "rateLimited", { ["retry-after"] = "7200" })
    local pair, err, wait, scope = issue()
    assert.is_nil(pair)
    assert.matches("rateLimited", err)
    assert.same({ 7200, "limit" }, { wait, scope })
    assert.equal(1, ca:count "new-order")
  end)

  for what, verb in pairs {
    ["500"] = sluice.reply(500, "oops"),
    ["503 with a date"] = sluice.reply(503, "",
      { ["retry-after"] = "Tue, 14 Nov 2023 22:14:20 GMT" }),
    ["HTML"] = sluice.reply(200, "<html>hello", { ["content-type"] = "text/html" }),
    ["JSON of something else"] = sluice.reply(200, "[]", { ["content-type"] = "application/json" }),
    ["JSON that ends early"] = sluice.reply(200, '{"newNonce":', { ["content-type"] = "a/json" }),
    ["null"] = sluice.reply(200, "null", { ["content-type"] = "application/json" }),
  } do
    for _, endpoint in ipairs { "directory", "new-order", "order", "finalize", "certificate" } do
      it(("survives %s as its %s"):format(what, endpoint), function()
        ca:next_reply(endpoint, verb)
        ca:next_reply(endpoint, verb)
        local pair, err, wait, scope = issue()
        assert.is_nil(pair)
        assert.is_string(err)
        assert.equal("ca", scope)
        assert.is_true(wait == nil or wait > 0)
      end)
    end
  end

  it("survives a CA that is not there", function()
    world.servers = {}
    local pair, err, _, scope = issue()
    assert.is_nil(pair)
    assert.matches("connection refused %(is the directory right", err)
    assert.equal("ca", scope)
  end)

  it("does not put into service what is for another name or key", function()
    begin({}, { certify = function(csr)
      local key = keys.key(sluice.json.decode(csr).jwk)
      return keys.fake_certificate(key, { "evil.example.com" })
    end })
    assert.matches("not for app.example.com", select(2, issue()))
    begin({}, { certify = function()
      return keys.fake_certificate(keys.new_key(), { "app.example.com" })
    end })
    assert.matches("do not belong together", select(2, issue()))
  end)

  it("asks for a profile that the CA has, and for no other", function()
    begin({ profile = "shortlived" }, { profiles = { shortlived = "6 days", classic = "90 days" } })
    assert(issue())
    assert.equal("shortlived", ca.orders[1].profile)
    begin({ profile = "short" }, { profiles = { shortlived = "6 days", classic = "90 days" } })
    assert.matches('no profile "short" %(it has classic, shortlived%)', select(2, issue()))
    assert.equal(0, ca:count "new-order")
  end)

  it("says which certificate it replaces, where the CA wants to know", function()
    begin({}, { renewal_info = true })
    local first = assert(issue())
    assert(issue("app.example.com", first.cert))
    assert.same({ nil, "AQI.Cgs" }, { ca.orders[1].replaces, ca.orders[2].replaces })
    ca:next_problem("new-order", 409, "alreadyReplaced")
    assert(issue("app.example.com", first.cert))
    assert.is_nil(ca.orders[3].replaces)
  end)

  it("asks when a certificate is to be renewed", function()
    begin({}, { renewal_info = true })
    ca.window = { start = "2025-01-02T04:00:00Z", ["end"] = "2025-01-03T04:00:00Z" }
    local pair = assert(issue())
    local said = run(function() return issuer:renewal(sluice.crypto.certificate(pair.cert)) end)
    assert.same({ 1735790400, 1735876800, 3600 }, { said.from, said.to, said.ask_after })
    assert.is_true(said.at >= said.from and said.at <= said.to)
    ca.window = { start = "tomorrow" }
    assert.is_nil(run(function() return issuer:renewal(sluice.crypto.certificate(pair.cert)) end))
  end)

  it("learns the time from the CA", function()
    ca.date = "Tue, 21 Nov 2023 22:13:20 GMT" -- the fake world begins a week before
    assert(issue())
    assert.is_true(math.abs(issuer:offset() - 7 * 86400) < 60)
  end)

  it("accepts names that a public CA can issue for", function()
    for _, name in ipairs { "app.example.com", "a.b", "xn--bcher-kva.example", "1.example" } do
      assert.is_true(issuer:accepts(name))
    end
    for _, name in ipairs { "localhost", "*.example.com", "192.0.2.1", "2001:db8::1", "a..b",
      "_dmarc.example.com", ".example.com", "example.com.", "a.b/../c", "" } do
      assert.is_false(issuer:accepts(name))
    end
  end)

  it("refuses options that are wrong", function()
    local storage_of = certificates.disk "/certs"
    for what, options in pairs {
      ["acme: directory must be an https URL"] = { directory = "http://ca.example/",
        storage = storage_of },
      ["acme: directory is missing"] = { storage = storage_of },
      ['acme: unknown option emial (did you mean "email"?)'] = { emial = "a@b" },
      ["acme: email is not an e-mail address"] = { email = "mailto:a@b?x" },
      ["acme: challenges must be a list of tls-alpn-01, http-01"] = { challenges = { "dns-01" } },
    } do
      local made, err = acme.new(options)
      assert.is_nil(made)
      assert.equal(what, err)
    end
  end)
end)

describe("dates", function()
  it("of HTTP and of RFC 3339 are read", function()
    assert.equal(784111777, dates.http "Sun, 06 Nov 1994 08:49:37 GMT")
    assert.equal(1709164800, dates.http "Thu, 29 Feb 2024 00:00:00 GMT")
    assert.equal(1735790400, dates.rfc3339 "2025-01-02T04:00:00Z")
    assert.equal(1735790400, dates.rfc3339 "2025-01-02T05:30:00.123+01:30")
    for _, text in ipairs { "", "yesterday", "2025-13-02T04:00:00Z", "2025-01-02",
      "2025-01-02T04:00:00" } do
      assert.is_nil(dates.rfc3339(text))
      assert.is_nil(dates.http(text))
    end
    assert.is_nil(dates.http(nil))
  end)

  it("a Retry-After is seconds or a date, and never more than a week", function()
    assert.equal(120, dates.retry_after("120", 0))
    assert.equal(60, dates.retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111717))
    assert.equal(0, dates.retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 984111717))
    assert.equal(7 * 86400, dates.retry_after("99999999999999999999", 0))
    assert.is_nil(dates.retry_after("soon", 0))
    assert.is_nil(dates.retry_after(nil, 0))
  end)
end)

describe("a fault", function()
  it("stays on one line of the log, and is cut", function()
    local found = fault.of_problem { type = "urn:ietf:params:acme:error:dns",
      detail = "a\nb" .. ("x"):rep(1000) }
    assert.is_nil(found.text:find("[%c]"))
    assert.is_true(#found.text < 500)
  end)
end)
