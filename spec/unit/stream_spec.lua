local sluice = require "sluice"
local testing = require "sluice.testing"

local url = "http://127.0.0.1:8080/"

local function serve(handler)
  assert(sluice.serve { port = 8080, handler = handler })
end

local function zeros(out)
  local n = 0
  while out:write(("0"):rep(65536)) do
    n = n + 1
  end
  return n
end

describe("sluice.reply", function()
  it("takes headers as a list of pairs", function()
    local list = { { "Set-Cookie", "a" }, { "Set-Cookie", "b" } }
    assert.same(list, sluice.reply(200, "x", list).headers)
    assert.has_error(function()
      sluice.reply(200, "x", { { "Set-Cookie" } })
    end, "reply: an item of the list of headers is not a pair { name, value }")
    assert.has_error(function()
      sluice.reply(200, "x", { { "a b", "c" } })
    end, 'reply: "a b" is not a header name')
  end)

  it("takes a function, and its length", function()
    local function body() end
    assert.equal(body, sluice.reply(200, body, { ["Content-Length"] = "5" }).body)
    assert.has_error(function()
      sluice.reply(200, "12345", { ["Content-Length"] = "5" })
    end, 'reply: header "Content-Length" is set by sluice itself, which frames the message')
    assert.has_error(function()
      sluice.reply(200, body, { ["Transfer-Encoding"] = "chunked" })
    end, 'reply: header "Transfer-Encoding" is set by sluice itself, which frames the message')
    assert.has_error(function()
      sluice.reply(200, 5)
    end, "reply: body must be a string or a function, not a number")
  end)
end)

describe("sluice.websocket", function()
  it("takes headers for the answer", function()
    local headers = { { "Set-Cookie", "a" } }
    assert.equal(headers, sluice.websocket(function() end, { headers = headers }).headers)
    assert.has_error(function()
      sluice.websocket(function() end, { headers = { upgrade = "x" } })
    end, 'websocket: header "upgrade" is set by sluice itself, which frames the message')
  end)
end)

describe("the fake fetch", function()
  before_each(testing.reset)

  it("gets what a body function writes", function()
    serve(function()
      return sluice.reply(200, function(out)
        out:write("a")
        sluice.sleep(1)
        out:write("b")
      end, { { "X-A", "1" }, { "x-a", "2" } })
    end)
    local response
    sluice.spawn(function()
      response = sluice.fetch(url)
    end)
    testing.clock():advance(2)
    assert.same({ status = 200, body = "ab", headers = { ["x-a"] = "1, 2" },
      pairs = { { "X-A", "1" }, { "x-a", "2" } } }, response)
  end)

  it("lets a body function read the request", function()
    serve(function(req)
      local first = req:read(2)
      return sluice.reply(200, function(out)
        out:write(first:upper() .. out:read())
        assert.is_nil(out:read())
      end)
    end)
    assert.equal("HEllo", sluice.fetch(url, { method = "POST", body = "hello" }).body)
  end)

  it("streams both ways", function()
    serve(function()
      return sluice.reply(200, function(out)
        for piece in function() return out:read() end do
          out:write(piece:upper())
        end
      end)
    end)
    local seen = {}
    sluice.spawn(function()
      local response = sluice.fetch(url, { stream = true, method = "POST", body = function(out)
        for _, word in ipairs { "one", "two" } do
          out:write(word)
          sluice.sleep(1)
        end
      end })
      for piece in function() return response:read() end do
        table.insert(seen, { piece, sluice.now() })
      end
    end)
    testing.clock():advance(5)
    assert.same({ { "ONE", 0 }, { "TWO", 1 } }, seen)
  end)

  it("makes who writes wait for who reads, and tells him when nobody does", function()
    local written
    serve(function()
      return sluice.reply(200, function(out)
        written = zeros(out)
      end)
    end)
    sluice.spawn(function()
      local response = sluice.fetch(url, { stream = true })
      assert.equal(65536, #response:read())
      assert.is_nil(written)
      response:close()
    end)
    assert.equal(1, written)
  end)

  it("sees a body function that fails", function()
    serve(function(req)
      return sluice.reply(200, function(out)
        if req:path() == "/late" then
          out:write("x")
        end
        error("on purpose")
      end)
    end)
    assert.equal(500, sluice.fetch(url).status)
    assert.same({ nil, "aborted" }, { sluice.fetch(url .. "late") })
    assert.matches("on purpose", testing.world.logged[1].fields.error)
  end)

  it("is refused where two ways of reading meet", function()
    serve(function(req)
      req:read()
      return sluice.reply(200, req:body())
    end)
    assert.has_error(function()
      sluice.fetch(url, { method = "POST", body = "x" })
    end, "req:body: the body is being read with req:read()")
  end)
end)
