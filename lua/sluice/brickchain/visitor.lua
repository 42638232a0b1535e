--- HTTP requests of visitors: from on_request to the client and back.

local answers = require "sluice.brickchain.answers"
local exchange = require "sluice.brickchain.exchange"
local headers = require "sluice.brickchain.headers"
local messages = require "sluice.brickchain.messages"
local node = require "sluice.brickchain.node"
local sluice = require "sluice"

local visitor = {}

--- A body up to this size travels in its document between two sluices, too.
local small = 65536

-- Percent signs that mean nothing stay as they are.
local function decoded(path)
  if not path:find("%", 1, true) then
    return path
  end
  return (path:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

--- The head of a request for a client, in both forms.
-- @treturn table url, query, method, list (of fields), path
function visitor.head(server, req, path, is_websocket)
  local ip = req:ip()
  return {
    url = decoded(path), path = path, query = req:query(), method = req:method(),
    list = headers.of_request(req:headers(), {
      ip = ip, scheme = req:scheme(), host = req:header("host") or req:host(),
      is_trusted = server.is_trusted(ip), is_websocket = is_websocket,
    }),
  }
end

-- How long the body is: bytes, or nil when nobody knows.
local function body_length(req)
  local length = tonumber(req:header("content-length"))
  if length then
    return length
  end
  local version = req:version()
  if (version == "1.1" or version == "1.0") and not req:header("transfer-encoding") then
    return 0
  end
end

-- The body for a document; or nil and the verb that refuses the request.
local function whole_body(req, length, max)
  if length == 0 then
    return ""
  elseif length and length > max then
    return nil, answers.too_large(max)
  end
  local body, err = req:body(max)
  if body then
    return body
  elseif err == "too large" then
    return nil, answers.too_large(max)
  end
  return nil, answers.bad_request("the request body is incomplete")
end

-- Bodies of unknown length begin to flow at once: the client may have to answer before the end.
local function must_stream(session, length)
  return node.is_sluice(session) and (not length or length > small)
end

-- The next piece of the body. A visitor may go while one is on its way to the client, and his
-- request is not there to be read any more.
local function read(self)
  local ok, piece, err = pcall(self.reader.read, self.reader)
  if ok then
    return piece, err
  end
  return nil, "gone"
end

-- Sends the body as it comes. `self.reader` is the request until it is decided, then its reply.
local function pump(self)
  local sender = self.exchange:upload()
  while true do
    local piece, err = read(self)
    if not piece then
      if err then
        self.exchange:close()
      else
        sender:finish()
      end
      return
    end
    self.n_sent = self.n_sent + #piece
    if not sender:write(piece) then
      return
    end
  end
end

local function document_for(self, session, head, streams)
  if node.is_sluice(session) then
    return messages.http_request(self.exchange.id, { url = head.url, query = head.query,
      headers = {}, method = head.method, body = streams and "" or self.body },
      { path = head.path, pairs = head.list, stream = streams or nil })
  end
  return messages.http_request(self.exchange.id, { url = head.url, query = head.query,
    headers = headers.first_values(head.list), method = head.method, body = self.body })
end

-- Gives the request to one of the sessions; those that are gone are left out.
-- @treturn ?string the session
-- @treturn ?table the verb that answers instead
local function offer(self, sessions, head, length)
  local tried, reason = self.tried, "gone"
  local session = self.server.balance:choose(sessions, tried)
  while session do
    local streams = must_stream(session, length)
    if not streams and not self.body then
      local refusal
      self.body, refusal = whole_body(self.req, length, self.server.settings.max_body)
      if not self.body then
        return nil, refusal
      end
    end
    local ok, err = self.exchange:open(session, "q", document_for(self, session, head, streams))
    if ok then
      self.streams = streams
      return session
    end
    tried[session], reason = true, err
    session = self.server.balance:choose(sessions, tried)
  end
  return nil, answers.no_answer(reason)
end

-- Answers.

-- The body as it comes. What breaks off must not look complete: false breaks it off here, too.
local function download(self, status, list)
  if list.length then
    list[#list + 1] = { "Content-Length", list.length }
  end
  list.length = nil
  local current = self.exchange
  return { verb = "reply", status = status, headers = list, body = function(out)
    self.reader = out
    local flow = current:download()
    out:write("")
    repeat
      local piece, err = flow:read()
      if not piece and err then
        sluice.log.debug("the answer of a client broke off", { error = err })
        return false
      end
    until not piece or not out:write(piece)
    current:close()
  end }
end

local function no_body()
end

local function reply(self, doc, session)
  local status = doc.status
  if type(status) ~= "number" or status % 1 ~= 0 or status < 200 or status > 599 then
    return answers.bad_status(status)
  end
  local list = headers.of_response(doc)
  local streams = not self.exchange.is_complete and node.is_sluice(session)
  if streams then
    return download(self, status, list)
  end
  local length = list.length
  list.length = nil
  if self.req:method() == "HEAD" and length then
    list[#list + 1] = { "Content-Length", length }
    return { verb = "reply", status = status, body = no_body, headers = list }
  end
  local body, err = sluice.crypto.unbase64(doc.body or "")
  if not body then
    return answers.bad_body(err)
  end
  return { verb = "reply", status = status, body = body, headers = list }
end

local function start_pump(self)
  self.reader, self.n_sent = self.req, 0
  sluice.spawn(pump, self)
  return function()
    return self.n_sent
  end
end

local function run(self, sessions, head)
  local length = body_length(self.req)
  local session, refusal, doc, reason
  repeat
    session, refusal = offer(self, sessions, head, length)
    if not session then
      return refusal
    end
    doc, reason = self.exchange:wait(self.server.settings.timeout,
      self.streams and start_pump(self) or nil)
    self.tried[session] = true
  until reason ~= "away" or self.streams
  if not doc then
    return answers.no_answer(reason == "away" and "gone" or reason)
  end
  return reply(self, doc, session)
end

--- Answers a request that is for a client.
-- @tparam table server
-- @tparam sluice.Request req
-- @tparam table sessions of the client
-- @tparam string path what the client is asked for
-- @treturn table a verb
function visitor.answer(server, req, sessions, path)
  local current = exchange.new(server, "http-response")
  server.exchanges[req:id()] = current -- on_done closes it when the visitor goes before
  local verb = run({ server = server, req = req, exchange = current, tried = {} }, sessions,
    visitor.head(server, req, path))
  if type(verb.body) ~= "function" or current.is_complete then
    current:close()
  end
  return verb
end

return visitor
