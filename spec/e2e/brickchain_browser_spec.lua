-- The tunneling proxy as a browser sees it: Chromium loads a page over HTTPS from the host name of
-- a client, and talks to it through a WebSocket with a subprotocol. The page tells what it has got.

local brickchain = require "support.brickchain"
local dkjson = require "dkjson"
local process = require "support.process"
local sluice = require "support.sluice"

local page = [[
<!doctype html><title>tunnel</title><script>
function talk() {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket("wss://" + location.host + "/echo?x=1", ["chat"]);
    const got = [];
    ws.onopen = () => ws.send("gr\u00fc\u00df dich");
    ws.onerror = () => reject("the WebSocket failed");
    ws.onclose = (event) => resolve({ got, protocol: ws.protocol, code: event.code });
    ws.onmessage = (event) => got.push(event.data);
  });
}
talk().catch((error) => ({ error: String(error) }))
  .then((result) => fetch("/result", { method: "POST", body: JSON.stringify(result) }));
</script>]]

describe("a browser at the tunneling proxy", function()
  local server, port, secure, home, client

  setup(function()
    port, secure, home = sluice.free_port(), sluice.free_port(), os.tmpname()
    os.remove(home)
    local pair = sluice.certificate "*.tunnel.test"
    sluice.write(home .. ".crt", pair.cert)
    sluice.write(home .. ".key", pair.key)
    server = brickchain.server(port, { TLS_ADDR = ":" .. secure, TLS_CERT = home .. ".crt",
      TLS_KEY = home .. ".key" })
    client = brickchain.client(port)
  end)

  teardown(function()
    client:stop()
    brickchain.remove_keys()
    server:stop()
    os.execute("rm -rf " .. home .. "*")
  end)

  -- The hash by which Chromium knows the key of our certificate.
  local function spki()
    local pipe = io.popen(("openssl x509 -in %s.crt -pubkey -noout "
      .. "| openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64")
      :format(home))
    local hash = pipe:read("*l")
    pipe:close()
    return hash
  end

  -- The next document of this kind. The browser asks for an icon whenever it likes: 404.
  local function expect(kind)
    while true do
      local document = dkjson.decode(client:got("text").text)
      local name = document["@type"]:match "/v1/([%w-]+)%.json$"
      if name == "http-request" and document.url == "/favicon.ico" then
        client:answer(document, { status = 404 })
      elseif name ~= "ping" then
        assert.equal(kind, name)
        return document
      end
    end
  end

  it("gets its page and its WebSocket", function()
    local browser = process.start { "chromium", "--headless", "--no-sandbox", "--disable-gpu",
      "--disable-dev-shm-usage", "--no-first-run", "--user-data-dir=" .. home .. "-profile",
      "--disable-background-networking",
      "--host-resolver-rules=MAP *.tunnel.test 127.0.0.1",
      "--ignore-certificate-errors-spki-list=" .. spki(), "--remote-debugging-port=0",
      ("https://%s:%d/page"):format(client.hostname, secure) }
    finally(function()
      browser:stop()
    end)
    local request = expect "http-request"
    assert.equal("https", request.headers["X-Forwarded-Proto"])
    client:answer(request, { body = page, headers = { ["Content-Type"] = "text/html" } })
    local ws = expect "ws-request"
    assert.equal("/echo", ws.url)
    assert.equal("x=1", ws.query)
    client:document("ws-response", { ["@id"] = ws["@id"], ok = true })
    local message = expect "ws-message"
    assert.equal("gr\195\188\195\159 dich", message.body)
    for i = 1, 3 do
      client:document("ws-message", { ["@id"] = ws["@id"], messageType = 1,
        body = i .. message.body })
    end
    client:document("ws-teardown", { ["@id"] = ws["@id"] })
    expect "ws-teardown"
    request = expect "http-request"
    client:answer(request, {})
    assert.same({ got = { "1gr\195\188\195\159 dich", "2gr\195\188\195\159 dich",
      "3gr\195\188\195\159 dich" }, protocol = "chat", code = 1000 },
      dkjson.decode(brickchain.bytes(request.body)))
  end)
end)
