local process = require "support.process"
local redis = require "support.redis"
local sluice = require "support.sluice"

describe("the client of Redis", function()
  local server, guarded, program

  setup(function()
    server = redis.new()
    guarded = redis.new { "--requirepass", "secret" }
  end)

  teardown(function()
    if program then
      program:stop()
    end
    server:stop()
    guarded:stop()
  end)

  it("does what it says, and survives the end of Redis", function()
    program = process.start({
      sluice.binary, "run", "spec/fixtures/library/redis.lua", "--workers", "1", "--no-supervisor",
    }, {
      REDIS_PORT = tostring(server.port), REDIS_SOCKET = server.socket,
      REDIS_GUARDED_PORT = tostring(guarded.port), FOLDER = server.folder,
      LUA_PATH = false,
    })
    program:wait_for("stdout", "^kill it$", sluice.patience)
    server:kill()
    program:wait_for("stdout", "^start it$", sluice.patience)
    server:start()
    local code = program:wait(sluice.patience)
    assert.equal(0, code, program:text("stdout") .. program:text("stderr"))
    assert.matches("%d+ cases, 0 failed\n$", program:text("stdout"))
  end)
end)
