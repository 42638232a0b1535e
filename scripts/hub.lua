-- The hub of tunnels: edges on other machines connect to it, and what comes to them arrives here.
--
--   HUB_EDGES_FILE=edges.json sluice run scripts/hub.lua
--
--   HUB_TUNNEL_PORT    8443                 where edges connect, over TCP and UDP
--   HUB_TARGET_HOST    127.0.0.1            whose ports get what no route of yours takes
--   HUB_STATE_DIR      /var/lib/sluice      keeps the certificate of the hub
--   HUB_EDGES_FILE     STATE_DIR/edges.json who may connect, and which ports each edge opens
--   HUB_PUBLIC_HOST                         the name of this hub in connection tokens
--   ADMIN_HOST, ADMIN_PORT, ADMIN_TOKEN     of the admin API: 127.0.0.1, 3000, none
--
-- docs/tunnel.md has all of them, the file and the API. SIGHUP reads everything again; tunnels
-- stay. To add routes or a policy of your own, copy this file: give it `routes`, an on_request, an
-- on_stream or an on_edge.

local sluice = require "sluice"
local admin = require "sluice.hub.admin"
local admin_settings = require "sluice.admin.settings"
local hub = require "sluice.hub"
local settings = require "sluice.hub.settings"

-- Routes that win over targetHost, as in docs/standalone.md; `match.via = "tunnel"` is for what
-- comes through tunnels alone.
local routes = {}

local service

local function read()
  local given, err = settings.read(sluice.env, sluice.args)
  if not given then
    return nil, err
  end
  given.routes = routes
  local own
  own, err = settings.compile(given)
  if not own then
    return nil, err
  end
  local api
  api, err = admin_settings.read(sluice.env, "ADMIN")
  return api and own, api or err
end

local script = {}

function script.check()
  local own, api = read()
  if not own then
    return nil, api
  end
  local list, err = hub.new(own):check()
  if not list then
    return nil, err
  end
  sluice.print(("would listen on port %d, edges: %d"):format(own.port, #list))
  return true
end

function script.start()
  local own, api = read()
  if not own then
    return nil, api
  end
  service = hub.new(own)
  local ok, err = admin.new(service, api):start()
  if not ok then
    return nil, err
  end
  return service:start()
end

return script
