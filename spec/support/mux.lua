--- What the specs of HTTP/2 and HTTP/3 share: the versions, routes that serve them, and the program
-- with spec/fixtures/mux.lua.

local dkjson = require "dkjson"
local http = require "support.http"
local mux_client = require "support.mux_client"
local sluice = require "support.sluice"

local mux = {}

--- How each of them calls its errors.
mux.errors = {
  h2 = { number = "2", protocol = "PROTOCOL_ERROR", internal = "INTERNAL_ERROR",
    transport = "tcp" },
  h3 = { number = "3", protocol = 0x10e, internal = 0x102, transport = "quic" },
}

--- The names of the versions.
mux.versions = {}
for name in pairs(mux.errors) do
  table.insert(mux.versions, name)
end
table.sort(mux.versions)

--- A route that terminates TLS and is served over TCP and UDP.
-- @tparam string domain also the name of the certificate
-- @tparam[opt] table changes to the route; `path` for its match
function mux.route(name, port, target_port, domain, changes)
  local match = { ports = port, domains = domain, transport = "all",
    path = changes and changes.path }
  local route = sluice.route(name, port, target_port, { match = match })
  for key, value in pairs(changes or {}) do
    if key ~= "path" then
      route[key] = value
    end
  end
  route.action.tls = { mode = "terminate", certificate = sluice.certificate(domain) }
  return route
end

--- Starts the program: options routes, limits, workers, env.
function mux.start(options)
  local program = sluice.start { script = "spec/fixtures/mux.lua", workers = options.workers,
    args = { dkjson.encode { routes = options.routes, limits = options.limits } },
    env = options.env }
  program.publish_port = tonumber(program:wait_for("stdout", "^(%d+)$", sluice.patience))
  return program
end

--- Puts other routes in place; they are live when it returns.
function mux.publish(program, routes)
  local response = assert(http.request { method = "POST", port = program.publish_port,
    body = dkjson.encode(routes) })
  assert(response.status == 204, response.body)
end

mux.connect = mux_client.connect
mux.start_client = mux_client.start

--- Ends the program, which must have served without a fault all the time.
function mux.stop(program)
  local code = program:stop()
  local log = program:text("stderr")
  assert(code == 0 and not log:find("starting it again", 1, true), log)
end

return mux
