-- An HTTPS proxy in one file: https://localhost:8443 in front of a small origin in this process.
--
--   ./dev run                                        this example
--   ./dev run examples/quickstart/policy.lua 9443    on another port
--
-- A policy script returns a table of functions. Hooks get what they decide about as an argument and
-- return a verb, or nothing to let things take their course. policy_spec.lua beside this file tests
-- them without a network.

local sluice = require "sluice"
local routes = require "sluice.routes"

local policy = {}

-- Every request, once its head is complete. The routes decide when this returns nothing.
function policy.on_request(req)
  if req:header("user-agent") == "bad-bot" then
    return sluice.deny(403)
  end
  if req:path() == "/hello" then
    return sluice.reply(200, "hello from Lua\n") -- no target is asked
  end
  if req:path() == "/old" then
    return sluice.redirect("/", 301)
  end
  req:set_header("x-policy", "ok") -- the origin sees this one
end

-- Every answer of a target, before it goes out.
function policy.on_response(res)
  res:set_header("server", nil)
  res:set_header("x-served-by", "sluice")
end

-- The origin: any HTTP server would do, and a real one would be somewhere else.
local function show_request(req)
  local lines = { ("%s %s"):format(req:method(), req:target()) }
  for _, header in ipairs(req:headers()) do
    table.insert(lines, ("%s: %s"):format(header[1], header[2]))
  end
  return sluice.reply(200, table.concat(lines, "\n") .. "\n", { server = "a small origin" })
end

local welcome = [[
sluice answers on https://localhost:PORT with a self-signed certificate. Try:

  curl -k https://localhost:PORT/
  curl -k https://localhost:PORT/hello
  curl -k -A bad-bot https://localhost:PORT/

The policy is examples/quickstart/policy.lua. Ctrl-C ends it.]]

-- Once, in the control thread.
function policy.start()
  local port = tonumber(sluice.args[1]) or 8443
  local origin, ok, err
  origin, err = sluice.serve { host = "127.0.0.1", port = 0, handler = show_request }
  if not origin then
    return nil, err
  end
  ok, err = routes.publish {
    {
      name = "quickstart",
      match = { ports = port },
      action = {
        type = "forward",
        targets = { { host = "127.0.0.1", port = origin:port() } },
        tls = { mode = "terminate", certificate = "self-signed" },
      },
    },
  }
  if not ok then
    return nil, err
  end
  sluice.print((welcome:gsub("PORT", port)))
  return true
end

return policy
