local mkcert = require "sluice.mkcert"
local sluice = require "sluice"
local testing = require "sluice.testing"

local world = testing.world

-- A certificate is a line of text here: "cert NAME SERIAL FROM TO", its key "key SERIAL".
local function certificate(text)
  local name, serial, from, to = text:match("^cert (%S+) (%d+) (%d+) (%d+)$")
  if not name then
    return nil, "no certificate"
  end
  return { names = { name }, serial = serial, not_before = tonumber(from),
    not_after = tonumber(to), pin = sluice.crypto.sha256(serial) }
end

local function key(text)
  local serial = text:match("^key (%d+)$")
  return serial and { public_pem = function()
    return "-----BEGIN PUBLIC KEY-----\n" .. sluice.crypto.base64(serial)
      .. "\n-----END PUBLIC KEY-----\n"
  end }, "no key"
end

describe("mkcert", function()
  local issuer, runs, life

  before_each(function()
    testing.reset()
    testing.fake("crypto.certificate", certificate)
    testing.fake("crypto.key", key)
    runs, life = {}, 3000
    function world.programs.mkcert(argv)
      if argv[2] == "-CAROOT" then
        return { status = 0, stdout = "/ca\n", stderr = "" }
      end
      table.insert(runs, table.concat(argv, " "))
      local now = sluice.time()
      world.files[argv[3]] = ("key %d"):format(#runs)
      world.files[argv[5]] = ("cert %s %d %d %d"):format(argv[6], #runs, now, now + life)
      return { status = 0, stdout = "", stderr = "" }
    end
    issuer = mkcert.new { folder = "certs" }
  end)

  it("is found, or is not", function()
    assert.equal("/ca", issuer:find())
    world.programs.mkcert = nil
    assert.same({ nil, "not found" }, { issuer:find() })
    function world.programs.mkcert()
      return { status = 1, stdout = "", stderr = "" }
    end
    assert.is_nil(issuer:find())
  end)

  it("is run as the original runs it", function()
    local pair = assert(issuer:issue "app.localhost")
    assert.same({ "mkcert -key-file certs/app.localhost-key.pem "
      .. "-cert-file certs/app.localhost-cert.pem app.localhost" }, runs)
    assert.matches("^cert app.localhost 1 ", pair.cert)
    assert.equal("key 1", pair.key)
  end)

  it("is not run when both files are there and good", function()
    local pair = assert(issuer:issue "app.localhost")
    assert.same(pair, mkcert.new({ folder = "certs" }):issue "app.localhost")
    assert.equal(1, #runs)
  end)

  it("is run again when one file is missing, foreign, broken or about to expire", function()
    local cert_file, key_file = "certs/a.test-cert.pem", "certs/a.test-key.pem"
    for what, change in pairs {
      ["no key"] = function() world.files[key_file] = nil end,
      ["no certificate"] = function() world.files[cert_file] = nil end,
      ["empty"] = function() world.files[cert_file] = "" end,
      ["another key"] = function() world.files[key_file] = "key 99" end,
      ["another name"] = function()
        world.files[cert_file] = world.files[cert_file]:gsub("a.test", "b.test")
      end,
      ["old"] = function()
        local now = sluice.time()
        world.files[cert_file] = ("cert a.test 1 %d %d"):format(now - 3000, now + 1000)
        world.files[key_file] = "key 1"
      end,
    } do
      assert(issuer:issue "a.test")
      local before = #runs
      change()
      assert(issuer:issue "a.test")
      assert.equal(before + 1, #runs, what)
    end
  end)

  it("makes a new one for who has the old one already", function()
    local pair = assert(issuer:issue "a.test")
    local newer = assert(issuer:issue("a.test", pair.cert))
    assert.are_not.equal(pair.cert, newer.cert)
    assert.equal(2, #runs)
  end)

  it("is run alone until it has its CA", function()
    local mkcert_now, n, most = world.programs.mkcert, 0, 0
    function world.programs.mkcert(argv)
      n = n + 1
      most = math.max(most, n)
      sluice.sleep(1)
      n = n - 1
      return mkcert_now(argv)
    end
    local done = 0
    local function issue_some(from, to)
      for i = from, to do
        sluice.spawn(function()
          assert(issuer:issue(("n%d.test"):format(i)))
          done = done + 1
        end)
      end
      testing.clock():advance(10)
    end
    issue_some(1, 1)
    issue_some(2, 4)
    assert.same({ 4, 3 }, { done, most })
    issuer, most = mkcert.new { folder = "other" }, 0
    issue_some(1, 2)
    assert.same({ 6, 1 }, { done, most })
  end)

  it("is never run for what is no name", function()
    for _, name in ipairs { "../../evil", "-install", "a/b", "", "*.a.test", "a b", "127.0.0.1",
      "a\0b", "münchen.de", "localhost", ("a"):rep(64), "a..b" } do
      local pair, err, again = issuer:issue(name)
      assert.is_nil(pair)
      assert.is_string(err)
      assert.is_nil(again)
      assert.is_false(issuer:accepts(name))
    end
    assert.same({}, runs)
    assert.is_true(issuer:accepts "a.test")
  end)

  it("says what went wrong, and when to come back", function()
    function world.programs.mkcert()
      return { status = 1, stdout = "", stderr = "some words\nERROR: no CA\n" }
    end
    assert.same({ nil, "mkcert: ERROR: no CA", 60 }, { issuer:issue "a.test" })
    function world.programs.mkcert()
      return { status = 0, stdout = "", stderr = "" }
    end
    local pair, err = issuer:issue "a.test"
    assert.is_nil(pair)
    assert.equal("mkcert: not found", err)
    function world.programs.mkcert()
      return nil, "timed out"
    end
    assert.same({ nil, "mkcert: timed out", 60 }, { issuer:issue "a.test" })
  end)
end)
