-- A service behind the tunneling proxy as a browser sees it, and curl: over TLS, with a certificate
-- for all names of the domain, a page, an upload and a WebSocket through server and client.

local brickchain = require "support.brickchain"
local dkjson = require "dkjson"
local peer = require "support.peer"
local process = require "support.process"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"

local page = [[
<!doctype html><title>tunnel</title><script>
function socket() {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(location.href.replace("https", "wss") + "chat", ["v1", "v2"]);
    const got = [];
    ws.binaryType = "arraybuffer";
    ws.onopen = () => { ws.send("gr\u00fc\u00dfe"); ws.send(new Uint8Array([0, 255, 128])); };
    ws.onmessage = (event) => {
      got.push(typeof event.data === "string" ? event.data : [...new Uint8Array(event.data)]);
      if (got.length == 2) ws.close(4001, "bye");
    };
    ws.onclose = (event) => resolve({ got, code: event.code, protocol: ws.protocol });
    ws.onerror = () => reject("the WebSocket failed");
  });
}
socket().catch((error) => ({ error: String(error) }))
  .then((result) => fetch("/result", { method: "POST", body: JSON.stringify(result) }));
</script>]]

describe("a service behind the tunneling proxy", function()
  local folder, port, server, service, listener, host

  -- A certificate for all clients.
  local function make_certificate()
    assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
      .. "-days 30 -subj /CN=tunnel.test -addext 'subjectAltName=DNS:*.tunnel.test' "
      .. "-keyout %s/key -out %s/crt 2>/dev/null"):format(folder, folder)))
  end

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    os.execute("mkdir " .. folder)
    make_certificate()
    local plain = sluice.free_port()
    local base = "http://127.0.0.1:" .. plain
    port = sluice.free_port()
    listener = peer.listen()
    server = brickchain.server(plain, { BASE = base, TLS_ADDR = ":" .. port,
      TLS_CERT = folder .. "/crt", TLS_KEY = folder .. "/key" })
    service = brickchain.service(base, "http://127.0.0.1:" .. listener.port)
    host = brickchain.hostname_of(service)
  end)

  teardown(function()
    brickchain.stop_service(service)
    assert.equal(0, server:stop())
    listener:close()
    os.execute("rm -r " .. folder)
  end)

  -- The next request that comes to the local server, which must be this one.
  local function take(line)
    while true do
      local inner = assert(listener:accept(60), "nobody comes")
      local request = inner:read()
      if request.line == line then
        inner.head = request
        return inner, request
      end
      inner:send "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    end
  end

  local function answer(inner, body)
    inner:send(("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
      .. "Content-Length: %d\r\n\r\n%s"):format(#body, body))
  end

  it("is there for curl", function()
    local curl = process.start { "curl", "-sS", "--cacert", folder .. "/crt", "--resolve",
      ("%s:%d:127.0.0.1"):format(host, port), "-w", "\n%{http_version}",
      ("https://%s:%d/hello"):format(host, port) }
    local inner, request = take "GET /hello HTTP/1.1"
    assert.equal("https", request.headers["x-forwarded-proto"])
    assert.equal(("%s:%d"):format(host, port), request.headers["x-forwarded-host"])
    answer(inner, "hello")
    assert.equal(0, curl:wait())
    assert.equal("hello\n2\n", curl:text "stdout" .. "\n")
  end)

  -- The hash by which Chromium knows the key of our certificate.
  local function spki()
    local pipe = io.popen(("openssl x509 -in %s/crt -pubkey -noout "
      .. "| openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64")
      :format(folder))
    local hash = pipe:read("*l")
    pipe:close()
    return hash
  end

  local function browse()
    return process.start { "chromium", "--headless", "--no-sandbox", "--disable-gpu",
      "--disable-dev-shm-usage", "--no-first-run", "--user-data-dir=" .. folder .. "/home",
      "--disable-background-networking", "--host-resolver-rules=MAP *.tunnel.test 127.0.0.1",
      "--ignore-certificate-errors-spki-list=" .. spki(), "--remote-debugging-port=0",
      ("https://%s:%d/"):format(host, port) }
  end

  it("is there for a browser, with WebSockets", function()
    local browser = browse()
    finally(function() browser:stop() end)
    answer(take "GET / HTTP/1.1", page)
    local inner, request = take "GET /chat HTTP/1.1"
    assert.equal("v1, v2", request.headers["sec-websocket-protocol"])
    assert.equal(("https://%s:%d"):format(host, port), request.headers.origin)
    raw_websocket.upgrade(inner, raw_websocket.accept_of(request.headers["sec-websocket-key"])
      .. "\r\nSec-WebSocket-Protocol: v2")
    assert.same({ "gr\195\188\195\159e", 1 }, { inner:read_message() })
    assert.same({ "\0\255\128", 2 }, { inner:read_message() })
    inner:send(raw_websocket.frame "hello")
    inner:send(raw_websocket.frame("\1\2\255", { opcode = 2 }))
    local payload, opcode = inner:read_message()
    assert.same({ "\15\161bye", 8 }, { payload, opcode })
    inner:send(raw_websocket.frame(payload, { opcode = 8 }))
    inner, request = take "POST /result HTTP/1.1"
    assert.same({ got = { "hello", { 1, 2, 255 } }, code = 4001, protocol = "v2" },
      (dkjson.decode(request.body)))
    answer(inner, "")
  end)
end)
