--- HTTP servers for those who run sluice: JSON in and out, a token, and no web pages.
--
-- Order of the checks: is it a browser page that has no business here (403), the token (401), the
-- path (404), the method (405), the body (413, 400). Only then the endpoint is asked.
--
-- @usage
--   local settings = assert(require("sluice.admin.settings").read(sluice.env))
--   local endpoints = { ["/status"] = { GET = function(hub)
--     return server.answer(200, hub:status())
--   end } }
--   assert(server.new(settings, function(path) return endpoints[path] end, hub):start())

local sluice = require "sluice"
local guard = require "sluice.admin.guard"

local server = {}
server.__index = server

local max_connections = 64 -- each may hold a body of max_body bytes

-- Answers.

function server.answer(status, body, headers)
  headers = headers or {}
  headers["content-type"] = "application/json"
  headers["cache-control"] = "no-store"
  headers["x-content-type-options"] = "nosniff"
  return sluice.reply(status, sluice.json.encode(body) .. "\n", headers)
end

function server.failure(status, text, headers)
  return server.answer(status, { ok = false, error = text }, headers)
end

--- The endpoint that every one has: the process serves.
server.health = {
  GET = function()
    return server.answer(200, { ok = true, status = "ok" })
  end,
}

--- What /ready answers.
-- @tparam boolean is_ready
function server.readiness(is_ready)
  return server.answer(is_ready and 200 or 503, { ok = is_ready, ready = is_ready })
end

-- Bodies.

-- Before the first bracket; patterns do not look through megabytes of nothing.
local max_blanks = 4096

--- The body of a request.
-- @tparam table settings from sluice.admin.settings
-- @param req a request handle
-- @treturn ?table what it says
-- @treturn string its first bracket, since an empty Lua table does not say which of the two it was;
-- or the answer that refuses it
function server.read_json(settings, req)
  local text, err = req:body(settings.max_body)
  if not text then
    return nil, server.failure(err == "too large" and 413 or 400, "the body is " .. err)
  end
  local value
  value, err = sluice.json.decode(text)
  if type(value) ~= "table" or value == sluice.json.null then
    return nil, server.failure(400,
      "the body is not JSON: " .. (err or "an object or array is expected"))
  end
  return value, text:sub(1, max_blanks):match("^%s*([%[{])")
end

local function allowed_methods(endpoint)
  local names = {}
  for name in pairs(endpoint) do
    table.insert(names, name)
  end
  if endpoint.GET then
    table.insert(names, "HEAD")
  end
  table.sort(names)
  return table.concat(names, ", ")
end

--- Refuses who may not speak to the admin API, before any of their bytes are kept.
-- @param req a request handle
-- @treturn ?table a verb, or nil: welcome
function server:admit(req)
  if guard.is_web_page(self._settings, req) then
    return server.failure(403, "Forbidden: the admin API does not serve web pages")
  end
  if not guard.has_token(self._settings, req) then
    return server.failure(401, ("Unauthorized: send Authorization: Bearer <%s_TOKEN>")
      :format(self._settings.prefix), { ["www-authenticate"] = "Bearer" })
  end
end

--- Answers one request; the handler of sluice.serve.
-- @param req a request handle
-- @treturn table a verb
function server:handle(req)
  local refusal = self:admit(req)
  if refusal then
    return refusal
  end
  local endpoint = self._find(req:path())
  if not endpoint then
    return server.failure(404, "Not found")
  end
  local method = req:method() == "HEAD" and "GET" or req:method()
  if not endpoint[method] then
    return server.failure(405, "Method not allowed", { allow = allowed_methods(endpoint) })
  end
  return endpoint[method](self._owner, req)
end

--- @tparam table settings from sluice.admin.settings
-- @tparam function find(path): the endpoint, a table of method to function(owner, req), which
-- returns a verb and may wait; nil when there is none
-- @param owner what endpoints get
function server.new(settings, find, owner)
  return setmetatable({ _settings = settings, _find = find, _owner = owner }, server)
end

local function listen(self, port)
  local settings = self._settings
  return sluice.serve {
    host = settings.host,
    port = port,
    max_body = settings.max_body,
    max_connections = max_connections,
    admit = function(req)
      return self:admit(req)
    end,
    handler = function(req)
      return self:handle(req)
    end,
  }
end

-- Port 0 is a free one at first, and the same again after a reload of the script, if it is free.
local function listen_again(self)
  local memory, name = sluice.shared("sluice.admin"), self._settings.prefix
  local before = memory:get(name)
  local listening = before and listen(self, before)
  local err
  if not listening then
    listening, err = listen(self, 0)
  end
  if listening then
    memory:set(name, listening:port())
  end
  return listening, err
end

--- Listens and serves.
-- @treturn ?table the server
-- @treturn ?string what is wrong
function server:start()
  local settings = self._settings
  local listening, err
  if settings.port == 0 then
    listening, err = listen_again(self)
  else
    listening, err = listen(self, settings.port)
  end
  if not listening then
    return nil, ("admin API: %s; set %s_HOST or %s_PORT"):format(err, settings.prefix,
      settings.prefix)
  end
  sluice.log.info("admin API is up", { host = settings.host, port = listening:port() })
  return listening
end

return server
