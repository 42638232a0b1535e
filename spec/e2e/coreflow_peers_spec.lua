--- A Coreflow that does what it should not, byte by byte.

local coreflow = require "support.coreflow"
local dkjson = require "dkjson"
local peer = require "support.peer"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"
local socket = require "socket"

local entry = coreflow.entry
local frame = raw_websocket.frame

describe("Coreflow mode with a server that breaks the rules", function()
  local origin, origin_port, ingress, listener

  setup(function()
    origin, origin_port = sluice.origin("app")
  end)

  teardown(function()
    origin:stop()
  end)

  before_each(function()
    listener = peer.listen()
    ingress = coreflow.ingress(listener.port)
  end)

  after_each(function()
    local last = ingress
    ingress = nil
    listener:close()
    coreflow.stop(last)
  end)

  local function status(host)
    return coreflow.status(ingress, host)
  end

  local function wait_for_log(text)
    return coreflow.wait_for_log(ingress, text)
  end

  local function answer_tag(ws, text)
    local request = dkjson.decode(text or (ws:read_message()))
    ws:send(frame(dkjson.encode { method = request.method, response = { success = true },
      correlation = { id = request.correlation.id, phase = "response" } }))
    return ws
  end

  local function accept_tagged()
    return answer_tag(raw_websocket.accept(listener))
  end

  local function push_text(hosts)
    return dkjson.encode { method = "updateRouting", request = { reverseConfigs = hosts },
      response = dkjson.null, correlation = { id = "uni_1", phase = "request" } }
  end

  local function answer_of(ws)
    return dkjson.decode((ws:read_message())).response
  end

  -- Takes the attempts on the other wire away until there is one on the modern one.
  local function accept_modern()
    while true do
      local ws = raw_websocket.accept(listener)
      if ws.head.line == "GET / HTTP/1.1" then
        return answer_tag(ws)
      end
      ws:close()
    end
  end

  it("takes fragments, binary messages and pings", function()
    local ws = accept_tagged()
    local text = push_text { entry("a.test", origin_port) }
    ws:send(frame(text:sub(1, 10), { fin = false }))
    ws:send(frame("hello", { opcode = 9 }))
    ws:send(frame(text:sub(11, 500), { opcode = 0, fin = false }))
    ws:send(frame(text:sub(501), { opcode = 0 }))
    local payload, opcode = ws:read_frame()
    assert.same({ "hello", 10 }, { payload, opcode })
    assert.equal("ok", answer_of(ws).status)
    assert.equal(200, status "a.test")
    ws:send(frame(push_text { entry("b.test", origin_port) }, { opcode = 2 }))
    assert.equal("ok", answer_of(ws).status)
    assert.equal(200, status "b.test")
  end)

  it("goes on after messages that make no sense", function()
    local ws = accept_tagged()
    for _, text in ipairs { "{", "[]", "null", '"x"', '{"a":1}',
      '{"method":"updateRouting","request":{"reverseConfigs":[]}}' } do
      ws:send(frame(text))
    end
    ws:send(frame(push_text { entry("a.test", origin_port) }))
    assert.equal("ok", answer_of(ws).status)
    ws:send(frame((push_text({}):gsub("updateRouting", "unknown"))))
    assert.equal("There is no available method for this call on the server side",
      dkjson.decode((ws:read_message())).error.text)
    ws:send(frame(push_text("no list")))
    assert.equal("error", answer_of(ws).status)
    assert.equal(200, status "a.test")
  end)

  it("comes back after each offence, with nothing applied half", function()
    local first = accept_tagged()
    first:send(frame(push_text { entry("a.test", origin_port) }))
    assert.equal("ok", answer_of(first).status)
    local text = push_text { entry("b.test", origin_port) }
    local offences = {
      masked = frame(text, { mask = true }),
      cut = frame(text:sub(1, 300), { length = #text }),
      reserved = string.char(0xf1, 2) .. "{}",
      ["not UTF-8"] = frame("\"\255\""),
    }
    local ws = first
    for name, bytes in pairs(offences) do
      ws:send(bytes)
      if name == "cut" then
        ws:close()
      else
        ws:read_all()
      end
      wait_for_log "the connection is lost"
      assert.equal(200, status "a.test", name)
      ws = accept_modern()
    end
    ws:send(frame(text))
    assert.equal("ok", answer_of(ws).status)
    assert.equal(200, status "b.test")
  end)

  it("does not believe a wrong accept key, and tries again", function()
    local ws = raw_websocket.accept(listener, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    assert.equal("", (ws:read_all()))
    listener:accept():close() -- the other wire
    wait_for_log "cannot connect"
    local again = accept_modern()
    again:send(frame(push_text {}))
    assert.equal("ok", answer_of(again).status)
  end)

  it("takes a push of 50 MB, and refuses one beyond 96 MiB", function()
    local ws = accept_tagged()
    local padding = ("x"):rep(50 * 1000 * 1000)
    ws:send(frame(push_text { entry("a.test", origin_port, { padding = padding }) }))
    assert.equal("ok", answer_of(ws).status)
    assert.equal(200, status "a.test")
    ws:send(frame("the beginning", { length = 97 * 1048576 }))
    local payload, opcode = ws:read_message()
    assert.same({ 8, 1009 }, { opcode, payload:byte(1) * 256 + payload:byte(2) })
    ws:close()
    wait_for_log "the connection is lost"
    assert.equal(200, status "a.test")
  end)

  -- It is given 10 s for each of the two ways to talk.
  it("goes on when a server takes connections and never answers", function()
    local modern, legacy = listener:accept(), listener:accept()
    assert.equal("GET / HTTP/1.1", modern:read_head().line)
    assert.matches("^GET /socket.io/", legacy:read_head().line)
    assert.matches("modern: timed out; legacy: timed out", wait_for_log "cannot connect")
    modern:send("HTTP/1.1 101 Switching Protocols\r\n") -- nobody listens any more
    local ws = accept_modern()
    ws:send(frame(push_text { entry("a.test", origin_port) }))
    assert.equal("ok", answer_of(ws).status)
    assert.equal(200, status "a.test")
  end)

  it("goes on when a server never takes the tag", function()
    local silent = raw_websocket.accept(listener)
    assert.matches("__typedsocket_setTag", (silent:read_message()), 1, true)
    local legacy = listener:accept()
    legacy:close()
    assert.matches("did not take the tag in time", wait_for_log "cannot connect", 1, true)
    local payload, opcode = silent:read_message()
    assert.same({ 8, 1000 }, { opcode, payload:byte(1) * 256 + payload:byte(2) })
    local ws = accept_modern()
    ws:send(frame(push_text { entry("a.test", origin_port) }))
    assert.equal("ok", answer_of(ws).status)
  end)

  it("takes what comes late, in any order", function()
    local connection = listener:accept()
    connection.head = connection:read_head()
    socket.sleep(2) -- what is tested: a server that takes its time
    raw_websocket.upgrade(connection)
    local tag = connection:read_message()
    socket.sleep(2)
    connection:send(frame(push_text { entry("a.test", origin_port) })) -- before the tag is taken
    assert.equal("ok", answer_of(connection).status)
    answer_tag(connection, tag)
    wait_for_log '"msg":"connected"'
    assert.equal(200, status "a.test")
    assert.is_nil(ingress:text("stderr"):find("cannot connect", 1, true))
  end)

  it("applies a push whose sender is gone, as a whole", function()
    local ws = accept_tagged()
    ws:send(frame(push_text { entry("a.test", origin_port), entry("b.test", origin_port) }))
    ws:close()
    wait_for_log "routes are live"
    assert.equal(200, status "a.test")
    assert.equal(200, status "b.test")
    ws = accept_modern()
    ws:send(frame(push_text {}))
    assert.equal("ok", answer_of(ws).status) -- the answer to this one, not to the lost one
  end)
end)
