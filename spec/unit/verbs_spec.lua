local sluice = require "sluice"

local function throws(pattern, fn, ...)
  local args = { ... }
  assert.error_matches(function() fn(unpack(args, 1, 3)) end, pattern)
end

describe("verbs", function()
  it("are plain data", function()
    assert.same({ verb = "deny", status = 403 }, sluice.deny())
    assert.same({ verb = "deny", status = 429, body = "slow down" }, sluice.deny(429, "slow down"))
    assert.same({ verb = "reply", status = 200, body = "hi", headers = { ["x-a"] = "b" } },
      sluice.reply(200, "hi", { ["x-a"] = "b" }))
    assert.same({ verb = "redirect", location = "/x", status = 302 }, sluice.redirect("/x"))
    assert.same({ verb = "route", name = "app" }, sluice.route("app"))
    assert.same({ verb = "target", host = "h", port = 80, tls = true, verify = true },
      sluice.target("h", 80, { tls = true }))
    assert.same({ verb = "passthrough" }, sluice.passthrough())
  end)

  it("refuse a status that makes no sense", function()
    throws("deny: status 200", sluice.deny, 200)
    throws("reply: status 101", sluice.reply, 101)
    throws("reply: status nil", sluice.reply)
    throws("redirect: status 304", sluice.redirect, "/x", 304)
  end)

  it("refuse what would split a head", function()
    throws('header "x"', sluice.reply, 200, "", { x = "a\r\nb" })
    throws("set by sluice itself", sluice.reply, 200, "", { ["Content-Length"] = "5" })
    throws('"a b" is not a header name', sluice.reply, 200, "", { ["a b"] = "x" })
    throws("without line breaks", sluice.redirect, "/x\r\nset-cookie: a=b")
    throws("without line breaks", sluice.redirect, "")
  end)

  it("refuse a target that cannot be", function()
    throws("70000 is not a port", sluice.target, "h", 70000)
    throws("host must be", sluice.target, "a b", 80)
    throws("unknown option tsl", sluice.target, "h", 80, { tsl = true })
    throws("option tls must be", sluice.target, "h", 80, { tls = 1 })
  end)

  it("refuse a certificate that is not PEM", function()
    local cert, key = "-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"
    assert.same({ verb = "cert", cert = cert, key = key, alpn = "acme-tls/1" },
      sluice.cert(cert, key, { alpn = "acme-tls/1" }))
    throws("1 to 31 bytes", sluice.cert, cert, key, { alpn = "" })
    throws("1 to 31 bytes", sluice.cert, cert, key, { alpn = ("x"):rep(32) })
    throws("unknown option apln", sluice.cert, cert, key, { apln = "x" })
    assert.same({ verb = "cert", cert = cert, key = key }, sluice.cert(cert, key))
    throws("the certificate must be PEM", sluice.cert, "x", key)
    throws("the key must be PEM", sluice.cert, cert, cert)
  end)

  it("blame the line that called them", function()
    local _, err = pcall(function() sluice.deny(1) end)
    assert.matches("verbs_spec.lua:%d+: deny", err)
  end)
end)
