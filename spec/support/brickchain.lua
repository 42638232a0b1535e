--- Clients and visitors of the tunneling proxy for end-to-end specs, each a process that is led
-- (spec/support/brickchain_peer.py), and the server itself.
--
--   local client = brickchain.client(port)
--   local key_id = client:register()
--   local visit = brickchain.visit(port, { host = client.hostname, path = "/" })
--   local request = client:expect "http-request"
--   client:answer(request, { status = 200, body = "hello" })
--   assert.equal("hello", visit:response().body)

local base64 = require "mime"
local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"

local brickchain = {}

brickchain.base = "https://proxy.brickchain.com/v1/"

local peer = {}
peer.__index = peer

function brickchain.peer()
  local child = process.start({ "python3", "spec/support/brickchain_peer.py" }, nil, true)
  return setmetatable({ _child = child }, peer)
end

function peer:say(command)
  self._child:say(dkjson.encode(command))
end

--- The next thing that happened, which must be of this kind.
function peer:got(what)
  local line = self._child:wait_for("stdout", "^{.*$", sluice.patience)
  local event = dkjson.decode(line)
  assert(event.got == what, ("%s expected, got %s"):format(what, line:sub(1, 2000)))
  return event
end

function peer:connect(url, options)
  local command = { ["do"] = "connect", url = url }
  for name, value in pairs(options or {}) do
    command[name] = value
  end
  self:say(command)
  return self
end

function peer:text(text)
  self:say { ["do"] = "text", text = text }
end

function peer:binary(bytes)
  self:say { ["do"] = "binary", hex = (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end)) }
end

function peer:close(code, reason)
  self:say { ["do"] = "close", code = code, reason = reason }
end

function peer:abort()
  self:say { ["do"] = "abort" }
end

function peer:stop()
  self._child:stop()
end

--- A server as the original is, for clients of ours (spec/support/brickchain_original.py); it is
-- led like a peer. Its `port`.
function brickchain.original(...)
  local child = process.start({ "python3", "spec/support/brickchain_original.py", ... }, nil, true)
  local original = setmetatable({ _child = child }, peer)
  original.port = original:got("port").port
  return original
end

--- Who ends the peers of a test: keep(peer), which returns it, and what to call after each test.
function brickchain.keeper()
  local kept = {}
  local function keep(one)
    table.insert(kept, one)
    return one
  end
  return keep, function()
    for _, one in ipairs(kept) do
      one:stop()
    end
    kept = {}
  end
end

-- Clients.

local keys = {}

--- The path of a private key, made once for each name.
function brickchain.key(name, algorithm)
  if not keys[name] then
    keys[name] = os.tmpname()
    local options = algorithm and algorithm:find("^RSA") and "RSA -pkeyopt rsa_keygen_bits:2048"
      or "EC -pkeyopt ec_paramgen_curve:" .. (algorithm or "P-256")
    assert(os.execute(("openssl genpkey -algorithm %s -out %s 2>/dev/null")
      :format(options, keys[name])))
  end
  return keys[name]
end

function brickchain.remove_keys()
  for _, path in pairs(keys) do
    os.remove(path)
  end
  keys = {}
end

--- A mandate token.
function peer:token(options)
  local command = { ["do"] = "token", key = brickchain.key "default" }
  for name, value in pairs(options) do
    command[name] = value
  end
  self:say(command)
  return self:got("token").token
end

local function timestamp(offset)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() + (offset or 0))
end

brickchain.timestamp = timestamp

--- What is signed; `changes` replaces members, false removes one.
function brickchain.payload(base, changes)
  local payload = { ["@type"] = "https://schema.brickchain.com/v2/mandate-token.json",
    ["@timestamp"] = timestamp(), uri = base, ttl = 60 }
  for name, value in pairs(changes or {}) do
    payload[name] = value or nil
  end
  return payload
end

--- Sends a document.
function peer:document(kind, fields)
  local document = { ["@type"] = brickchain.base .. kind .. ".json", ["@timestamp"] = timestamp() }
  for name, value in pairs(fields) do
    document[name] = value
  end
  self:text(dkjson.encode(document))
end

