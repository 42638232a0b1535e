-- Connections of HTTP/2 and HTTP/3 over time: the end of the program, reloads and new routes while
-- they are open, deadlines of each stream and of the whole, clients that do not read.

local http = require "support.http"
local mux = require "support.mux"
local peer = require "support.peer"
local poll = require "posix.poll"
local process = require "support.process"
local signal = require "posix.signal"
local sluice = require "support.sluice"

local bulk = ("x"):rep(4 * 1024 * 1024)

for _, version in ipairs(mux.versions) do
  describe("a connection of " .. version, function()
    local program, listener, port, word_file, clients

    before_each(function()
      listener, port, clients = peer.listen(), http.free_port(), {}
      word_file = os.tmpname()
      sluice.write(word_file, "old")
    end)

    after_each(function()
      for _, client in ipairs(clients) do
        client:close()
      end
      mux.stop(program)
      listener:close()
      os.remove(word_file)
    end)

    local function routes(target_port)
      return { mux.route("app", port, target_port or listener.port, "app.example") }
    end

    local function start(limits)
      program = mux.start { workers = 1, routes = routes(), limits = limits,
        env = { WORD_FILE = word_file } }
    end

    local function connect(options)
      options = options or {}
      options.port, options.host = port, "app.example"
      local client = mux.connect(version, options)
      table.insert(clients, client)
      return client
    end

    -- A request whose response has begun: its id and the other end.
    local function begin(client, path)
      local id = client:request { path = path or "/", live = true }
      local inner = assert(listener:accept(), "the origin was not asked")
      inner:read_head()
      inner:send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
      client:wait("head", id)
      assert.equal("hello", client:wait("data", id).bytes)
      return id, inner
    end

    local function finish(client, id, inner)
      inner:send("world")
      assert.equal("helloworld", client:response(id).body)
    end

    local function is_served()
      local client = connect()
      assert.equal(200, client:ask({ path = "/info" }).status)
      client:close()
    end

    it("that has work to do ends when it is done, after SIGTERM", function()
      start()
      local client = connect()
      local id, inner = begin(client)
      local upload = client:request { method = "POST", open = true }
      local upload_inner = assert(listener:accept())
      upload_inner:read_head()
      program:kill(signal.SIGTERM)
      client:wait "goaway"
      finish(client, id, inner)
      client:send(upload, "hello", true)
      assert.equal("5\r\nhello\r\n0\r\n\r\n", upload_inner:receive(15))
      upload_inner:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      assert.equal("ok", client:response(upload).body)
      client:wait "closed"
      assert.equal(0, program:wait(sluice.patience))
    end)

    it("that idles ends at once with SIGTERM", function()
      start()
      local client = connect()
      assert.equal(200, client:ask({ path = "/info" }).status)
      program:kill(signal.SIGTERM)
      client:wait "goaway"
      client:wait "closed"
      assert.equal(0, program:wait(sluice.patience))
    end)

    it("that does not end is closed when the time is up", function()
      start { drain_timeout = 500 }
      local client = connect()
      begin(client)
      program:kill(signal.SIGTERM)
      client:wait "closed"
      assert.equal(0, program:wait(sluice.patience))
    end)

    it("lives through reloads, and its next request meets the new script", function()
      start()
      local client = connect()
      local id, inner = begin(client)
      assert.equal("old", client:ask({ path = "/info" }).body:match('"word":"(%w+)"'))
      for i = 1, 5 do
        sluice.write(word_file, "word" .. i)
        program:kill(signal.SIGHUP)
        sluice.logged(program, "script reloaded")
      end
      local deadline = process.now() + sluice.patience
      local word
      repeat
        word = client:ask({ path = "/info" }).body:match('"word":"(%w+)"')
        assert(process.now() < deadline, "the old script still answers: " .. word)
      until word == "word5"
      finish(client, id, inner)
      assert.is_false(client:has "goaway")
    end)

    it("lives through new routes, and its next request meets them", function()
      start()
      local second = peer.listen()
      finally(function() second:close() end)
      local client = connect()
      local id, inner = begin(client)
      for i = 1, 20 do
        local to = i % 2 == 1 and second or listener
        mux.publish(program, routes(to.port))
        local asked = client:request { path = "/" .. i }
        local there = assert(to:accept(), "the new target was not asked")
        assert.equal("GET /" .. i .. " HTTP/1.1", there:read().line)
        there:send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert.equal(200, client:response(asked).status)
        there:close()
      end
      finish(client, id, inner)
      assert.is_false(client:has "goaway")
    end)

    it("LM-05 loses the request whose body does not come, and no other", function()
      start { body_timeout = 500 }
      local client = connect()
      local id, inner = begin(client)
      for _, first in ipairs { "", "he" } do
        local upload = client:request { method = "POST", open = true }
        client:send(upload, first)
        local upload_inner = assert(listener:accept())
        assert.equal(408, client:wait("head", upload).status)
        local _, how = upload_inner:read_all()
        assert.equal("reset", how) -- so that the origin cannot take it for the whole
      end
      finish(client, id, inner)
      assert.equal(200, client:ask({ path = "/info" }).status)
    end)

    it("LM-05 that opens many such requests is rid of them all", function()
      start { body_timeout = 500 }
      local client, ids = connect(), {}
      for i = 1, 50 do
        ids[i] = client:request { method = "POST", path = "/body", open = true }
      end
      for i = 1, 50 do
        assert.equal(408, client:wait("head", ids[i]).status)
      end
      assert.equal(200, client:ask({ path = "/info" }).status)
    end)

    it("whose client has vanished does not hold up the end", function()
      start()
      local client = connect()
      assert.equal(200, client:ask({ path = "/info" }).status)
      client:ping() -- it has acknowledged all that it got
      client:vanish()
      program:kill(signal.SIGTERM)
      assert.equal(0, program:wait(sluice.patience))
    end)

    it("LM-08 that idles for too long is closed", function()
      start { idle_timeout = 500, quic_idle_timeout = 500 }
      connect():wait "closed"
      is_served()
    end)

    it("LM-08 that waits for its target does not idle", function()
      start { idle_timeout = 500 }
      local client, quiet = connect(), connect()
      local id, inner = begin(client)
      if version == "h2" then
        quiet:wait "closed"
      else -- as long as it is there at all
        quiet:close()
      end
      finish(client, id, inner)
    end)

    -- Sends to all of them until none has taken a byte for a while; how many bytes that were.
    local function stuff(inners)
      local sent = 0
      while true do
        local fds, by_fd = {}, {}
        for _, inner in ipairs(inners) do
          local fd = inner.socket:getfd()
          fds[fd], by_fd[fd] = { events = { OUT = true } }, inner
        end
        if poll.poll(fds, 500) == 0 then
          return sent
        end
        for fd, entry in pairs(fds) do
          if entry.revents.OUT then
            sent = sent + (by_fd[fd]:send_now(bulk))
          end
        end
      end
    end

    it("LM-07 that does not read a hundred responses costs little and is cut off", function()
      start { write_timeout = 4000 }
      local client, inners = connect { hold = true, window = 65535 }, {}
      is_served()
      local before = sluice.memory_mib(program)
      for i = 1, 100 do
        client:request { path = "/" .. i }
        inners[i] = assert(listener:accept())
        inners[i]:read_head()
        inners[i]:send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
      end
      local sent = stuff(inners)
      local per_stream = sent / 100 / 1024 / 1024
      assert.is_true(per_stream < 16, per_stream .. " MiB were taken for each stream")
      local grown = sluice.memory_mib(program) - before
      assert.is_true(sluice.is_sanitized or grown < 64, grown .. " MiB more")
      is_served()
      for i = 1, 100 do
        local _, how = inners[i]:read_all()
        assert.is_not.equal("timeout", how)
        inners[i]:close()
      end
      is_served()
    end)
  end)
end
