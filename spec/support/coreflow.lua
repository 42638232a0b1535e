--- A Coreflow for end-to-end specs, made of the real libraries (spec/support/coreflow), and
-- coretraffic in Coreflow mode.
--
--   local server = coreflow.server(port, { coreflow.entry("a.test", 3000) }, { "--initial" })
--   local ingress = coreflow.ingress(port)
--   assert.equal("ok", server:next("answer").status)

local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

local coreflow = {}

local folder = "spec/support/coreflow/"
local server = {}
server.__index = server

--- What Coreflow says of one host; `changes` replaces its fields.
function coreflow.entry(host, target_port, changes)
  local pair = sluice.certificate("coreflow.test") -- one for all: nobody here looks at the name
  local entry = { hostName = host, destinationIps = { "127.0.0.1" },
    destinationPorts = { target_port }, publicKey = pair.cert, privateKey = pair.key }
  for name, value in pairs(changes or {}) do
    entry[name] = value
  end
  return entry
end

--- Installs node and the libraries, unless they are there. Needs the network the first time.
function coreflow.install()
  local child = process.start { folder .. "install" }
  local ok, code = pcall(child.wait, child, 110)
  if not ok or code ~= 0 then
    error("node or its packages cannot be installed:\n" .. child:text("stderr"), 2)
  end
end

--- Starts a Coreflow; flags as in server.mjs.
function coreflow.server(port, hosts, flags)
  local self = setmetatable({ path = os.tmpname() }, server)
  self:set(hosts)
  self.child = process.start { "node", folder .. "server.mjs", tostring(port), self.path,
    unpack(flags or {}) }
  self:next("listening")
  return self
end

--- What the next push will have.
function server:set(hosts)
  sluice.write(self.path, dkjson.encode(hosts))
end

function server:push()
  self.child:kill(signal.SIGHUP)
end

--- Calls a method that nobody has.
function server:call_unknown()
  self.child:kill(signal.SIGUSR1)
end

--- Ends every connection.
function server:drop()
  self.child:kill(signal.SIGUSR2)
end

--- The next thing of this kind that happened; what happened before it is passed over.
function server:next(event)
  local line = self.child:wait_for("stdout", '^{"event":"' .. event .. '".*}$', sluice.patience)
  return dkjson.decode(line)
end

--- All that it has told so far.
function server:said()
  return self.child:text("stdout")
end

function server:stop()
  os.remove(self.path)
  return self.child:stop()
end

--- coretraffic on free ports: the program, with `http_port` and `https_port`.
function coreflow.ingress(port, changes)
  local http_port, https_port = sluice.free_port(), sluice.free_port()
  local options = {
    script = "scripts/coretraffic.lua",
    env = {
      CORETRAFFIC_MODE = false,
      COREFLOW_URL = "http://127.0.0.1:" .. port,
      CORETRAFFIC_HTTP_PORT = tostring(http_port),
      CORETRAFFIC_HTTPS_PORT = tostring(https_port),
    },
  }
  for name, value in pairs(changes or {}) do
    options[name] = value
  end
  local child = sluice.start(options)
  child.http_port, child.https_port = http_port, https_port
  return child
end

--- The response to a request over TLS; options as of http.request.
function coreflow.get(ingress, host, options)
  local request = { port = ingress.https_port, tls = true, host = host }
  for name, value in pairs(options or {}) do
    request[name] = value
  end
  return http.request(request)
end

--- Its status; nil without a response.
function coreflow.status(ingress, host, options)
  local response = coreflow.get(ingress, host, options)
  return response and response.status
end

function coreflow.wait_for_log(ingress, text)
  return ingress:wait_for("stderr", "^.*" .. text .. ".*$", sluice.patience)
end

--- Ends coretraffic in order; no line of a key may be in its log.
function coreflow.stop(ingress)
  if not ingress then
    return
  end
  local code, log = ingress:stop(), ingress:text("stderr")
  assert(code == 0, "coretraffic ended with " .. tostring(code))
  for line in sluice.certificate("coreflow.test").key:gmatch("[^\n]+") do
    assert(not log:find(line, 1, true), "a private key is in the log")
  end
end

return coreflow
