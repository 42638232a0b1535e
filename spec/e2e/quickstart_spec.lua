local http = require "support.http"
local sluice = require "support.sluice"

describe("the quickstart", function()
  local program, port

  setup(function()
    port = sluice.free_port()
    program = sluice.start { script = "examples/quickstart/policy.lua", args = { tostring(port) } }
  end)

  teardown(function()
    assert.equal(0, program:stop())
  end)

  local function get(path, agent)
    return assert(http.request { port = port, tls = true, host = "localhost", path = path,
      headers = { ["User-Agent"] = agent } })
  end

  it("prints a line to try", function()
    program:wait_for("stdout", ("curl %%-k https://localhost:%d/$"):format(port))
  end)

  it("shows what the origin got", function()
    local response = get("/shop?page=2")
    assert.equal(200, response.status)
    assert.matches("^GET /shop%?page=2\n", response.body)
    assert.matches("\nx%-policy: ok\n", response.body:lower())
    assert.matches("\nx%-forwarded%-for: 127.0.0.1\n", response.body:lower())
    assert.equal("sluice", response.headers["x-served-by"])
    assert.is_nil(response.headers.server)
  end)

  it("runs its policy", function()
    assert.equal(403, get("/", "bad-bot").status)
    assert.equal("hello from Lua\n", get("/hello").body)
    assert.equal("/", get("/old").headers.location)
  end)
end)
