local commands = require "sluice.coreserver.commands"
local names = require "sluice.coreserver.names"
local registry = require "sluice.coreserver.registry"
local routes = require "sluice.coreserver.routes"
local sluice_routes = require "sluice.routes"
local state = require "sluice.coreserver.state"

local function env(given)
  return function(name)
    return given[name]
  end
end

describe("a command of a core-server", function()
  local function added(text)
    local command, err = commands.read(text)
    assert.is_table(command, ("%q: %s"):format(text, tostring(err)))
    assert.equal("add", command.word)
    return command.domain .. " " .. command.port
  end

  it("is read as tolerantly as the original reads it", function()
    for text, expected in pairs {
      ["add a.com 5665"] = "a.com 5665",
      ["add a.com 5665\n"] = "a.com 5665",
      ["add a.com 5665\r\n"] = "a.com 5665",
      ["add   a.com    5665"] = "a.com 5665",
      ["add a.com\t5665"] = "a.com 5665",
      ["add \t a.com \t 5665"] = "a.com 5665",
      ["add a.com 5665 extra words"] = "a.com 5665",
      ["add a.com 12ab"] = "a.com 12",
      ["add a.com +80"] = "a.com 80",
      ["add a.com 80 80"] = "a.com 80",
      ["add a.com 80\n81"] = "a.com 80",
      ["add a.com 080"] = "a.com 80",
      ["add a.com 65535"] = "a.com 65535",
      ["add A.Com. 1"] = "a.com 1",
      ["add family.localhost 5212"] = "family.localhost 5212",
      ["add a_b.c-d.test 1"] = "a_b.c-d.test 1",
      ["add app 3000"] = "app 3000",
      ["add xn--mnchen-3ya.de 1"] = "xn--mnchen-3ya.de 1",
      ["add 1password.com 1"] = "1password.com 1",
    } do
      assert.equal(expected, added(text))
    end
  end)

  it("is refused with the reason where the original registered what cannot work", function()
    for text, expected in pairs {
      ["add"] = "domain and port are missing",
      ["add "] = "domain and port are missing",
      ["add x"] = "the port is missing",
      ["add x "] = "the port is missing",
      ["add x y"] = "the port is not a number",
      ["add a.com\n5665"] = "domain and port must stand on one line",
      ["add \na.com 5665"] = "domain and port are missing",
      ["add a.com 0x1f90"] = "0 is not a port",
      ["add a.com 0"] = "0 is not a port",
      ["add a.com -5"] = "-5 is not a port",
      ["add a.com 70000"] = "70000 is not a port",
      ["add a.com 99999999999999999999999999"] = "is not a port",
      ["add *.wild.com 80"] = "is a pattern",
      ["add * 80"] = "is a pattern",
      ["add localhost 80"] = "is this machine itself",
      ["add LOCALHOST. 80"] = "is this machine itself",
      ["add 127.0.0.1 80"] = "is an address",
      ["add 2130706433 80"] = "is an address",
      ["add 0x7f.1 80"] = "is an address",
      ["add 127.0.0.0x1 80"] = "is an address",
      ["add ::1 80"] = "is an address",
      ["add [::1] 80"] = "is an address",
      ["add münchen.de 80"] = "xn-- form",
      ["add \255\254 80"] = "xn-- form",
      ["add a..b 80"] = "has an empty part",
      ["add .a 80"] = "has an empty part",
      ["add . 80"] = "is empty",
      ["add -a.com 80"] = "hyphen",
      ["add a-.com 80"] = "hyphen",
      ["add ../../evil 80"] = "is not a domain name",
      ["add a/b 80"] = "is not a domain name",
      ["add a.com:80 80"] = "is an address",
      ["add a\0b.com 80"] = "is not a domain name",
      ["add a.com\0 80"] = "is not a domain name",
      ["add " .. ("a"):rep(64) .. ".com 80"] = "more than 63",
      ["add " .. ("a."):rep(127) .. "com 80"] = "longer than 253",
      [("x"):rep(1025)] = "longer than 1024 bytes",
      ["add a.com 80" .. (" "):rep(65000)] = "longer than 1024 bytes",
    } do
      local command, err = commands.read(text)
      assert.is_nil(command, text)
      assert.matches(expected, err, 1, true)
    end
  end)

  it("is another one when its word is not exactly that", function()
    for _, text in ipairs { "", " ", "ADD a.com 80", "add\ta.com 80", " add a.com 80", "\n",
      "shutdown\n", " shutdown", "Shutdown", "shutdown\tnow", "addx a.com 80", "ping", "list2",
      "\0", "add\0 a.com 80", "\255" } do
      local command, err, word = commands.read(text)
      assert.is_nil(command, ("%q"):format(text))
      assert.same({ "unknown command" }, { err, word })
    end
  end)

  it("may be one of ours, which get an answer", function()
    assert.same({ word = "shutdown" }, commands.read "shutdown")
    assert.same({ word = "shutdown" }, commands.read "shutdown anything")
    assert.same({ word = "list" }, commands.read "list")
    assert.same({ word = "list" }, commands.read "list\n")
    assert.same({ word = "status" }, commands.read "status\r\n")
    assert.same({ word = "remove", domain = "a.com" }, commands.read "remove A.com.\n")
    local _, err, word = commands.read "remove a b"
    assert.same({ "there is more than a domain", "remove" }, { err, word })
    assert.is_true(commands.is_answered "remove" and commands.is_answered "list")
    assert.is_false(commands.is_answered "add" or commands.is_answered "shutdown"
      or commands.is_answered(nil))
  end)

  it("never throws, whatever the bytes", function()
    math.randomseed(1)
    local heads = { "add ", "remove ", "", "shutdown ", "add a.com " }
    for _ = 1, 2000 do
      local bytes = {}
      for i = 1, math.random(0, 40) do
        bytes[i] = string.char(math.random(0, 255))
      end
      local command = commands.read(heads[math.random(#heads)] .. table.concat(bytes))
      if command and command.domain then
        assert.matches("^[a-z0-9_][a-z0-9_.-]*$", command.domain)
      end
    end
  end)
end)

describe("the state of a core-server", function()
  it("is where the original has it", function()
    assert.equal("/c/core-web-server", state.folder(env { XDG_CONFIG_HOME = "/c", HOME = "/h" }))
    assert.equal("/h/.config/core-web-server", state.folder(env { HOME = "/h" }))
    assert.equal("/h/.config/core-web-server",
      state.folder(env { HOME = "/h", XDG_CONFIG_HOME = "" }))
    assert.is_nil(state.folder(env {}))
  end)

  it("is written as the original writes it, and comes back", function()
    local list = { { domain = "b.test", port = 2 }, { domain = "a.test", port = 65535 } }
    assert.equal("b.test 2\na.test 65535", state.text(list))
    assert.same(list, (state.parse(state.text(list))))
    assert.equal("", state.text {})
    assert.same({}, (state.parse ""))
  end)

  it("is read with blanks, line ends and words that do not matter", function()
    local list, bad = state.parse "  a.test 1  \r\n\n\nB.test\t2 later\na.test 3\n \n"
    assert.same({ { domain = "a.test", port = 1 }, { domain = "b.test", port = 2 } }, list)
    assert.same({}, bad)
  end)

  it("loses lines that are wrong, and says which", function()
    local list, bad = state.parse "a.test\nb.test 0\n*.c 1\n\255 1\nd.test 4\n\0 5\ne.test x"
    assert.same({ { domain = "d.test", port = 4 } }, list)
    assert.equal(6, #bad)
    assert.matches('"a.test" is not a domain and a port', bad[1], 1, true)
    list, bad = state.parse(("x\n"):rep(1000))
    assert.same({}, list)
    assert.equal("and 980 more", bad[21])
  end)
end)

describe("the names of a core-server", function()
  it("keep their order and have one port each", function()
    local known = registry.new { { domain = "b", port = 1 }, { domain = "a", port = 2 } }
    local first = known:find "b"
    assert.is_true(known:add("c", 3))
    assert.is_false(known:add("b", 1))
    assert.equal(first, known:find "b")
    assert.is_true(known:add("b", 4))
    assert.equal("b 4\na 2\nc 3", state.text(known:list()))
    assert.equal(1, first.port)
    assert.is_true(known:remove "a")
    assert.is_false(known:remove "a")
    assert.is_nil(known:find "a")
    assert.equal("b 4\nc 3", state.text(known:list()))
  end)

  it("are names, whoever asks", function()
    assert.equal("a.b", names.domain "A.B.")
    assert.is_nil(names.domain "a.b..")
    assert.is_nil(names.port(0.5))
  end)
end)

describe("the routes of a core-server", function()
  local two = { { domain = "a.test", port = 1 }, { domain = "b.test", port = 2 } }

  local function by_name(list)
    local found = {}
    for _, route in ipairs(list) do
      assert.is_nil(found[route.name])
      found[route.name] = route
    end
    return found
  end

  it("serve names over HTTP where there are no certificates", function()
    local list = routes.generate(two, { http_port = 80 })
    local found = by_name(list)
    assert.equal(80, found["a.test"].match.ports)
    assert.is_nil(found["a.test"].action.tls)
    assert.is_nil(found["redirect to HTTPS"])
    assert.equal("127.0.0.1", found["b.test"].action.targets[1].host)
    assert.equal(2, found["b.test"].action.targets[2].port)
    assert.matches("http://a.test/ -> localhost:1\n",
      found["unknown local name on port 80"].action.body, 1, true)
    assert(sluice_routes.compile(list))
  end)

  it("send known names to HTTPS, to our own port and not to the one that was asked for", function()
    local found = by_name(routes.generate(two, { http_port = 80, https_port = 443 }))
    local redirect = found["redirect to HTTPS"]
    assert.same({ "a.test", "b.test" }, redirect.match.domains)
    assert.equal(80, redirect.match.ports)
    assert.same({ 307, "https://{domain}{path}" },
      { redirect.action.statusCode, redirect.action.location })
    assert.equal(443, found["a.test"].match.ports)
    assert.equal("hook", found["a.test"].action.tls.certificate)
    found = by_name(routes.generate(two, { http_port = 8080, https_port = 8443 }))
    assert.equal("https://{domain}:8443{path}", found["redirect to HTTPS"].action.location)
    assert.matches("https://a.test:8443/ -> ", found["unknown local name on port 8080"].action.body,
      1, true)
  end)

  it("tell strangers nothing but that the name is unknown", function()
    local found = by_name(routes.generate(two,
      { http_port = 80, https_port = 443, is_public = true }))
    assert.is_nil(found["unknown local name on port 80"])
    for _, port in ipairs { 80, 443 } do
      local page = found["unknown name on port " .. port]
      assert.equal("Domain Not Recognized\n", page.action.body)
      assert.equal(404, page.action.statusCode)
    end
    found = by_name(routes.generate(two, { http_port = 80 }))
    local body = found["unknown name on port 80"].action.body
    assert.matches("^Domain Not Recognized\n\nhttp://localhost/ says", body)
    assert.is_nil(body:find("a.test", 1, true))
  end)

  it("are there before any name is", function()
    local list = routes.generate({}, { http_port = 80, https_port = 443 })
    local found = by_name(list)
    assert.is_nil(found["redirect to HTTPS"])
    assert.matches("nothing yet", found["unknown local name on port 80"].action.body, 1, true)
  end)

  it("name at most a hundred on a page", function()
    local many = {}
    for i = 1, 250 do
      many[i] = { domain = ("n%d.test"):format(i), port = i }
    end
    local body = by_name(routes.generate(many, { http_port = 80 }))["unknown local name on port 80"]
      .action.body
    assert.matches("n100.test", body, 1, true)
    assert.is_nil(body:find("n101.test", 1, true))
    assert.matches("and 150 more", body, 1, true)
  end)
end)
