-- The server of the tunneling proxy (Brickchain protocol): services behind a firewall register
-- here, and get a host name each.
--
--   BASE=https://tunnel.example.com DOMAIN=tunnel.example.com TLS_ADDR=:443 \
--   TLS_CERT=wildcard.pem TLS_KEY=wildcard.key sluice run scripts/brickchain.lua
--
--   ADDR       :6519                  where HTTP is served, for clients and visitors
--   BASE       http://localhost:6519  what the tokens of clients must be for
--   DOMAIN     the host of BASE       a client is <id>.DOMAIN
--   TLS_ADDR, TLS_CERT, TLS_KEY       HTTPS, with a certificate for *.DOMAIN and the host of BASE
--   CACHE, PUBSUB  inmem              redis: several servers share their clients
--   REDIS      localhost:6379
--
-- docs/brickchain.md has all settings and what differs from the original.

local sluice = require "sluice"
local server = require "sluice.brickchain.server"
local settings = require "sluice.brickchain.settings"

local given, problem = settings.read(sluice.env, sluice.args)
local proxy = given and server.new(given)

local script = {
  -- on_request waits for the client's answer, which may come after hours of uploading: TIMEOUT is
  -- for clients that are silent.
  limits = { bind_address = given and given.address.host, hook_timeout = 24 * 3600 * 1000 },
  budget_ms = 1000, -- documents of a megabyte take their time on a small machine
  memory_mb = 1024, -- of each worker: what is on its way to clients is at most a quarter of it
}

function script.on_request(req)
  return proxy:answer(req)
end

function script.on_done(entry)
  proxy:done(entry)
end

function script.check()
  if not given then
    return nil, problem
  end
  sluice.print(("clients would be <id>.%s, registered with %s"):format(given.domain, given.base))
  return true
end

function script.start()
  if not given then
    return nil, problem
  end
  return proxy:listen()
end

function script.stop()
  server.stop()
end

return script
