local sluice = require "support.sluice"

-- `openssl` on one side, a script that runs in the program on the other: each reads, signs and
-- verifies what the other has made.

local folder

local function sh(fmt, ...)
  local command = ("cd %s && { %s; } 2>&1"):format(folder, fmt:format(...))
  local pipe = assert(io.popen(command))
  local out = pipe:read("*a")
  assert.is_true(pipe:close() and true, command .. "\n" .. out)
  return out
end

local digests = { ES256 = "sha256", ES384 = "sha384", ES512 = "sha512", RS256 = "sha256",
  PS256 = "sha256" }

local function options(alg)
  return alg == "PS256" and "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest" or ""
end

local curves = { ES256 = "P-256", ES384 = "P-384", ES512 = "P-521" }

local function make_keys()
  for alg, digest in pairs(digests) do
    sh("openssl genpkey -out %s.theirs.pem %s", alg,
      curves[alg] and "-algorithm EC -pkeyopt ec_paramgen_curve:" .. curves[alg]
        or "-algorithm RSA -pkeyopt rsa_keygen_bits:2048")
    sh("openssl pkey -in %s.theirs.pem -pubout -out %s.theirs.pub.pem", alg, alg)
    sh("openssl dgst -%s %s -sign %s.theirs.pem -out %s.theirs.sig text", digest, options(alg), alg,
      alg)
  end
end

local function make_forms()
  sh "openssl pkey -in RS256.theirs.pem -traditional -out pkcs1.pem"
  sh "openssl rsa -in RS256.theirs.pem -RSAPublicKey_out -out pkcs1.pub.pem"
  sh "openssl pkey -in ES256.theirs.pem -traditional -out sec1.pem"
  sh "{ openssl ecparam -name P-256; cat sec1.pem; } > sec1-with-parameters.pem"
  sh "openssl ec -in ES256.theirs.pem -pubout -conv_form compressed -out compressed.pub.pem"
end

local function make_bad_ones()
  sh "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out rsa1024.pem"
  sh "openssl genpkey -algorithm ED25519 -out ed25519.pem"
  sh "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out secp256k1.pem"
  for _, name in ipairs { "rsa1024", "ed25519" } do
    sh("openssl pkey -in %s.pem -pubout -out %s.pub.pem", name, name)
  end
  for name, form in pairs { encrypted = "", ["encrypted-traditional"] = "-traditional" } do
    sh("openssl pkey -in ES256.theirs.pem %s -aes128 -passout pass:x -out %s.pem", form, name)
  end
end

local function make_issued()
  sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 "
    .. "-subj /O=Test/CN=issuer.example -keyout issuer.key -out issuer.pem")
  sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 "
    .. "-subj /CN=issued.example -addext subjectAltName=DNS:issued.example "
    .. "-CA issuer.pem -CAkey issuer.key -set_serial 0xf0e1d2c3b4a5968778 "
    .. "-keyout issued.key -out issued.pem")
end

describe("keys of scripts", function()
  local code, out, err

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
    sh "printf 'what is signed' > text"
    make_keys()
    make_forms()
    make_bad_ones()
    make_issued()
    code, out, err = sluice.run({ "run", "spec/fixtures/library/keys.lua", "--no-supervisor" },
      { KEYS_FOLDER = folder })
  end)

  teardown(function()
    os.execute("rm -r " .. folder)
  end)

  it("do what they say", function()
    assert.equal(0, code, out .. err)
    assert.matches("%d+ cases, 0 failed\n$", out)
  end)

  it("are in no log", function()
    assert.is_nil((out .. err):find("PRIVATE KEY", 1, true))
  end)

  it("make signatures that openssl takes", function()
    for alg, digest in pairs(digests) do
      assert.matches("Verified OK", sh("openssl dgst -%s %s -verify %s.ours.pub.pem -signature "
        .. "%s.ours.sig text", digest, options(alg), alg, alg))
      assert.matches("valid", sh("openssl pkey -in %s.ours.pem -check -noout", alg))
    end
  end)

  it("make requests that openssl takes", function()
    for i = 1, 4 do
      local text = sh("openssl req -inform DER -in csr%d.der -verify -noout -text", i)
      assert.matches("verify OK", text)
      assert.matches("Subject: ?\n", text)
      assert.matches("DNS:a.example, DNS:%*.b.example, IP Address:192.0.2.7, "
        .. "IP Address:2001:DB8:0:0:0:0:0:7", text)
    end
  end)

  it("make certificates that openssl takes", function()
    local text = sh "openssl x509 -in plain.pem -noout -text"
    assert.matches("DNS:a.example, DNS:b.example, IP Address:0:0:0:0:0:0:0:1", text)
    assert.matches("CA:FALSE", text)
    sh "openssl verify -CAfile plain.pem -verify_hostname b.example plain.pem"
    assert.is_nil(text:find("1.3.6.1.5.5.7.1.31", 1, true))
  end)

  it("make the certificate of tls-alpn-01", function()
    local text = sh "openssl x509 -in acme.pem -noout -text"
    assert.matches("1%.3%.6%.1%.5%.5%.7%.1%.31: critical", text)
    assert.matches("X509v3 Subject Alternative Name: ?\n *DNS:a%.example\n", text)
    local parsed = sh "openssl asn1parse -in acme.pem"
    local hex = sh "cat acme.hex"
    assert.matches("1%.3%.6%.1%.5%.5%.7%.1%.31\n[^\n]*BOOLEAN *:255\n[^\n]*%[HEX DUMP%]:0420"
      .. hex:upper(), parsed)
  end)

  it("know the key of a certificate's issuer", function()
    local aki = sh("openssl x509 -in issued.pem -noout -ext authorityKeyIdentifier")
    assert.equal(sh "cat aki.hex", aki:gsub("[^%x:\n]", ""):match("([%x:]+)\n$"):gsub(":", "")
      :lower():sub(-40))
  end)
end)

describe("a certificate for tls-alpn-01", function()
  local program, port

  setup(function()
    port = sluice.free_port()
    program = sluice.start { script = "spec/fixtures/alpn.lua", env = { PORT = tostring(port) } }
  end)

  teardown(function()
    local stopping = program
    program = nil
    assert.equal(0, stopping:stop(), stopping:text "stderr")
  end)

  local function handshake(name, alpn, request)
    local pipe = io.popen(("printf '%s' | timeout 60 openssl s_client -connect 127.0.0.1:%d "
      .. "-servername %s %s -ign_eof 2>&1"):format(request or "", port, name, alpn))
    local out = pipe:read("*a")
    pipe:close()
    return out
  end

  it("is shown to who speaks acme-tls/1, and no HTTP follows", function()
    local out = handshake("a.example", "-alpn acme-tls/1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert.matches("ALPN protocol: acme%-tls/1", out)
    assert.matches("subject=CN *= *a.example", out)
    assert.is_nil(out:find("HTTP/1.1", 1, true))
  end)

  it("is not shown to others", function()
    local out = handshake("strict.example", "-alpn h2,http/1.1")
    assert.matches("no application protocol", out)
    assert.is_nil(out:find("BEGIN CERTIFICATE", 1, true))
    out = handshake("a.example", "-alpn http/1.1",
      "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    assert.matches("HTTP/1.1 200 OK", out)
  end)
end)
