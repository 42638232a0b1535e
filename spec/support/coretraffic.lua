--- scripts/coretraffic.lua in standalone mode, for end-to-end specs: a configuration as a table,
-- the admin API on a free port.
--
--   local ingress = coretraffic.start({ routes = { … } })
--   assert.equal(200, ingress:ask("GET", "/ready").status)
--   ingress:stop()

local dkjson = require "dkjson"
local http = require "support.http"
local sluice = require "support.sluice"

local coretraffic = {}
coretraffic.__index = coretraffic

coretraffic.script = "scripts/coretraffic.lua"

local function environment(path, given)
  local env = {
    CORETRAFFIC_MODE = "standalone",
    SMARTPROXY_CONFIG = path,
    SMARTPROXY_ADMIN_PORT = "0",
    SMARTPROXY_ADMIN_HOST = false,
    SMARTPROXY_ADMIN_TOKEN = false,
  }
  for name, value in pairs(given or {}) do
    env[name] = value
  end
  return env
end

-- An empty table would be written as an array.
local function text_of(config)
  if type(config) == "string" then
    return config
  end
  return next(config) and dkjson.encode(config) or "{}"
end

--- Runs with these arguments to the end: code, stdout, stderr. `config` is a table, text, or nil.
function coretraffic.run(arguments, config, env)
  local path = os.tmpname()
  os.remove(path)
  if config then
    sluice.write(path, text_of(config))
  end
  local code, out, err = sluice.run({ "run", coretraffic.script, unpack(arguments) },
    environment(path, env))
  os.remove(path)
  return code, out, err
end

--- Starts it and waits until it is ready.
function coretraffic.start(config, env)
  local self = setmetatable({ path = os.tmpname() }, coretraffic)
  self:write(config or {})
  self.program = sluice.start { script = coretraffic.script, env = environment(self.path, env) }
  local log = self.program:text("stderr")
  self.admin_port = tonumber(log:match('"msg":"admin API is up"[^\n]-"port":(%d+)'))
  return self
end

--- Writes the configuration file again.
function coretraffic:write(config)
  sluice.write(self.path, text_of(config))
end

--- A request to the admin API: the response, and its body as a table.
function coretraffic:ask(method, path, options)
  local request = { method = method, path = path, port = self.admin_port, host = "127.0.0.1" }
  for name, value in pairs(options or {}) do
    request[name] = value
  end
  if type(request.body) == "table" then
    request.body = dkjson.encode(request.body)
  end
  local response, err = http.request(request)
  assert(response, err)
  return response, dkjson.decode(response.body)
end

function coretraffic:stop()
  os.remove(self.path)
  return self.program:stop()
end

coretraffic.route = sluice.route

return coretraffic
