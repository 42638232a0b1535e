--- Pebble, a CA for tests, in strict mode, with a DNS server that knows one answer: 127.0.0.1.
--
--   local ca = pebble.start { http_port = 8080, tls_port = 8443, validity = 3600 }
--   … ca.directory, ca.ca_file …
--   ca:stop()

local dkjson = require "dkjson"
local process = require "support.process"
local sluice = require "support.sluice"

local pebble = {}
pebble.__index = pebble

local function write(self, name, text)
  local path = self.folder .. "/" .. name
  sluice.write(path, text)
  return path
end

local function start_dns(port)
  local child = process.start { "pebble-challtestsrv", "-dns01", "127.0.0.1:" .. port,
    "-management", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
    "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "" }
  return child
end

-- Everything that it says comes on either of two streams.
local function await(child, pattern)
  local ok, found = pcall(child.wait_for, child, "stdout", pattern, sluice.patience)
  if not ok then
    error(found .. child:text("stderr"), 2)
  end
end

local function start_ca(self)
  local child = process.start({ "pebble", "-strict", "-config", self.config, "-dnsserver",
    "127.0.0.1:" .. self.dns_port }, { PEBBLE_VA_NOSLEEP = "1", PEBBLE_AUTHZREUSE = "0" })
  await(child, "ACME directory available")
  return child
end

--- @tparam table options http_port, tls_port: where challenges are answered; validity: seconds;
-- eab: kid to key (base64url)
function pebble.start(options)
  local self = setmetatable({ folder = os.tmpname() }, pebble)
  os.remove(self.folder)
  assert(os.execute("mkdir " .. self.folder))
  local port, management = sluice.free_port(), sluice.free_port()
  self.dns_port = sluice.free_port()
  local own = sluice.certificate("localhost")
  self.ca_file = write(self, "ca.pem", own.cert)
  self.config = write(self, "config.json", dkjson.encode { pebble = {
    listenAddress = "127.0.0.1:" .. port,
    managementListenAddress = "127.0.0.1:" .. management,
    certificate = self.ca_file,
    privateKey = write(self, "key.pem", own.key),
    httpPort = options.http_port,
    tlsPort = options.tls_port,
    externalAccountBindingRequired = options.eab ~= nil,
    externalAccountMACKeys = options.eab,
    retryAfter = { authz = 0, order = 0 },
    certificateValidityPeriod = options.validity,
  } })
  self.directory = ("https://localhost:%d/dir"):format(port)
  self.management = ("https://localhost:%d"):format(management)
  self.dns = start_dns(self.dns_port)
  self.ca = start_ca(self)
  return self
end

--- The file with the root under which it issues; it makes a new one each time that it starts.
function pebble:root()
  local path = self.folder .. "/root.pem"
  assert(os.execute(("curl -sf --cacert %s %s/roots/0 > %s"):format(self.ca_file, self.management,
    path)))
  return path
end

function pebble:stop_ca()
  self.ca:stop()
end

--- As new: it has forgotten everything.
function pebble:start_ca()
  self.ca = start_ca(self)
end

function pebble:stop()
  for _, child in ipairs { self.ca, self.dns } do
    child:stop()
  end
  os.execute("rm -r " .. self.folder)
end

return pebble
