-- Customers' own domains, with certificates that come by themselves: whoever is in a file of
-- tenants gets one when the first visitor asks for his name, and nobody else does.
--
--   ACME_DIRECTORY=https://… sluice run examples/tenants/policy.lua tenants.json
--
-- See README.md for the file and the variables.

local acme = require "sluice.acme"
local certificates = require "sluice.certificates"
local routes = require "sluice.routes"
local sluice = require "sluice"

local policy = { on_hello = certificates.on_hello }

local reread_after = 5 -- seconds

-- What all workers and the control thread know: "127.0.0.1:3000" by the name of the tenant.
local function tenants()
  return sluice.shared "tenants"
end

function policy.on_request(req)
  local challenge = certificates.on_request(req) -- a CA that looks whether a name leads here
  if challenge then
    return challenge
  end
  local host, port = (tenants():get(req:host()) or ""):match("^(.*):(%d+)$")
  if not host then
    return sluice.reply(404, "nobody of that name is here\n")
  end
  if req:scheme() == "http" then
    return sluice.redirect("https://" .. req:host() .. req:target(), 308)
  end
  return sluice.target(host, tonumber(port))
end

local known = {} -- names that were in the file before

local function read(path)
  local text, err = sluice.file.read(path)
  local list = text and sluice.json.decode(text)
  if type(list) ~= "table" then
    return nil, ("%s: %s"):format(path, err or "must be a JSON object of names")
  end
  for name in pairs(known) do
    if not list[name] then
      tenants():delete(name) -- his certificate is not renewed any more
    end
  end
  for name, target in pairs(list) do
    tenants():set(name, target)
  end
  known = list
  return true
end

local function publish(http_port, https_port)
  local function anything(port, tls)
    return { name = "port-" .. port, match = { ports = port },
      action = { type = "reply", statusCode = 404, tls = tls } }
  end
  return routes.publish {
    anything(http_port),
    anything(https_port, { mode = "terminate", certificate = "self-signed" }), -- for want of ours
  }
end

function policy.start()
  local path = sluice.args[1] or "tenants.json"
  local storage = certificates.disk(sluice.env "CERTS" or "certs")
  local issuer, ok, err
  issuer, err = acme.new {
    directory = sluice.env "ACME_DIRECTORY" or acme.lets_encrypt_staging,
    ca_file = sluice.env "ACME_CA_FILE",
    email = sluice.env "ACME_EMAIL",
    storage = storage,
  }
  if not issuer then
    return nil, err
  end
  ok, err = read(path)
  if ok then
    ok, err = publish(tonumber(sluice.env "HTTP_PORT" or 80),
      tonumber(sluice.env "HTTPS_PORT" or 443))
  end
  if not ok then
    return nil, err
  end
  certificates.new {
    issuer = issuer,
    storage = storage,
    allow = function(name)
      return tenants():get(name) ~= nil
    end,
  }
  sluice.every(reread_after, function()
    local fresh, problem = read(path)
    if not fresh then
      sluice.log.warn("the tenants stay as they were", { error = problem })
    end
  end)
  return true
end

return policy
