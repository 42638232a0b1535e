-- Two instances that share certificates, their account and the answers to a CA through Redis.

local coretraffic = require "support.coretraffic"
local http = require "support.http"
local pebble = require "support.pebble"
local redis = require "support.redis"
local sluice = require "support.sluice"

describe("instances that share certificates in Redis", function()
  local server, ca, first, second
  local ports = { sluice.free_port(), sluice.free_port() }

  local function config(port, names)
    local result = { routes = {}, acme = {
      directory = ca.directory, caFile = ca.ca_file, challenges = { "tls-alpn-01" },
      redis = { port = server.port, password = "secret", prefix = "certs:" },
    } }
    for i, name in ipairs(names) do
      result.routes[i] = { name = name, match = { ports = port, domains = name }, action = {
        type = "forward", targets = { { host = "127.0.0.1", port = 9 } },
        tls = { mode = "terminate", certificate = "auto" },
      } }
    end
    return result
  end

  -- The certificate that is shown for a name, as text.
  local function shown(port, name)
    local connection = assert(http.connect { port = port, tls = true, host = name })
    local pem = connection:getpeercertificate():pem()
    connection:close()
    return pem
  end

  local function orders(program)
    return select(2, program:ask("GET", "/statistics")).certificates.orders
  end

  setup(function()
    server = redis.new { "--requirepass", "secret" }
    ca = pebble.start { http_port = 9, tls_port = ports[1] } -- the CA reaches the first alone
    first = coretraffic.start(config(ports[1], { "first.example.com" }))
    second = coretraffic.start(config(ports[2], { "second.example.com" }))
  end)

  teardown(function()
    for _, program in ipairs { first, second } do
      program:stop()
    end
    ca:stop()
    server:stop()
  end)

  it("answer for each other when the CA looks", function()
    assert.matches("BEGIN CERTIFICATE", shown(ports[2], "second.example.com"))
    assert.equal(1, orders(second))
  end)

  it("order a name once, whoever asks for it", function()
    local names = { "first.example.com", "second.example.com", "third.example.com" }
    for i, program in ipairs { first, second } do
      local routes = config(ports[i], names).routes
      assert.equal(200, (program:ask("PUT", "/routes", { body = routes })).status)
    end
    for _, name in ipairs(names) do
      assert.equal(shown(ports[1], name), shown(ports[2], name))
    end
    assert.equal(3, orders(first) + orders(second))
  end)

  it("go on with what is in service while Redis is away", function()
    local before = shown(ports[1], "third.example.com")
    server:kill()
    assert.equal(before, shown(ports[1], "third.example.com"))
    assert.equal(200, (first:ask("POST", "/reload")).status)
    assert.matches("BEGIN CERTIFICATE", shown(ports[1], "first.example.com"))
    server:start()
  end)
end)
