local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"

describe("the core-server example", function()
  it("serves two programs under their names", function()
    local port = sluice.free_port()
    local child = process.start({ "examples/core-server/run" }, {
      SLUICE_BIN = sluice.binary,
      CORE_SERVER_HTTP_PORT = tostring(port),
      CORE_SERVER_HTTPS_PORT = tostring(sluice.free_port()),
      CORE_SERVER_COMMAND_PORT = tostring(sluice.free_port()),
      CORE_SERVER_MKCERT = "off",
    })
    finally(function() child:stop() end)
    child:wait_for("stdout", "^both are there", sluice.patience)
    for _, name in ipairs { "shop.localhost", "blog.localhost" } do
      assert.equal(name .. ", asked over http\n", http.request({ port = port, host = name }).body)
    end
    local list = http.request({ port = port, host = "localhost" }).body
    assert.matches("shop.localhost", list, 1, true)
  end)
end)
