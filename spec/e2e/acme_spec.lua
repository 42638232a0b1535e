-- Certificates on demand, with a CA that is not ours: Debian's pebble.

local coretraffic = require "support.coretraffic"
local http = require "support.http"
local pebble = require "support.pebble"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

-- One request by a client that trusts the root of the CA and nothing else.
local function get(ca_root, port, name, word)
  local child = process.start { "curl", "-sS", "--max-time", "40", "--cacert", ca_root, "--resolve",
    ("%s:%d:127.0.0.1"):format(name, port), "-o", "/dev/null", "-w", "%{http_code}\n",
    ("https://%s:%d/"):format(name, port), word }
  return child
end

-- The status, or what curl says.
local function status_of(child)
  local code = child:wait(60)
  return code == 0 and tonumber(child:text("stdout"):match("%d+")) or child:text("stderr")
end

-- The serial number of what is shown for a name.
local function serial(port, name)
  local pipe = io.popen(("openssl s_client -connect 127.0.0.1:%d -servername %s </dev/null "
    .. "2>/dev/null | openssl x509 -noout -serial"):format(port, name))
  local text = pipe:read("*a")
  pipe:close()
  return text:match("serial=(%x+)")
end

local function mode_of(path)
  local pipe = io.popen("stat -c %a '" .. path .. "'")
  local mode = pipe:read("*l")
  pipe:close()
  return mode
end

describe("certificates by ACME", function()
  local origin, origin_port, ca, program, folder
  local https_port, http_port

  local function auto(name)
    return {
      name = name,
      match = { ports = https_port, domains = name, protocol = "http" },
      action = {
        type = "forward",
        targets = { { host = "127.0.0.1", port = origin_port } },
        tls = { mode = "terminate", certificate = "auto" },
      },
    }
  end

  local function config(names, changes)
    local result = { routes = {}, acme = {
      directory = ca.directory, caFile = ca.ca_file, email = "ops@example.com", port = http_port,
      certificateStore = folder,
    } }
    for i, name in ipairs(names) do
      result.routes[i] = auto(name)
    end
    for key, value in pairs(changes or {}) do
      result.acme[key] = value
    end
    return result
  end

  local function start(names, changes)
    program = coretraffic.start(config(names, changes))
    return program
  end

  local function stop()
    local stopping = program
    program = nil
    if stopping then
      assert.equal(0, stopping:stop())
    end
  end

  setup(function()
    origin, origin_port = sluice.origin("app")
    https_port, http_port = sluice.free_port(), sluice.free_port()
    ca = pebble.start { http_port = http_port, tls_port = https_port }
  end)

  teardown(function()
    origin:stop()
    ca:stop()
  end)

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
  end)

  after_each(function()
    stop()
    os.execute("rm -rf " .. folder)
  end)

  it("come with the first request to a name that was just added, by tls-alpn-01", function()
    start({}, { challenges = { "tls-alpn-01" } })
    local routes = { auto "fresh.example.com", auto "fresh3.example.com" }
    routes[2].match.transport = "all"
    local root = ca:root()
    assert.equal(200, program:ask("PUT", "/routes", { body = routes }).status)
    local over_tcp = get(root, https_port, "fresh.example.com")
    local over_quic = get(root, https_port, "fresh3.example.com", "--http3-only")
    assert.same({ 200, 200 }, { status_of(over_tcp), status_of(over_quic) })
    assert.equal("600", mode_of(folder .. "/fresh.example.com"))
    assert.equal("600", mode_of(folder .. "/acme_account+key"))
    assert.equal("EC PRIVATE KEY",
      sluice.read(folder .. "/fresh.example.com"):match("BEGIN ([%u ]*)"))
  end)

  it("come by http-01, past a redirect to HTTPS", function()
    local options = config({}, { challenges = { "http-01" } })
    options.httpToHttpsRedirect = { httpPort = http_port, httpsPort = https_port }
    program = coretraffic.start(options)
    assert.equal(200, program:ask("PUT", "/routes", { body = { auto "http.example.com" } }).status)
    assert.equal(200, status_of(get(ca:root(), https_port, "http.example.com")))
  end)

  it("are ordered once, however many handshakes wait", function()
    start {}
    assert.equal(200, program:ask("PUT", "/routes", { body = { auto "busy.example.com" } }).status)
    local root, clients = ca:root(), {}
    for i = 1, 50 do
      clients[i] = get(root, https_port, "busy.example.com")
    end
    for i = 1, 50 do
      assert.equal(200, status_of(clients[i]))
    end
    assert.equal(1, select(2, program:ask("GET", "/statistics")).certificates.orders)
  end)

  it("go on over a reload of the script, with whoever waits", function()
    start { "reload.example.com" }
    local root = ca:root()
    assert.equal(200, status_of(get(root, https_port, "reload.example.com")))
    local before = serial(https_port, "reload.example.com")
    program.program:kill(signal.SIGHUP)
    program.program:wait_for("stderr", '"msg":"admin API is up"', sluice.patience)
    program:write(config { "reload.example.com", "second.example.com" })
    program.program:kill(signal.SIGHUP)
    assert.equal(200, status_of(get(root, https_port, "reload.example.com")))
    assert.equal(before, serial(https_port, "reload.example.com"))
    program.program:wait_for("stderr", '"msg":"admin API is up"', sluice.patience)
    sluice.logged(program.program, "routes are live")
    assert.equal(200, status_of(get(root, https_port, "second.example.com")))
  end)

  it("are there after a restart, with the account", function()
    start { "kept.example.com" }
    local root = ca:root()
    assert.equal(200, status_of(get(root, https_port, "kept.example.com")))
    local before = serial(https_port, "kept.example.com")
    local account = sluice.read(folder .. "/acme_account+key")
    stop()
    start { "kept.example.com", "later.example.com" }
    assert.equal(200, status_of(get(root, https_port, "later.example.com")))
    assert.equal(before, serial(https_port, "kept.example.com"))
    assert.equal(account, sluice.read(folder .. "/acme_account+key"))
    assert.equal(1, select(2, program:ask("GET", "/statistics")).certificates.orders)
  end)

  it("are ordered for whom a script lets in, and for nobody else", function()
    local tenants = os.tmpname()
    sluice.write(tenants, ('{"tenant.example.com":"127.0.0.1:%d"}'):format(origin_port))
    program = sluice.start { script = "examples/tenants/policy.lua", args = { tenants }, env = {
      ACME_DIRECTORY = ca.directory, ACME_CA_FILE = ca.ca_file, CERTS = folder,
      HTTP_PORT = tostring(http_port), HTTPS_PORT = tostring(https_port),
    } }
    assert.equal(200, status_of(get(ca:root(), https_port, "tenant.example.com")))
    for i = 1, 50 do
      local host = ("x%d.example.net"):format(i)
      assert.equal(404, (http.request { port = https_port, tls = true, host = host }).status)
    end
    os.remove(tenants)
    local pipe = io.popen("ls " .. folder)
    assert.equal("acme_account+key\ntenant.example.com\n", pipe:read("*a"))
    pipe:close()
  end)

  it("are not ordered for names that nobody has announced", function()
    start { "known.example.com" }
    assert.equal(200, status_of(get(ca:root(), https_port, "known.example.com")))
    for i = 1, 50 do
      local host = ("x%d.example.net"):format(i)
      assert.is_nil((http.request { port = https_port, tls = true, host = host }))
    end
    local status = select(2, program:ask("GET", "/statistics")).certificates
    assert.same({ 1, 1 }, { status.orders, status.names })
  end)
