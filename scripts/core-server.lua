-- core-server: one port for many local web servers, each under a name of its own.
--
--   sluice run scripts/core-server.lua
--   sluice run scripts/core-server.lua --release
--
-- A program registers with a datagram to 127.0.0.1:40608, `add app.localhost 5173`, and from then
-- on https://app.localhost/ is what listens on localhost:5173. Names are remembered.
--
-- Local mode, the default, has its certificates from mkcert; without it there is only HTTP. Release
-- mode is for a machine on the Internet, with certificates of an ACME authority.
--
--   CORE_SERVER_MODE          local          or release
--   CORE_SERVER_HTTP_PORT     80
--   CORE_SERVER_HTTPS_PORT    443
--   CORE_SERVER_COMMAND_PORT  40608          UDP, on the loopback addresses
--   CORE_SERVER_BIND_ADDRESS  all            where HTTP and HTTPS are served
--
-- docs/core-server.md has all of them, and the commands. To add a policy of your own, copy this
-- file and say more in its hooks.

local certificates = require "sluice.certificates"
local coreserver = require "sluice.coreserver"
local hooks = require "sluice.coreserver.hooks"
local settings = require "sluice.coreserver.settings"
local sluice = require "sluice"

local given, problem = settings.read(sluice.env, sluice.args)

local script = {
  limits = settings.limits(sluice.env),
}

local hooked = given and hooks.new(given)
local service

--- On the workers.

-- The certificate for a name, which may have to be made first.
script.on_hello = certificates.on_hello

function script.on_request(req)
  return certificates.on_request(req) or hooked:on_request(req)
end

function script.on_failure(req, failure)
  return hooked:on_failure(req, failure)
end

--- In the control thread.

function script.check()
  if not given then
    return nil, problem
  end
  sluice.print(("%s mode: would serve HTTP on port %d and HTTPS on port %d, and take commands on "
    .. "UDP port %d"):format(given.mode, given.http_port, given.https_port, given.command_port))
  return true
end

function script.start()
  if not given then
    return nil, problem
  end
  if service then
    service:close() -- of a start before, which failed
  end
  service = coreserver.new(given)
  local ok, err = service:start()
  if not ok and sluice.stats().routes_count == 0 then
    sluice.exit(1) -- even when it took so long that it was said to be ready
  end
  return ok, err
end

function script.stop()
  if service then
    service:close()
  end
end

return script
