local acme = require "sluice.acme"
local certificates = require "sluice.certificates"
local fake_ca = require "support.fake_ca"
local fakes = require "support.certificates"
local keys = require "sluice.testing.keys"
local sluice = require "sluice"
local testing = require "sluice.testing"

local world = testing.world
local clock = testing.clock()
local day = 86400

describe("certificates in Redis", function()
  local server, storage

  before_each(function()
    testing.reset()
    server = testing.redis()
    world.redis["127.0.0.1:6379"] = server
    storage = certificates.redis { prefix = "x:" }
  end)

  it("are written and read", function()
    assert.same({ nil, "not found" }, { storage:read "a.example.com" })
    assert.is_true(storage:write("a.example.com", "text"))
    assert.equal("text", storage:read "a.example.com")
    assert.equal("text", server.data["x:a.example.com"].value)
    storage:remove "a.example.com"
    assert.same({ nil, "not found" }, { storage:read "a.example.com" })
  end)

  it("and answers to challenges end by themselves", function()
    storage:write("challenge/http/token", "answer", 600)
    clock:advance(601)
    assert.same({ nil, "not found" }, { storage:read "challenge/http/token" })
  end)

  it("are locked by one instance at a time, and for no longer than it may take", function()
    assert.is_function((storage:lock "a.example.com"))
    local another = certificates.redis { prefix = "x:" }
    assert.same({ nil, "busy" }, { another:lock "a.example.com" })
    assert.is_function((another:lock "b.example.com"))
    clock:advance(301)
    assert.is_function((another:lock "a.example.com"))
  end)

  it("are waited for while another instance is at work", function()
    local issuer = fakes.issuer()
    server.data["x:lock/a.example.com"] = { value = "of another", ends = sluice.now() + 20 }
    local manager = certificates.new { issuer = issuer, storage = storage }
    manager:set_names { ["a.example.com"] = true }
    clock:advance(10)
    assert.equal(0, #issuer.calls)
    storage:write("a.example.com", fakes.kept("a.example.com"))
    clock:advance(20)
    assert.equal(0, #issuer.calls)
    assert.equal(1, manager:status().live)
    manager:close()
  end)

  it("have one account, whoever begins with it", function()
    local ca = fake_ca.new { certify = function(csr)
      local request = sluice.json.decode(csr)
      return keys.fake_certificate(keys.key(request.jwk), request.names)
    end }
    ca:serve()
    server.data["x:lock/acme_account+key"] = { value = "of another", ends = sluice.now() + 5 }
    local issuer = assert(acme.new { directory = ca.directory, storage = storage })
    local issued
    sluice.spawn(function() issued = issuer:issue "a.example.com" end)
    clock:advance(3)
    assert.equal(0, ca:count "new-account")
    storage:write("acme_account+key", keys.new_key():pem "sec1")
    clock:advance(10)
    assert.is_table(issued)
    assert.same(sluice.crypto.key(storage:read "acme_account+key"):jwk(),
      ca:last("new-account").protected.jwk)
  end)

  it("are there again when Redis is", function()
    storage:write("a.example.com", "text")
    server:stop()
    assert.same({ nil, "Redis: connection refused" }, { storage:read "a.example.com" })
    server:start()
    assert.equal("text", storage:read "a.example.com")
    for connection in pairs(server.connections) do
      connection:close() -- lost behind our back
    end
    assert.equal("text", storage:read "a.example.com")
  end)

  it("are not ordered while Redis is away, and what is in service stays", function()
    local issuer = fakes.issuer()
    storage:write("a.example.com", fakes.kept("a.example.com", 90, sluice.time() - 70 * day))
    server:stop()
    local manager = certificates.new { issuer = issuer, storage = storage }
    manager:set_names { ["a.example.com"] = true }
    clock:advance(60)
    assert.equal(0, #issuer.calls)
    server:start()
    clock:advance(120)
    assert.equal(1, #issuer.calls)
    server:stop()
    assert.is_not_nil(certificates.hooks().on_hello(testing.hello { sni = "a.example.com" }))
    manager:close()
  end)
end)
