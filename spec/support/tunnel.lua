--- An edge, a hub and an origin behind it, for end-to-end specs.
--
--   local lab = tunnel.start { transport = "tls" }
--   local visitor = peer.connect { port = lab.ports.raw }
--   lab:stop()

local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"
local socket = require "socket"

local tunnel = { transports = { "tls", "quic" } }
tunnel.__index = tunnel

tunnel.edge_id, tunnel.secret = "nyc-01", "a secret with spaces"

--- Tries again until it returns something; for what has no event to wait for.
function tunnel.eventually(try, what)
  local deadline = process.now() + sluice.patience
  while true do
    local found, why = try()
    if found then
      return found
    end
    if process.now() > deadline then
      error((what or "it does not come about") .. ": " .. tostring(why), 2)
    end
    socket.sleep(0.02)
  end
end

--- Starts an origin; it, and its port. `prefix`: words in front; address and port: where.
function tunnel.origin(options)
  options = options or {}
  local argv = { unpack(options.prefix or {}) }
  for _, word in ipairs { "python3", "spec/support/tunnel_origin.py", "origin", options.address,
    options.port and tostring(options.port) } do
    table.insert(argv, word)
  end
  local child = process.start(argv)
  return child, tonumber((child:wait_for("stdout", "^(%d+)$", sluice.patience)))
end

--- What the origin has counted.
function tunnel.counts(origin_port)
  return dkjson.decode(http.request({ port = origin_port, path = "/counts" }).body)
end
return tunnel
