-- The client of the tunneling proxy (Brickchain protocol): a local server behind a firewall gets a
-- host name at a server of that proxy, which scripts/brickchain.lua can be.
--
--   PROXY_ENDPOINT=https://tunnel.example.com LOCAL=http://localhost:8080 \
--   sluice run scripts/brickchain-client.lua
--
--   PROXY_ENDPOINT   https://proxy.svc.integrity.app   the server, as its BASE says
--   LOCAL            http://localhost:8080             what is served
--   KEY              ./proxy-client.pem                the private key, made if it is not there
--   STATE                                              a file that gets {"hostname":"…"}
--   SESSION                                            another name with the same key
--
-- docs/brickchain.md has all settings. To serve routes instead of another server, copy this file,
-- give it `routes` on a port of this machine, and let LOCAL be that port.

local client = require "sluice.brickchain.client"
local routes = require "sluice.routes"
local settings = require "sluice.brickchain.client.settings"
local sluice = require "sluice"

-- Routes that this machine serves itself, as in docs/standalone.md, and to itself alone.
local own_routes = {}

local given, problem = settings.read(sluice.env, sluice.args)
local service

local script = { limits = { bind_address = "127.0.0.1" } }

function script.check()
  if not given then
    return nil, problem
  end
  sluice.print(("would serve %s through %s"):format(given.target.text, given.endpoint.text))
  return true
end

function script.start()
  if not given then
    return nil, problem
  end
  local err
  service, err = client.new(given)
  if not service then
    return nil, err
  end
  if own_routes[1] then
    assert(routes.publish(own_routes))
  end
  sluice.spawn(service.run, service)
  return true
end

function script.stop()
  if service then
    service:close()
  end
end

return script
