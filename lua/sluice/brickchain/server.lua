--- The server of the tunneling proxy: who a request is for, and the WebSocket of clients.
--
-- Each worker has one of these, made when the script is loaded; it joins the others with the first
-- request, since only then tasks may be started.
--
-- @usage
--   local proxy = server.new(assert(settings.read(sluice.env, sluice.args)))
--   return { on_request = function(req) return proxy:answer(req) end,
--     on_done = function(entry) proxy:done(entry) end,
--     start = function() return proxy:listen() end }

local answers = require "sluice.brickchain.answers"
local balance = require "sluice.brickchain.balance"
local keyid = require "sluice.brickchain.keyid"
local link = require "sluice.brickchain.link"
local node = require "sluice.brickchain.node"
local routes = require "sluice.routes"
local sluice = require "sluice"
local store = require "sluice.brickchain.store"
local visitor = require "sluice.brickchain.visitor"
local visitor_ws = require "sluice.brickchain.visitor_ws"

local server = {}
server.__index = server

-- Bytes of one message of a client: a document at the limit in the worst case, which is refused
-- with a proper answer instead of an end of the connection.
local max_client_message = 4 * 1024 * 1024

--- @tparam table settings of sluice.brickchain.settings
function server.new(settings)
  return setmetatable({
    settings = settings, balance = balance.new(),
    exchanges = {}, -- by the id of the request
    is_trusted = function(ip)
      return settings.trusted[ip] == true
    end,
  }, server)
end

-- The first request does it, and those that come meanwhile wait for it.
local function join(self)
  self._joining = self._joining or sluice.spawn(function()
    self.store = store.new(self.settings)
    self.registry, self.limiter = self.store.registry, self.store.limiter
    self.node = self.store.node
  end)
  self._joining:wait()
end

--- What the server says about itself.
function server.greeting()
  return sluice.reply(200, "proxy-server/" .. sluice.version,
    { ["content-type"] = "text/plain; charset=utf-8" })
end

local function subscribe(self, req)
  if not visitor_ws.is_asked(req) then
    return sluice.reply(400, "Bad Request\n", { ["content-type"] = "text/plain; charset=utf-8",
      ["sec-websocket-version"] = "13" })
  end
  local client = link.new(self, req:ip())
  return sluice.websocket(function(ws)
    return client:run(ws)
  end, { max_message = max_client_message,
    headers = { ["access-control-allow-origin"] = req:header("origin") or "" } })
end

local function api(self, req, path)
  if path == "/proxy/subscribe" then
    return subscribe(self, req)
  elseif path == "/" and (req:method() == "GET" or req:method() == "HEAD") then
    return server.greeting()
  end
  return answers.not_found()
end

local function tunnel(self, req, key_id, path)
  if not keyid.is_valid(key_id) then
    return answers.no_client()
  elseif path:byte() ~= 47 then -- clients expect a slash
    return answers.bad_request("the path must begin with a slash")
  end
  local sessions, err = self.registry:find(key_id)
  if not sessions then
    return err and answers.no_answer(err) or answers.no_client()
  end
  local may, retry_after = self.limiter:take(key_id)
  if may == nil then
    return answers.no_answer(retry_after)
  elseif not may then
    return answers.too_many(retry_after)
  end
  local answer = visitor_ws.is_asked(req) and visitor_ws.answer or visitor.answer
  return answer(self, req, sessions, path)
end

local path_prefix = "/proxy/request/"

--- on_request.
-- @treturn table a verb
function server:answer(req)
  if not self.node then
    join(self)
  end
  local host, path, suffix = req:host(), req:path(), self.settings.host_suffix
  if #host > #suffix and host:sub(-#suffix) == suffix then
    return tunnel(self, req, host:sub(1, -#suffix - 1), path)
  elseif path:sub(1, #path_prefix) == path_prefix then
    local key_id, rest = path:match("^([^/]*)(.*)$", #path_prefix + 1)
    return tunnel(self, req, key_id:lower(), rest ~= "" and rest or "/")
  end
  return api(self, req, path)
end

--- on_done: a visitor may go before he has his answer.
function server:done(entry)
  local exchange = entry.id and self.exchanges[entry.id]
  if exchange then
    self.exchanges[entry.id] = nil
    if not exchange:is_closed() then
      sluice.spawn(exchange.close, exchange) -- it may have to wait for the bus
    end
  end
end

--- stop(): clients are told to go.
function server.stop()
  node.stop()
end

local function route(name, port, tls)
  return { name = name, match = { ports = port }, action = { type = "reply", statusCode = 404,
    body = "404 page not found\n", contentType = "text/plain; charset=utf-8", tls = tls } }
end

local function listeners(settings)
  local list = { route("http", settings.address.port) }
  if settings.tls_address then
    local cert, err = sluice.file.read(settings.tls_cert)
    local key, key_err = sluice.file.read(settings.tls_key)
    if not cert or not key then
      return nil, ("%s: %s"):format(cert and settings.tls_key or settings.tls_cert, err or key_err)
    end
    list[2] = route("https", settings.tls_address.port,
      { mode = "terminate", certificate = { cert = cert, key = key } })
  end
  return list
end

--- start(): opens the ports.
-- @treturn ?true
-- @treturn ?string why not
function server:listen()
  local list, err = listeners(self.settings)
  if not list then
    return nil, err
  end
  local result
  result, err = routes.publish(list)
  if not result then
    return nil, err
  end
  sluice.log.info("the tunneling proxy is there", { base = self.settings.base,
    domain = self.settings.domain, port = self.settings.address.port })
  return true
end

return server
