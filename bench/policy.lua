-- What `./dev bench` runs as `sluice`: the policy that nginx-lua runs too, over the routes
-- of the other peers, or of the SmartProxy file that SMARTPROXY_CONFIG names.
local sluice = require "sluice"
local routes = require "sluice.routes"
local standalone = require "sluice.standalone"

local policy = { on_error = "reject" }

function policy.on_request(req)
  if req:header("user-agent") == "bad-bot" then
    return sluice.deny(403)
  end
  req:set_header("x-policy", "ok")
end

function policy.start()
  local config = sluice.env("SMARTPROXY_CONFIG")
  if config then
    return standalone.new(config):start()
  end
  return routes.publish {
    {
      name = "bench",
      match = { ports = 8440, domains = "localhost" },
      action = {
        type = "forward",
        targets = { { host = "127.0.0.1", port = 8430 } },
        tls = { mode = "terminate", certificate = "self-signed" },
      },
    },
  }
end

return policy
