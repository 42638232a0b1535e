-- How to test a policy: `./dev test -R quickstart`, or busted on this file alone.
-- sluice.testing makes the handles that hooks get and loads the script as the runtime does; verbs
-- are plain tables, which assert.same compares.

local sluice = require "sluice"
local testing = require "sluice.testing"

describe("the quickstart policy", function()
  local policy

  before_each(function()
    testing.reset()
    policy = testing.load("examples/quickstart/policy.lua")
  end)

  it("turns a bad bot away", function()
    local req = testing.request { headers = { ["user-agent"] = "bad-bot" } }
    assert.same(sluice.deny(403), policy.on_request(req))
  end)

  it("lets everybody else through and tells the target", function()
    local req = testing.request { path = "/shop?page=2" }
    assert.is_nil(policy.on_request(req))
    assert.equal("ok", req:header("x-policy"))
  end)

  it("answers by itself", function()
    assert.same(sluice.reply(200, "hello from Lua\n"),
      policy.on_request(testing.request { path = "/hello" }))
    assert.same(sluice.redirect("/", 301), policy.on_request(testing.request { path = "/old" }))
  end)

  it("does not say what the target is", function()
    local res = testing.response { headers = { Server = "nginx" } }
    assert.is_nil(policy.on_response(res, testing.request()))
    assert.is_nil(res:header("server"))
    assert.equal("sluice", res:header("x-served-by"))
  end)

  -- start() runs on a fake core: it is seen what it would publish, serve and print.
  it("puts the origin behind a self-signed certificate", function()
    sluice.spawn(policy.start)
    local spec = testing.world.published[1].specs[1]
    assert.equal("self-signed", spec.cert)
    local origin = ("http://127.0.0.1:%d/x?y"):format(spec.targets[1].port)
    local response = sluice.fetch(origin, { headers = { ["x-policy"] = "ok" } })
    assert.matches("^GET /x%?y\n", response.body)
    assert.matches("x%-policy: ok\n", response.body)
    assert.matches("curl %-k https://localhost:8443/\n", testing.world.printed[1])
  end)

  it("listens on another port when it is told to", function()
    table.insert(testing.world.args, "9443")
    sluice.spawn(policy.start)
    assert.same({ { 9443, 9443 } }, testing.world.published[1].specs[1].ports)
  end)

  it("does not start when the port is taken", function()
    testing.fake("publish", function() return nil, "port 8443: address in use" end)
    local ok, err
    sluice.spawn(function() ok, err = policy.start() end)
    assert.is_nil(ok)
    assert.equal("port 8443: address in use", err)
  end)
end)
