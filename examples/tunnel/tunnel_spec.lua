local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"

describe("the tunnel example", function()
  it("shows the origin who the visitor is", function()
    local public = sluice.free_port()
    local child = process.start({ "examples/tunnel/run" }, {
      SLUICE_BIN = sluice.binary,
      PUBLIC_PORT = tostring(public),
      TUNNEL_PORT = tostring(sluice.free_port()),
      ADMIN_PORT = tostring(sluice.free_port()),
    })
    finally(function() child:stop() end)
    child:wait_for("stdout", "^the tunnel is up", sluice.patience)
    local said = dkjson.decode(http.request({ port = public, path = "/hello" }).body)
    assert.equal("/hello", said.path)
    assert.matches("^PROXY TCP4 127%.0%.0%.1 127%.0%.0%.1 %d+ " .. public .. "$", said.proxy)
  end)
end)
