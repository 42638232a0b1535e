local sluice = require "sluice"
local testing = require "sluice.testing"

local world = testing.world

describe("scripts/coretraffic.lua", function()
  local coretraffic

  before_each(function()
    testing.reset()
    world.env.CORETRAFFIC_MODE = "standalone"
    coretraffic = testing.load("scripts/coretraffic.lua")
  end)

  -- Runs start() or check() as the runtime does.
  local function run(name, ...)
    for _, argument in ipairs { ... } do
      table.insert(world.args, argument)
    end
    local results
    sluice.spawn(function() results = { coretraffic[name]() } end)
    assert.is_table(results, name .. " waits")
    return unpack(results, 1, 2)
  end

  it("serves the admin API and the routes of the file", function()
    world.env.SMARTPROXY_CONFIG = "/x.json"
    world.files["/x.json"] = [[{"routes":[{"name":"a","match":{"ports":80},
      "action":{"type":"forward","targets":[{"host":"app","port":3000}]}}]}]]
    assert.is_true((run "start"))
    assert.equal("a", world.published[1].specs[1].name)
    local response = sluice.fetch("http://127.0.0.1:3000/ready")
    assert.equal(200, response.status)
  end)

  it("starts with no routes when the file is not there", function()
    assert.is_true((run "start"))
    assert.same({}, world.published[1].specs)
  end)

  it("answers probes while the routes load", function()
    local seen
    testing.fake("publish", function()
      seen = sluice.fetch("http://127.0.0.1:3000/ready").status
      return { routes = 0, compiled = 0 }
    end)
    run "start"
    assert.equal(503, seen)
  end)

  it("does not start when something is wrong", function()
    local function refuses(env, expected)
      for name, value in pairs(env) do
        world.env[name] = value
      end
      local ok, err = run "start"
      assert.is_nil(ok)
      assert.matches(expected, err, 1, true)
    end
    refuses({ CORETRAFFIC_MODE = "x" }, "CORETRAFFIC_MODE=x: must be coreflow or standalone")
    refuses({ CORETRAFFIC_MODE = "coreflow", COREFLOW_URL = "coreflow" },
      "COREFLOW_URL: not a URL like http://coreflow:3000")
    refuses({ CORETRAFFIC_MODE = "standalone", SMARTPROXY_ADMIN_HOST = "0.0.0.0" },
      "set SMARTPROXY_ADMIN_TOKEN")
    assert.same({}, world.servers)
    world.files["/bad.json"] = "{"
    refuses({ SMARTPROXY_ADMIN_HOST = "::1", SMARTPROXY_CONFIG = "/bad.json" },
      "/bad.json: not JSON")
  end)

  it("says where Coreflow would be looked for, which is the default", function()
    world.env.CORETRAFFIC_MODE = nil
    assert.is_true((run "check"))
    assert.matches("would connect to http://coreflow:3000 as coretraffic, and serve HTTP on port "
      .. "7999 and HTTPS on port 8000", world.printed[1], 1, true)
    assert.same({}, world.published)
  end)

  it("checks the file and serves nothing", function()
    assert.is_true((run "check"))
    assert.same({ "/etc/smartproxy/config.json: no mistakes, routes: 0" }, world.printed)
    assert.same({}, world.servers)
    world.files["/etc/smartproxy/config.json"] = '{"routes":[{"match":{"ports":0}}]}'
    assert.same({ nil, "/etc/smartproxy/config.json: routes[0].match.ports: "
      .. "0 is not a port (1 to 65535)" }, { run "check" })
  end)

  it("checks the security of the admin API in any mode", function()
    world.env.CORETRAFFIC_MODE = nil
    run("start", "--check-admin-security")
    assert.equal(0, world.exit_code)
    assert.same({ "admin API on 127.0.0.1 port 3000: no token, reachable from this machine alone" },
      world.printed)
    assert.same({}, world.servers)
  end)

  it("refuses an admin API that is open to the world", function()
    world.env.SMARTPROXY_ADMIN_HOST = "0.0.0.0"
    local ok, err = run("check", "--check-admin-security")
    assert.is_nil(ok)
    assert.matches("is not a loopback address", err)
    world.env.SMARTPROXY_ADMIN_TOKEN = "x"
    assert.is_true((run("check", "--check-admin-security")))
    assert.same({ "admin API on 0.0.0.0 port 3000: guarded by a token" }, world.printed)
  end)
end)
