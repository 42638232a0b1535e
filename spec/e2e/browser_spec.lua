-- sluice as a browser sees it: Chromium loads a page and a hundred megabytes over HTTP/2 and over
-- HTTP/3. The page tells us itself what it has got, and how.

local dkjson = require "dkjson"
local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local process = require "support.process"
local sluice = require "support.sluice"

local size = 100000000

local page = [[
<!doctype html><title>sluice</title><script>
const hex = (buffer) =>
  [...new Uint8Array(buffer)].map((b) => b.toString(16).padStart(2, "0")).join("");
async function load() {
  const response = await fetch("/bytes/SIZE");
  const bytes = await response.arrayBuffer();
  const parts = await Promise.all([...Array(50).keys()].map(async (i) => {
    const part = await fetch("/bytes/" + (1000 + i));
    return (await part.arrayBuffer()).byteLength;
  }));
  const [entry] = performance.getEntriesByName(response.url);
  const [navigation] = performance.getEntriesByType("navigation");
  return { status: response.status, size: bytes.byteLength, parts: parts.reduce((a, b) => a + b),
    sha256: hex(await crypto.subtle.digest("SHA-256", bytes)), protocol: entry.nextHopProtocol,
    page: navigation.nextHopProtocol };
}
load().catch((error) => ({ error: String(error) }))
  .then((result) => fetch("/result", { method: "POST", body: JSON.stringify(result) }));
</script>]]

describe("a browser", function()
  local program, origin, origin_port, listener, port, home

  setup(function()
    origin, origin_port = sluice.origin("app")
    listener, port = peer.listen(), http.free_port()
    program = mux.start { routes = {
      mux.route("app", port, origin_port, "app.example"),
      mux.route("page", port, listener.port, "app.example", { path = "/page" }),
      mux.route("result", port, listener.port, "app.example", { path = "/result" }),
    } }
    home = os.tmpname()
    os.remove(home)
  end)

  teardown(function()
    mux.stop(program)
    listener:close()
    origin:stop()
    os.execute("rm -rf " .. home .. "*")
  end)

  -- The hash by which Chromium knows the key of our certificate.
  local function spki()
    sluice.write(home .. ".crt", sluice.certificate("app.example").cert)
    local pipe = io.popen(("openssl x509 -in %s.crt -pubkey -noout "
      .. "| openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64")
      :format(home))
    local hash = pipe:read("*l")
    pipe:close()
    os.remove(home .. ".crt")
    return hash
  end

  -- Each time as if it were new: what a browser has learnt of a server would decide the version.
  local function browse(flag, ...)
    local url = ("https://app.example:%d/page"):format(port)
    return process.start { "chromium", "--headless", "--no-sandbox", "--disable-gpu",
      "--disable-dev-shm-usage", "--no-first-run", "--user-data-dir=" .. home .. flag,
      "--disable-background-networking", "--host-resolver-rules=MAP app.example 127.0.0.1",
      "--ignore-certificate-errors-spki-list=" .. spki(), "--remote-debugging-port=0", flag,
      unpack { url, ... } }
  end

  local function take(line)
    local inner = assert(listener:accept(60), "the browser does not come")
    local request = inner:read()
    assert.equal(line, request.line)
    return inner, request
  end

  -- What the page says that it has got.
  local function result(...)
    local browser = browse(...)
    finally(function() browser:stop() end)
    local inner = take "GET /page HTTP/1.1"
    local text = page:gsub("SIZE", size)
    inner:send(("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
      .. "Content-Length: %d\r\n\r\n%s"):format(#text, text))
    local request
    inner, request = take "POST /result HTTP/1.1"
    inner:send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    return dkjson.decode(request.body)
  end

  local function check(said, protocol)
    assert.is_nil(said.error)
    assert.same({ 200, size, 51225 }, { said.status, said.size, said.parts })
    assert.equal(http.request({ port = origin_port, path = "/sha256/" .. size }).body, said.sha256)
    assert.same({ protocol, protocol }, { said.page, said.protocol })
  end

  it("loads over HTTP/2", function()
    check(result("--disable-quic"), "h2")
  end)

  if mux.errors.h3 then
    it("loads over HTTP/3", function()
      check(result("--enable-quic", "--origin-to-force-quic-on=app.example:" .. port), "h3")
    end)
  end
end)