end)

-- A certificate whose end is near, as a folder of autocert has it.
local function write_old(folder, name)
  local function date(days)
    return os.date("!%Y%m%d%H%M%SZ", os.time() + days * 86400)
  end
  assert(os.execute(("mkdir -p %s && cd %s && openssl req -x509 -newkey ec -pkeyopt "
    .. "ec_paramgen_curve:P-256 -nodes -not_before %s -not_after %s -subj /CN=%s -addext "
    .. "subjectAltName=DNS:%s -keyout key -out cert 2>/dev/null && cat key cert >%s && rm key cert")
    :format(folder, folder, date(-60), date(2), name, name, name)))
end

describe("renewal of certificates", function()
  local ca, program, bad_ca, folder
  local https_port, name = sluice.free_port(), "app.example.com"
  local secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"

  local function config(directory)
    return {
      routes = { {
        match = { ports = https_port, domains = name },
        action = { type = "forward", targets = { { host = "127.0.0.1", port = 9 } },
          tls = { mode = "terminate", certificate = "auto" } },
      } },
      acme = {
        directory = directory or ca.directory, caFile = ca.ca_file, certificateStore = folder,
        eab = { kid = "me", hmacKey = secret },
      },
    }
  end

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    write_old(folder, name)
    ca = pebble.start { http_port = 9, tls_port = https_port, validity = 6,
      eab = { me = secret } }
    bad_ca = process.start { "python3", "spec/support/bad_ca.py" }
  end)

  teardown(function()
    ca:stop()
    bad_ca:stop()
    os.execute("rm -rf " .. folder)
  end)

  it("leaves the old one in service with a CA that is not well, and says so", function()
    local port = bad_ca:wait_for("stdout", "^(%d+)$", sluice.patience)
    local function directory(how)
      return ("http://127.0.0.1:%s/%s/directory"):format(port, how)
    end
    program = coretraffic.start(config(directory "429"))
    local old = serial(https_port, name)
    assert.is_string(old)
    for _, how in ipairs { "429", "500", "garbage", "truncated", "silent" } do
      program:write(config(directory(how)))
      assert.equal(200, (program:ask("POST", "/reload")).status)
      if how ~= "silent" then
        local logged = sluice.logged(program.program,
          "a certificate is about to expire and was not renewed")
        assert.equal(name, logged.name)
        assert.is_true(logged.retry_in > 15)
      end
      assert.equal(old, serial(https_port, name))
    end
    assert.equal(1, select(2, program:ask("GET", "/statistics")).certificates.expiring)
  end)

  it("takes place as soon as there is a CA again, with an account of the operator's", function()
    program:write(config())
    assert.equal(200, (program:ask("POST", "/reload")).status)
    sluice.logged(program.program, "a certificate was renewed")
    assert.is_truthy(sluice.read(folder .. "/" .. name):find("CERTIFICATE.*CERTIFICATE"))
  end)

  it("comes in time for certificates that live for seconds", function()
    local first, root = serial(https_port, name), ca:root()
    sluice.logged(program.program, "a certificate was renewed")
    assert.not_equal(first, serial(https_port, name))
    ca.ca:wait_for("stdout", "is a replacement of", sluice.patience) -- and the CA knows of what
    assert.equal(502, status_of(get(root, https_port, name)))
    assert.equal(0, program:stop())
  end)
end)
