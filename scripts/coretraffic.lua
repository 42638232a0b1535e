-- CoreTraffic: ingress for serve.zone.
--
--   sluice run scripts/coretraffic.lua
--   CORETRAFFIC_MODE=standalone sluice run scripts/coretraffic.lua
--
-- Coreflow mode, the default, connects to a Coreflow and serves the hosts that it pushes; see
-- docs/coreflow.md. Standalone mode runs the routes of a SmartProxy configuration file and serves
-- an admin API that can replace them; docs/standalone.md has the environment variables, the file
-- and the API. To add a policy of your own, copy this file and give it an on_request.

local sluice = require "sluice"
local admin = require "sluice.admin"
local admin_settings = require "sluice.admin.settings"
local certificates = require "sluice.certificates"
local coreflow = require "sluice.coreflow"
local coreflow_settings = require "sluice.coreflow.settings"
local standalone = require "sluice.standalone"

-- Handshakes for names with the certificate "auto" wait here while it is issued. The limit has the
-- hook called only while there is a route with such a certificate: otherwise it costs nothing.
local coretraffic = { on_hello = certificates.on_hello, limits = { hello_hook = false } }

local function has_flag(name)
  for _, argument in ipairs(sluice.args) do
    if argument == name then
      return true
    end
  end
  return false
end

local function config_path()
  return sluice.env("SMARTPROXY_CONFIG") or "/etc/smartproxy/config.json"
end

-- May the admin API be bound like this? For --check-admin-security.
local function check_admin_security()
  local settings, err = admin_settings.read(sluice.env)
  if not settings then
    return nil, err
  end
  sluice.print(("admin API on %s port %d: %s"):format(settings.host, settings.port,
    settings.token and "guarded by a token" or "no token, reachable from this machine alone"))
  return true
end

local modes = { coreflow = {}, standalone = {} }

function modes.standalone.check()
  local ok, err = admin_settings.read(sluice.env)
  if not ok then
    return nil, err
  end
  local result
  result, err = standalone.new(config_path()):start()
  if not result then
    return nil, err
  end
  sluice.print(("%s: no mistakes, routes: %d"):format(config_path(), result.routes))
  return true
end

local service -- of standalone mode, for stop()

function modes.standalone.start()
  local settings, err = admin_settings.read(sluice.env)
  if not settings then
    return nil, err
  end
  service = standalone.new(config_path())
  local ok
  ok, err = admin.start(service, settings) -- first: probes get an answer while routes load
  if not ok then
    return nil, err
  end
  ok, err = service:start()
  if not ok then
    return nil, err
  end
  return true
end

function modes.coreflow.check()
  local settings, err = coreflow_settings.read(sluice.env, sluice.args)
  if not settings then
    return nil, err
  end
  sluice.print(("would connect to %s as coretraffic, and serve HTTP on port %d and HTTPS on port "
    .. "%d (HTTP/3 on its UDP port, announced as %d)"):format(settings.url, settings.http_port,
    settings.https_port, settings.alt_svc_port))
  return true
end

local connection -- to Coreflow, for stop()

function modes.coreflow.start()
  local settings, err = coreflow_settings.read(sluice.env, sluice.args)
  if not settings then
    return nil, err
  end
  connection = coreflow.new(settings)
  local ok
  ok, err = connection:start()
  if not ok then
    return nil, err
  end
  connection:run() -- Coreflow may come later
  return true
end

local function mode()
  local name = sluice.env("CORETRAFFIC_MODE") or "coreflow"
  if not modes[name] then
    return nil, ("CORETRAFFIC_MODE=%s: must be coreflow or standalone"):format(name)
  end
  return modes[name]
end

--- `sluice check`, and --check: everything as at the start, but nothing is bound.
function coretraffic.check()
  if has_flag("--check-admin-security") then
    return check_admin_security()
  end
  local found, err = mode()
  if not found then
    return nil, err
  end
  return found.check()
end

function coretraffic.start()
  if has_flag("--check-admin-security") then
    local ok, err = check_admin_security()
    if ok then
      sluice.exit(0)
    end
    return ok, err
  end
  local found, err = mode()
  if not found then
    return nil, err
  end
  return found.start()
end

--- Says goodbye to Coreflow, so that it does not take this connection for one that lives.
function coretraffic.stop()
  if service then
    service:close()
  end
  if connection then
    connection:close()
  end
end

return coretraffic
