-- A hub in a private network and edges in a public one, with a link between them that fails: what
-- visitors notice of it. The visitors are in the public network, which has no way to the origin.
--
-- Needs root, namespaces and /dev/net/tun.

local dkjson = require "dkjson"
local mux_client = require "support.mux_client"
local process = require "support.process"
local raw_websocket = require "support.raw_websocket"
local sluice = require "support.sluice"
local socket = require "socket"
local tunnel = require "support.tunnel"
local visitor = require "support.visitor"

local hex = mux_client.hex
local visitor_ip = "198.51.100.7"
local cut_seconds = 20
local size = 30000000
local bulk = 1000000 * tonumber(os.getenv "SLUICE_TUNNEL_MB" or 50)

local function make_link()
  local link = process.start({ "python3", "spec/support/netlab.py", "1", "0" }, nil, true)
  local ok, public, private = pcall(link.wait_for, link, "stdout", "^(%d+) (%d+)$", 10)
  if not ok then
    link:stop()
    return nil, link:text("stderr")
  end
  return link, public, private
end

describe("edges in a public network and a hub in a private one", function()
  local link, public, private = make_link()
  if not link then
    pending("needs root and namespaces: " .. public)
    return
  end

  local function on(side, ...)
    return { "nsenter", "--net=/proc/" .. side .. "/ns/net", ... }
  end

  local function shell(side, text)
    local child = process.start(on(side, "sh", "-c", text))
    local code = child:wait(sluice.patience * 3)
    return child:text("stdout"), code, child:text("stderr")
  end

  local function tell_link(command)
    link:say(command)
    link:wait_for("stdout", "^" .. command .. "$", 5)
  end

  local lab, visitors

  setup(function()
    shell(public, ("ip addr add %s/32 dev lo; ip addr add 2001:db8::7/128 dev lo")
      :format(visitor_ip))
    lab = tunnel.start_apart { hub = on(private), edge = on(public), hub_host = "10.99.0.2",
      dead_after = 6 }
    visitors = visitor.start(on(public))
  end)

  teardown(function()
    visitors:close()
    lab:stop_apart()
    link:kill()
    link:wait(10)
  end)

  local function url(port, path)
    return ("http://10.99.0.1:%d%s"):format(port, path)
  end

  local function open(id, port, words, address)
    visitors:tell("open", { id = id, port = port, address = address or "10.99.0.1",
      from = not address and visitor_ip or nil, bytes = hex(words) })
    visitors:wait("opened", id)
  end

  local websocket_head = "GET /websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    .. "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

  local function heard_of(id, pattern)
    local got = ""
    repeat
      got = got .. visitors:wait("data", id).bytes
    until got:find(pattern)
    return got
  end

  local function say(id, text)
    visitors:tell("send", { id = id, bytes = hex(text) })
  end

  -- A message through the WebSocket and back.
  local function message(id, text)
    say(id, raw_websocket.frame(text, { mask = true }))
    visitors:expect(id, raw_websocket.frame(text))
  end

  it("keep the origin from the public", function()
    local _, code = shell(public, ("curl -sS -m 3 http://10.99.0.2:%d/"):format(lab.ports.tls))
    assert.is_true(code ~= 0)
  end)

  for _, name in ipairs(tunnel.transports) do
    it("tell the origin the visitor's address, over " .. name, function()
      local port = lab.ports[name]
      local said = dkjson.decode((shell(public, ("curl -sS --interface %s %s"):format(visitor_ip,
        url(port, "/")))))
      assert.matches(("^PROXY TCP4 198%%.51%%.100%%.7 10%%.99%%.0%%.1 %%d+ %d$"):format(port),
        said.proxy)
      open("six " .. name, port, "ECHO\n", "2001:db8::7")
      assert.matches(("^PROXY TCP6 2001:db8::7 2001:db8::7 %%d+ %d\n$"):format(port),
        heard_of("six " .. name, "\n"))
      visitors:tell("udp", { id = "udp " .. name, port = port, address = "10.99.0.1",
        from = visitor_ip, bytes = hex("question") })
      assert.matches("^198%.51%.100%.7 %d+ question$",
        visitors:wait("datagram", "udp " .. name).bytes)
    end)
  end

  for _, name in ipairs(tunnel.transports) do
    it("carry HTTP/3, whose visitor the hub knows, over " .. name, function()
      local said = shell(public, ("curl -sSk --http3-only --interface %s --resolve "
        .. "app.example:%d:10.99.0.1 -w '%%{http_version}' https://app.example:%d/"):format(
        visitor_ip, lab.web[name], lab.web[name]))
      local body, version = said:match("^(.*})%s*(%d)$")
      assert.equal("3", version, said)
      assert.same({ visitor_ip }, dkjson.decode(body).headers["x-forwarded-for"])
    end)

    it(("carry %d MB over %s"):format(bulk / 1000000, name), function()
      local expected = shell(private, ("curl -sS http://127.0.0.1:%d/sha256/%d"):format(
        lab.ports.tls, bulk)):match("%x+")
      local got = shell(public, ("curl -sS %s | sha256sum"):format(
        url(lab.ports[name], "/bytes/" .. bulk))):match("%x+")
      assert.equal(expected, got)
    end)
  end

  it("go on after the link was cut for " .. cut_seconds .. " s, in the middle of everything",
    function()
      local hash = shell(private, ("curl -sS http://127.0.0.1:%d/sha256/%d"):format(
        lab.ports.tls, size)):match("%x+")
      for name, port in pairs(lab.ports) do
        open("echo " .. name, port, "ECHO\n")
        heard_of("echo " .. name, "\n")
        open("ws " .. name, port, websocket_head)
        heard_of("ws " .. name, "\r\n\r\n")
        message("ws " .. name, "before")
      end
      for name, port in pairs(lab.ports) do
        open("down " .. name, port, ("GIVE %d\n"):format(size))
        open("up " .. name, port, ("POST /upload HTTP/1.0\r\nContent-Length: %d\r\n\r\n")
          :format(size))
        visitors:tell("send", { id = "up " .. name, size = size })
      end
      for name in pairs(lab.ports) do
        visitors:wait("data", "down " .. name)
      end
      tell_link "cut"
      for name in pairs(lab.ports) do
        say("echo " .. name, "while it is cut")
      end
      socket.sleep(cut_seconds) -- what is tested, not a way to wait
      for _, event in ipairs(visitors.events) do
        assert.is_true(event.event == "data", dkjson.encode(event))
      end
      tell_link "heal"
      for name in pairs(lab.ports) do
        visitors:expect("echo " .. name, "while it is cut")
        visitors:echo("echo " .. name, "after it")
        message("ws " .. name, "after it")
        assert.equal(hash, visitors:wait("response", "down " .. name).sha256)
        local up = visitors:wait("response", "up " .. name)
        assert.matches('"sha256": "' .. hash, up.body)
      end
    end)

  it("noticed that nobody was there (L8)", function()
    for _, name in ipairs(tunnel.transports) do
      lab[name]:wait_for("stderr", '"msg":"tunnel down"', sluice.patience)
      lab[name]:wait_for("stderr", '"msg":"tunnel up".-"resumed":true', sluice.patience)
    end
  end)

  it("take TLS where UDP does not pass (L16)", function()
    tell_link "block 8443"
    finally(function() tell_link "heal" end)
    local edge = lab.start_transport "quicWithFallback"
    local began = process.now()
    assert.matches('"transport":"tls"', edge:wait_for("stderr", '^.*"msg":"tunnel up".*$',
      sluice.patience))
    assert.is_true(process.now() - began < (sluice.is_sanitized and sluice.patience or 7))
  end)
end)
