--- Transfers with curl that every version of HTTP carries alike: for describe blocks.
--
--   local lab = {}                         -- port and origin_port are filled in by setup()
--   local curl = transfers.curl(lab)
--   transfers.cases(it, "--http2", "2", lab)

local assert = require "luassert"
local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"

local transfers = {}

local bulk = sluice.is_sanitized and 20000000 or 100000000

local function finish(child)
  assert.equal(0, child:wait(sluice.patience * 3), child:text("stderr"))
  return child:text("stdout")
end

local function shell(text)
  return finish(process.start { "sh", "-c", text })
end

local function resolve(lab)
  return ("app.example:%d:127.0.0.1"):format(lab.port)
end

local function url(lab, path)
  return ("https://app.example:%d%s"):format(lab.port, path)
end

--- A function that asks the ingress with these options of curl for this path: its output.
function transfers.curl(lab)
  return function(path, ...)
    return finish(process.start { "curl", "-sSk", "--resolve", resolve(lab), url(lab, path), ... })
  end
end

--- The SHA-256 of the first n bytes of the pattern that the origin gives.
function transfers.hash_of(lab, n)
  return http.request({ port = lab.origin_port, path = "/sha256/" .. n }).body
end

--- The cases; `it` is busted's. `flag` makes curl speak the version, which it calls `version`.
function transfers.cases(it, flag, version, lab)
  local curl = transfers.curl(lab)

  it("carries a hundred megabytes down", function()
    local got = shell(("curl -sSk %s --resolve %s %s | sha256sum"):format(flag, resolve(lab),
      url(lab, "/bytes/" .. bulk)))
    assert.equal(transfers.hash_of(lab, bulk), got:match("^%x+"))
  end)

  it("carries a hundred megabytes up, with a length and without", function()
    local hash = transfers.hash_of(lab, bulk)
    local give = ("curl -sSk http://127.0.0.1:%d/bytes/%d | "):format(lab.origin_port, bulk)
    local take = ("curl -sSk %s --resolve %s %%s %s"):format(flag, resolve(lab),
      url(lab, "/upload"))
    local said = shell(give .. take:format("-T -"))
    assert.equal(hash, said:match('"sha256": "(%x+)"'))
    assert.matches('"transfer%-encoding": %["chunked"%]', said)
    said = shell(give .. take:format("--data-binary @-"))
    assert.equal(hash, said:match('"sha256": "(%x+)"'))
    assert.matches('"content%-length": %["' .. bulk .. '"%]', said)
  end)

  it("carries many requests on one connection", function()
    local out = curl("/[1-1000]", flag, "-Z", "--parallel-max", "100", "-o", "/dev/null", "-w",
      "%{http_version} %{http_code} %{num_connects}\n")
    local n, n_connects = 0, 0
    for line in out:gmatch("[^\n]+") do
      assert.matches("^" .. version .. " 200 ", line)
      n, n_connects = n + 1, n_connects + tonumber(line:match("(%d+)$"))
    end
    assert.same({ 1000, 1 }, { n, n_connects })
  end)
end

return transfers
