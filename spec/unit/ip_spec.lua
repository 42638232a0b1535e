local ip = require "sluice.ip"

describe("IP patterns", function()
  it("are addresses, blocks, ranges, stars", function()
    for _, pattern in ipairs {
      "*", "10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "2001:db8::1", "1:2:3:4:5:6:7:8",
      "::ffff:10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::/0", "10.0.0.1-10.0.0.9",
      "10.0.0.1 - 10.0.0.9", "::1-::9", "192.168.1.*", "192.168.*.*", "10.*",
    } do
      assert.is_true((ip.check(pattern)), pattern)
    end
  end)

  it("are refused with the reason", function()
    for pattern, reason in pairs {
      ["10.0.0.256"] = "is not an IP address",
      ["10.0.0.01"] = "is not an IP address",
      ["10.0.0"] = "is not an IP address",
      ["example.com"] = "is not an IP address",
      [""] = "is not an IP address",
      ["1:2:3:4:5:6:7"] = "is not an IP address",
      ["1:2:3:4:5:6:7:8:9"] = "is not an IP address",
      ["1::2::3"] = "is not an IP address",
      ["12345::"] = "is not an IP address",
      [":1"] = "is not an IP address",
      ["10.0.0.0/33"] = "the prefix must be 0 to 32",
      ["2001:db8::/129"] = "the prefix must be 0 to 128",
      ["10.0.0.0/-1"] = "the prefix must be 0 to 32",
      ["10.0.0/8"] = "before the / is not an IP address",
      ["10.0.0.9-10.0.0.1"] = "ends before it begins",
      ["10.0.0.1-::1"] = "its ends are IPv4 and IPv6",
      ["10.0.0.1-x"] = "is not a range",
      ["*.0.0.1"] = "is not an IP address",
      ["1*.0.0.1"] = "is not an IP address",
      ["10.**"] = "is not an IP address",
      ["1.2.3.4.*"] = "is not an IP address",
    } do
      local ok, err = ip.check(pattern)
      assert.is_nil(ok, pattern)
      assert.matches(reason, err, 1, true)
    end
  end)

  it("compare across families as little as they may", function()
    assert.same({ 4, 167772161 }, { ip.parse("10.0.0.1") })
    assert.same({ 6, ("0"):rep(31) .. "1" }, { ip.parse("::1") })
    assert.same({ ip.parse("::ffff:10.0.0.1") }, { ip.parse("0:0:0:0:0:ffff:a00:1") })
    assert.is_nil((ip.parse("x")))
  end)

  it("know what means this machine alone", function()
    for _, host in ipairs { "127.0.0.1", "127.1.2.3", "::1", "[::1]", "0:0:0:0:0:0:0:1" } do
      assert.is_true(ip.is_loopback(host), host)
    end
    for _, host in ipairs { "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.evil.example", "127.1", "" } do
      assert.is_false(ip.is_loopback(host), host)
    end
  end)
end)
