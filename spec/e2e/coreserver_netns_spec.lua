-- core-server as people run it: on the ports of the original, as an ordinary user who may bind low
-- ones, in a network of its own.
--
-- Needs root and namespaces.

local core_server = require "support.core_server"
local process = require "support.process"
local sluice = require "support.sluice"

local user = "65534"

-- The address 192.0.2.1 is that of this machine for others. A checkout may lie where its owner
-- alone may look: the modules are also where an installed program has them.
local prefix = { "unshare", "--net", "--mount", "--propagation", "unchanged", "sh", "-c",
  "mount --make-rprivate / 2>/dev/null; mount -t tmpfs none /usr/local/share && "
  .. "mkdir /usr/local/share/sluice && "
  .. "mount --bind . /usr/local/share/sluice && ip link set lo up && "
  .. "ip address add 192.0.2.1/32 dev lo && exec setpriv --reuid " .. user .. " --regid " .. user
  .. " --clear-groups --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service "
  .. "--bounding-set=-all,+net_bind_service \"$@\"", "sh" }

describe("core-server of an ordinary user, on ports 80, 443 and 40608", function()
  local probe = process.start { "unshare", "--net", "true" }
  if probe:wait(sluice.patience) ~= 0 then
    pending("needs root and namespaces: " .. probe:text "stderr")
    return
  end
  local origin, server, home, origin_port

  -- In the network of the server.
  local function inside(...)
    return { "nsenter", "--target", tostring(server.program.pid), "--net", ... }
  end

  local function run(...)
    local child = process.start(inside(...))
    return child:wait(sluice.patience), child:text "stdout", child:text "stderr"
  end

  setup(function()
    home = core_server.new_home()
    assert(os.execute(("chown %s '%s'"):format(user, home)))
    server = core_server.start { home = home, prefix = prefix, http_port = 80, https_port = 443,
      command_port = 40608, env = {
        CORE_SERVER_HTTP_PORT = false, CORE_SERVER_HTTPS_PORT = false,
        CORE_SERVER_COMMAND_PORT = false, CORE_SERVER_BIND_ADDRESS = false,
        CORE_SERVER_MKCERT = false,
      } }
    origin = process.start(inside("python3", "spec/support/origin.py", "app"))
    origin_port = origin:wait_for("stdout", "^(%d+)$", sluice.patience)
  end)

  teardown(function()
    origin:stop()
    assert.equal(0, server:stop())
  end)

  local function curl(...)
    local _, out, err = run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert",
      home .. "/ca/rootCA.pem", ...)
    return out:match("%d+"), err
  end

  it("runs as nobody, with that one right", function()
    local status = sluice.read(("/proc/%d/status"):format(sluice.runtime_of(server.program)))
    assert.matches("\nUid:%s+65534%s+65534", status)
    assert.matches("\nCapEff:%s+0000000000000400\n", status)
  end)

  it("serves a name that nc has sent, over HTTPS with a certificate of mkcert", function()
    local text = home .. "/text" -- nc -w0 leaves when a pipe has nothing for it yet
    sluice.write(text, "add example.test " .. origin_port)
    assert.equal(0, (run("sh", "-c", "nc -u -w0 127.0.0.1 40608 <" .. text)))
    assert.is_true(core_server.eventually(function()
      return curl("--resolve", "example.test:80:127.0.0.1", "http://example.test/") == "307"
    end))
    -- The CA is there once the first certificate is.
    run("curl", "-sk", "-o", "/dev/null", "--resolve", "example.test:443:127.0.0.1",
      "https://example.test/")
    for _, address in ipairs { "127.0.0.1", "192.0.2.1" } do
      assert.equal("200", (curl("--resolve", "example.test:443:" .. address,
        "https://example.test/")))
    end
    assert.equal("example.test " .. origin_port, server:state())
  end)

  it("drops commands that come from elsewhere", function()
    local code, out, err = run("python3", "-c", [[
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("192.0.2.1", 0))
s.sendto(b"add stolen.test 80", ("127.0.0.1", 40608))
s.close()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("192.0.2.1", 40608))
try:
    s.send(b"add stolen.test 80")
    s.recv(100)
except ConnectionRefusedError:
    print("refused")]])
    assert.equal(0, code, err)
    assert.matches("^refused", out)
    assert.equal("192.0.2.1", server.program:wait_for("stderr",
      '"msg":"a command from elsewhere was dropped".-"ip":"([%d.]+)"', sluice.patience))
    assert.is_nil(server:state():find("stolen", 1, true))
  end)
end)
