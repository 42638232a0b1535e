-- The policy on a fake CA: what a visitor's first handshake leads to, and what it does not.

local certificates = require "sluice.certificates"
local fake_ca = require "support.fake_ca"
local keys = require "sluice.testing.keys"
local sluice = require "sluice"
local testing = require "sluice.testing"

local world = testing.world
local clock = testing.clock()

describe("the policy of tenants", function()
  local policy, ca, hooks

  before_each(function()
    testing.reset()
    hooks = certificates.hooks()
    ca = fake_ca.new { certify = function(csr)
      local request = sluice.json.decode(csr)
      return keys.fake_certificate(keys.key(request.jwk), request.names)
    end }
    ca:serve()
    world.env.ACME_DIRECTORY = ca.directory
    world.files["tenants.json"] = '{"shop.example":"127.0.0.1:3000"}'
    policy = testing.load("examples/tenants/policy.lua")
    sluice.spawn(policy.start)
  end)

  -- The names of the certificate that a client sees.
  local function shake(name)
    local verb
    sluice.spawn(function() verb = hooks.on_hello(testing.hello { sni = name }) end)
    clock:advance(10)
    return verb and sluice.crypto.certificate(verb.cert).names
  end

  local function ask(host, scheme, path)
    return policy.on_request(testing.request { host = host, scheme = scheme, path = path })
  end

  it("orders a certificate when a visitor asks for a tenant", function()
    assert.same({ "shop.example" }, shake "shop.example")
    assert.equal(1, ca:count "new-order")
  end)

  it("orders none for anybody else", function()
    assert.is_nil(shake "evil.example")
    assert.equal(0, ca:count "new-order")
  end)

  it("forwards to the tenant, over HTTPS alone", function()
    assert.same(sluice.target("127.0.0.1", 3000), ask("shop.example", "https"))
    assert.same(sluice.redirect("https://shop.example/a", 308), ask("shop.example", "http", "/a"))
    assert.equal(404, ask("evil.example", "https").status)
  end)

  it("learns of new tenants, and forgets old ones", function()
    world.files["tenants.json"] = '{"new.example":"127.0.0.1:3001"}'
    clock:advance(6)
    assert.same({ "new.example" }, shake "new.example")
    assert.equal(404, ask("shop.example", "https").status)
    world.files["tenants.json"] = "oops"
    clock:advance(6)
    assert.same(sluice.target("127.0.0.1", 3001), ask("new.example", "https"))
  end)
end)
