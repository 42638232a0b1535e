-- HTTP/3 behind a proxy that names its visitors by PROXY headers in datagrams, and with several
-- workers, of whom any may get the header or the connection.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local mux_client = require "support.mux_client"
local sluice = require "support.sluice"

local function u16(n)
  return string.char(math.floor(n / 256), n % 256)
end

-- About a visitor 203.0.113.<last>.
local function header(last)
  return mux_client.hex("\r\n\r\n\0\r\nQUIT\n\x21\x12" .. u16(12) .. string.char(203, 0, 113, last)
    .. string.char(10, 0, 0, 1) .. u16(4711) .. u16(443))
end

describe("HTTP/3 behind a proxy:", function()
  local program, origin, port

  setup(function()
    local origin_port
    origin, origin_port = sluice.origin("app")
    port = http.free_port()
    program = mux.start { workers = 4, limits = { accept_proxy = true,
      proxy_ips = { "127.0.0.1", "127.0.0.2" } }, routes = {
      mux.route("app", port, origin_port, "app.example"),
    } }
  end)

  teardown(function()
    mux.stop(program)
    origin:stop()
  end)

  local function connect(options)
    options.port, options.host = port, "app.example"
    return mux.connect("h3", options)
  end

  local function visitor(client)
    local response = client:ask { path = "/" }
    assert.equal(200, response.status)
    return dkjson.decode(response.body).headers["x-forwarded-for"][1]
  end

  it("whichever worker gets the header, its visitor is known", function()
    for last = 1, 12 do
      local client = connect { first = header(last) }
      assert.equal("203.0.113." .. last, visitor(client))
      client:close()
    end
  end)

  it("a visitor who moves is known by the header of his new address", function()
    for last = 1, 4 do
      local client = connect { first = header(last) }
      assert.equal("203.0.113." .. last, visitor(client))
      client:tell("rebind", { from = "127.0.0.2", new_id = true, first = header(100 + last) })
      client:wait("rebound")
      local seen
      for _ = 1, 50 do -- until the new path is validated
        seen = visitor(client)
        if seen ~= "203.0.113." .. last then
          break
        end
      end
      assert.equal("203.0.113." .. 100 + last, seen)
      client:close()
    end
  end)

  it("P-02 without a header nobody is answered", function()
    local client = mux.start_client("h3", { port = port, host = "app.example" })
    assert.is_false(pcall(client.wait, client, "connected", nil, 2))
    client:tell("plain", { bytes = header(9) }) -- it was late: the next packet has a name
    client:wait("connected")
    assert.equal("203.0.113.9", visitor(client))
    client:close()
  end)

  it("P-01 strangers name nobody", function()
    local client = connect { from = "127.0.0.3", first = header(9) }
    assert.equal("127.0.0.3", visitor(client))
    client:close()
  end)

  it("P-07 a header may come again and again", function()
    local client = connect { first = header(9) }
    for _ = 1, 3 do
      client:tell("plain", { bytes = header(9) })
      assert.equal("203.0.113.9", visitor(client))
    end
    client:close()
  end)
end)
