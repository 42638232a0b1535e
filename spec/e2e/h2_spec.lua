-- HTTP/2 with clients that are not ours: curl. Messages and the life of connections are in mux_spec
-- and mux_life_spec, attacks in attacks_h2_spec.

local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local sluice = require "support.sluice"
local transfers = require "support.transfers"

describe("HTTP/2", function()
  local program, origin
  local lab = {}
  local curl = transfers.curl(lab)

  setup(function()
    origin, lab.origin_port = sluice.origin("app")
    lab.port = http.free_port()
    program = mux.start { routes = { mux.route("app", lab.port, lab.origin_port, "app.example") } }
  end)

  teardown(function()
    mux.stop(program)
    origin:stop()
  end)

  it("is chosen by a client that offers it, and by no other", function()
    for flag, expected in pairs { ["--http2"] = "2", ["--http1.1"] = "1.1",
      ["--no-alpn"] = "1.1" } do
      assert.equal(expected .. " 200\n", curl("/", flag, "-o", "/dev/null", "-w",
        "%{http_version} %{http_code}\n"))
    end
  end)

  transfers.cases(it, "--http2", "2", lab)

  it("is not spoken without TLS", function()
    local plain = http.free_port()
    local routes = { mux.route("app", lab.port, lab.origin_port, "app.example"),
      sluice.route("plain", plain, lab.origin_port) }
    mux.publish(program, routes)
    local client = assert(peer.connect { port = plain })
    client:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    local response = client:read()
    assert.is_true(response.status == 400 or response.status == 505, response.line)
    assert.equal("", (client:read_all()))
    client:close()
  end)
end)