--- The next document, which must be of this kind; pings are left out.
function peer:expect(kind)
  local ends = process.now() + sluice.patience
  while true do
    assert(process.now() < ends, "no " .. kind)
    local event = self:got("text")
    local document = assert(dkjson.decode(event.text), event.text)
    local name = document["@type"]:match("/v1/([%w-]+)%.json$")
    if name ~= "ping" or kind == "ping" then
      assert(name == kind, kind .. " expected, got " .. event.text:sub(1, 2000))
      return document, event.text
    end
  end
end

--- Connects a client, not registered.
function brickchain.connect(port, options)
  local client = brickchain.peer():connect("ws://127.0.0.1:" .. port .. "/proxy/subscribe",
    options)
  client:got "open"
  client.port = port
  return client
end

--- Registers: key (a name), algorithm, base, session, sluice.
function peer:register(options)
  options = options or {}
  local token = self:token { key = brickchain.key(options.key or "default", options.algorithm),
    payload = brickchain.payload(options.base or brickchain.base_url), alg = options.alg }
  self:document("registration-request", { ["@id"] = "a53371b5-df17-4769-8ac0-6271c141419a",
    mandateToken = token, session = options.session, sluice = options.sluice })
  local answer = self:expect "registration-response"
  assert(answer["@id"] == "a53371b5-df17-4769-8ac0-6271c141419a")
  self.key_id, self.hostname, self.sluice = answer.keyID, answer.hostname, answer.sluice
  return answer.keyID, answer
end

--- A client that is registered.
function brickchain.client(port, options)
  local client = brickchain.connect(port)
  client:register(options)
  return client
end

--- Answers an http-request.
function peer:answer(request, response)
  self:document("http-response", { ["@id"] = request["@id"], status = response.status or 200,
    headers = response.headers or { ["Content-Type"] = "text/plain" },
    contentType = "text/plain", body = response.base64 or base64.b64(response.body or "") or "",
    sluice = response.sluice })
end

--- The bytes of a body in a document.
function brickchain.bytes(text)
  return (base64.unb64(text)) or ""
end

-- Visitors.

local visit = {}
visit.__index = visit

--- Sends a request and does not wait for the answer.
function brickchain.visit(port, options)
  options.port = port
  local connection = assert(http.connect(options))
  assert(connection:send(http.request_text(options)))
  return setmetatable({ connection = connection }, visit)
end

function visit:response()
  local text, _, rest = self.connection:receive("*a")
  self.connection:close()
  return assert(http.parse(text or rest or ""))
end

function visit:close()
  self.connection:close()
end

--- A WebSocket of a visitor, under way.
function brickchain.websocket(port, hostname, path, options)
  options = options or {}
  options.address = { "127.0.0.1", port }
  return brickchain.peer():connect(("ws://%s%s"):format(hostname, path), options)
end

--- Starts a server; env in addition.
function brickchain.server(port, env, options)
  local all = { ADDR = ":" .. port, BASE = brickchain.base_url, DOMAIN = "tunnel.test" }
  for name, value in pairs(env or {}) do
    all[name] = value
  end
  options = options or {}
  options.script, options.env = "scripts/brickchain.lua", all
  return sluice.start(options)
end

--- Starts a client of ours, with a key of its own; env in addition, and `state`, the path of its
-- state. Stop it with brickchain.stop_service().
function brickchain.service(endpoint, target, env, options)
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir " .. folder))
  local all = { PROXY_ENDPOINT = endpoint, LOCAL = target, KEY = folder .. "/key.pem",
    STATE = folder .. "/state" }
  for name, value in pairs(env or {}) do
    all[name] = value
  end
  options = options or {}
  options.script = options.script or "scripts/brickchain-client.lua"
  options.env, options.workers = all, 1
  local service = sluice.start(options)
  service.folder = folder
  return service
end

--- Waits until it is registered: its host name.
function brickchain.hostname_of(service)
  return sluice.logged(service, "registered").hostname
end

--- Ends it, with its files; its exit code.
function brickchain.stop_service(service)
  local code = service:stop()
  os.execute("rm -r " .. service.folder)
  return code
end

brickchain.base_url = "http://127.0.0.1:6520"

return brickchain
