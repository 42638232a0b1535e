local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"
local redis = require "support.redis"
local signal = require "posix.signal"
local sluice = require "support.sluice"
local time = require "posix.time"

describe("a bus on Redis between two sluices", function()
  local server, one, two

  local function start()
    local port = sluice.free_port()
    local program = sluice.start {
      script = "spec/fixtures/bus_redis.lua", workers = 1,
      env = { REDIS_PORT = tostring(server.port), PORT = tostring(port) },
    }
    return { program = program, port = port }
  end

  local function ask(which, words)
    local response, err = http.request {
      port = which.port, method = "POST", path = "/", body = words,
    }
    assert.is_table(response, err)
    assert.equal(200, response.status)
    return dkjson.decode(response.body)
  end

  local function say(which, words)
    local answer = ask(which, words)
    assert.is_true(answer.ok, answer.err)
  end

  -- Asks until the state is as wanted.
  local function wait_for(which, is_right)
    local deadline, state = process.now() + sluice.patience, ask(which, "state")
    while not is_right(state) and process.now() < deadline do
      state = ask(which, "state")
    end
    assert.is_true(is_right(state), dkjson.encode(state))
    return state
  end

  -- The numbers of the connections, but for that of who asks.
  local function connections()
    local ids, asking = {}, io.popen(("redis-cli -p %d client list"):format(server.port))
    for line in asking:lines() do
      if not line:find "cmd=client" then
        table.insert(ids, tonumber(line:match "^id=(%d+)"))
      end
    end
    asking:close()
    return ids
  end

  -- Waits until there are `n` connections, `n_old` of them no younger than number `last`.
  local function wait_for_connections(n, n_old, last)
    local deadline = process.now() + sluice.patience
    repeat
      local old, all = 0, connections()
      for _, id in ipairs(all) do
        old = old + (id <= last and 1 or 0)
      end
      if #all == n and old == n_old then
        return math.max(unpack(all))
      end
      time.nanosleep { tv_sec = 0, tv_nsec = 1e7 }
    until process.now() > deadline
    error(("not %d connections, but %d"):format(n, #connections()))
  end

  setup(function()
    server = redis.new()
    one, two = start(), start()
  end)

  teardown(function()
    for _, each in ipairs { one, two } do
      each.program:stop()
    end
    server:stop()
  end)

  before_each(function()
    ask(one, "reset")
    ask(two, "reset")
  end)

  it("carries any bytes both ways", function()
    say(one, "listen bytes")
    say(two, "listen bytes")
    say(one, "publish bytes 000d0aff2a")
    for _, each in ipairs { one, two } do
      local state = wait_for(each, function(s) return #s.heard == 1 end)
      assert.same({ { message = "000d0aff2a", topic = "bytes" } }, state.heard)
    end
  end)

  it("takes a prefix as it is", function()
    say(one, "listen a[b]?\\*")
    say(two, "publish abx\\y 00")
    say(two, "publish a[b]?\\x 01")
    say(two, "publish a[b]?\\* 02")
    local state = wait_for(one, function(s) return #s.heard >= 2 end)
    assert.same({ { message = "01", topic = "a[b]?\\x" }, { message = "02", topic = "a[b]?\\*" } },
      state.heard)
  end)

  it("keeps the order of a publisher", function()
    say(one, "listen count/*")
    say(two, "count count/x 2000")
    local state = wait_for(one, function(s) return #s.heard == 2000 end)
    for i, got in ipairs(state.heard) do
      assert.equal((tostring(i):gsub(".", "3%0")), got.message)
    end
  end)

  it("ends a subscription", function()
    say(one, "listen gone")
    say(one, "listen stays")
    say(one, "cancel gone")
    say(one, "listen other") -- after that the cancellation has been through
    say(two, "publish gone 00")
    say(two, "publish stays 01")
    local state = wait_for(one, function(s) return #s.heard >= 1 end)
    assert.same({ { message = "01", topic = "stays" } }, state.heard)
  end)

  it("survives the end of Redis, and tells once that messages are missing", function()
    say(one, "listen exact")
    say(one, "listen prefix/*")
    local before = wait_for(one, function(s) return s.up end).lost
    assert.equal(0, before)
    server:kill()
    for _, each in ipairs { one, two } do
      wait_for(each, function(s) return not s.up end)
    end
    local answer = ask(two, "publish exact 00")
    assert.equal("not connected", answer.err)
    assert.is_true(answer.seconds < 1)
    server:start()
    for _, each in ipairs { one, two } do
      wait_for(each, function(s) return s.up end)
    end
    say(two, "publish exact 01")
    say(two, "publish prefix/x 02")
    local state = wait_for(one, function(s) return #s.heard == 2 end)
    assert.same({ { message = "01", topic = "exact" }, { message = "02", topic = "prefix/x" } },
      state.heard)
    assert.equal(7, state.lost) -- once for each subscription of this spec that is on
  end)

  it("leaves no connection behind", function()
    local last = wait_for_connections(8, 8, math.huge) -- two of each state
    two.program:kill(signal.SIGHUP)
    two.program:wait_for("stderr", '"msg":"script reloaded"', sluice.patience)
    wait_for_connections(8, 4, last)
    assert.equal(0, two.program:stop())
    wait_for_connections(4, 4, last)
  end)
end)
