local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"

describe("the coreflow example", function()
  it("serves the pushed host to whoever knows the password", function()
    local https_port = sluice.free_port()
    local child = process.start({ "examples/coreflow/run" }, {
      SLUICE_BIN = sluice.binary,
      COREFLOW_PORT = tostring(sluice.free_port()),
      CORETRAFFIC_HTTP_PORT = tostring(sluice.free_port()),
      CORETRAFFIC_HTTPS_PORT = tostring(https_port),
    })
    finally(function() child:stop() end)
    child:wait_for("stdout", '"status":"ok"', 100) -- node may have to be installed first
    local function status(authorization)
      return http.request({ port = https_port, tls = true, host = "app.example.test",
        headers = { Authorization = authorization } }).status
    end
    assert.equal(401, status(nil))
    assert.equal(200, status "Basic YWRtaW46c2VjcmV0") -- admin:secret
  end)
end)
