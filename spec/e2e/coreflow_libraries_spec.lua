local coreflow = require "support.coreflow"
local sluice = require "support.sluice"

local entry = coreflow.entry

describe("Coreflow mode with the real libraries", function()
  local origin, origin_port, ingress, server, port

  setup(function()
    coreflow.install()
    origin, origin_port = sluice.origin("app")
  end)

  teardown(function()
    origin:stop()
  end)

  before_each(function()
    port = sluice.free_port()
  end)

  after_each(function()
    local last_ingress, last_server = ingress, server
    ingress, server = nil, nil
    if last_server then
      last_server:stop()
    end
    coreflow.stop(last_ingress)
  end)

  local function status(host)
    return coreflow.status(ingress, host)
  end

  local function wait_for_log(text)
    return coreflow.wait_for_log(ingress, text)
  end

  local libraries = {
    ["typedsocket 2 and typedrequest 2"] =
      { wire = "legacy", flags = { "--legacy", "--initial" } },
    ["smartserve 2 and typedrequest 3.3"] =
      { wire = "modern", flags = { "--strict", "--initial" } },
    ["smartserve 2 and typedrequest 8"] =
      { wire = "modern", flags = { "--typedrequest8", "--initial" } },
  }

  for name, library in pairs(libraries) do
    describe("of " .. name, function()
      local function start_server(hosts, ...)
        local all = { unpack(library.flags) }
        for _, flag in ipairs { ... } do
          table.insert(all, flag)
        end
        server = coreflow.server(port, hosts, all)
      end

      it("serves what is pushed by a server that starts later", function()
        ingress = coreflow.ingress(port)
        wait_for_log "cannot connect"
        start_server { entry("a.test", origin_port) }
        assert.equal("ok", server:next("answer").status)
        assert.matches(library.wire, wait_for_log '"msg":"connected"')
        assert.equal(200, status "a.test")
      end)

      it("serves the last of a burst and answers all of it", function()
        ingress = coreflow.ingress(port)
        start_server({ entry("a.test", origin_port) }, "--vary", "--burst", "20")
        for _ = 1, 20 do
          local answer = server:next("answer")
          assert.equal("ok", answer.status, answer.errorText)
        end
        assert.equal(200, status "push-20.test")
        assert.not_equal(200, status "push-1.test")
        assert.is_nil(server:said():find('"fault"', 1, true))
      end)

      it("comes back after the connection was lost, and serves meanwhile", function()
        ingress = coreflow.ingress(port)
        start_server { entry("a.test", origin_port) }
        server:next("answer")
        server:set { entry("b.test", origin_port) }
        server:drop()
        server:next("gone")
        assert.equal(200, status "a.test")
        server:next("tagged")
        assert.equal("ok", server:next("answer").status)
        assert.equal(200, status "b.test")
        assert.not_equal(200, status "a.test")
      end)

      it("is told of a bad entry, and of a method that does not exist", function()
        ingress = coreflow.ingress(port)
        start_server { entry("a.test", origin_port), entry("b.test", 0) }
        local answer = server:next("answer")
        assert.equal("error", answer.status)
        assert.matches("b.test: destinationPorts", answer.errorText, 1, true)
        assert.equal(200, status "a.test")
        server:call_unknown()
        assert.equal("There is no available method for this call on the server side",
          server:next("failure").text)
        wait_for_log "unknown method"
      end)

      it("takes nothing away when Coreflow ends", function()
        ingress = coreflow.ingress(port)
        start_server { entry("a.test", origin_port) }
        server:next("answer")
        server:stop()
        wait_for_log "cannot connect"
        assert.equal(200, status "a.test")
        start_server { entry("b.test", origin_port) }
        assert.equal("ok", server:next("answer").status)
        assert.equal(200, status "b.test")
      end)
    end)
  end
end)
