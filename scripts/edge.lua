-- The edge of a tunnel: opens the ports that its hub assigns, and carries what comes there to it.
--
--   EDGE_TOKEN=… sluice run scripts/edge.lua
--
--   EDGE_TOKEN                              a connection token of the hub; several: several hubs
--   EDGE_HUB_HOST, EDGE_HUB_PORT, EDGE_ID, EDGE_SECRET, EDGE_FINGERPRINT   instead of a token
--   EDGE_TRANSPORT     quicWithFallback     or quic, tls
--   EDGE_BIND_ADDRESS  all                  where ports are opened
--   EDGE_STUN          stun.cloudflare.com:3478, or off
--   ADMIN_PORT, ADMIN_HOST, ADMIN_TOKEN     of the status endpoint; without a port there is none
--
-- docs/tunnel.md has all of them. SIGHUP reads everything again; the tunnel stays when it is still
-- the same hub. To add routes or a policy of your own, copy this file: give it `routes`, or an
-- on_connect.

local sluice = require "sluice"
local admin = require "sluice.edge.admin"
local admin_settings = require "sluice.admin.settings"
local edge = require "sluice.edge"
local settings = require "sluice.edge.settings"

-- Routes that this machine serves itself, as in docs/standalone.md.
local routes = {}

local function read_admin()
  if not sluice.env("ADMIN_PORT") then
    return false
  end
  return admin_settings.read(sluice.env, "ADMIN")
end

local function read()
  local given, err = settings.read(sluice.env, sluice.args)
  if not given then
    return nil, err
  end
  local api
  api, err = read_admin()
  if api == nil then
    return nil, err
  end
  given.routes = routes
  local own
  own, err = settings.compile(given)
  if not own then
    return nil, err
  end
  if api and api.port > 0 then
    own.reserved[api.port] = "the status endpoint has it"
  end
  return own, api
end

local script = {}

function script.check()
  local own, err = read()
  if not own then
    return nil, err
  end
  sluice.print(("would connect to %s as %s"):format(own.hubs[1].label, own.hubs[1].id))
  return true
end

function script.start()
  local own, api = read()
  if not own then
    return nil, api
  end
  local service = edge.new(own)
  local ok, err = service:start()
  if ok and api then
    ok, err = admin.new(service, api):start()
  end
  if not ok then
    return nil, err
  end
  service:run()
  return true
end

return script
