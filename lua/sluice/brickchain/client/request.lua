--- Requests of visitors at a client: from the document to the local server and back.
--
-- A sluice at the other end takes and gives bodies of any length in pieces. An original has them in
-- documents of 512,000 bytes: what does not fit is 502, and never cut.

local field = require "sluice.field"
local flow = require "sluice.brickchain.flow"
local frames = require "sluice.brickchain.frames"
local headers = require "sluice.brickchain.headers"
local messages = require "sluice.brickchain.messages"
local sluice = require "sluice"
local target = require "sluice.brickchain.client.target"

local request = {}
request.__index = request

--- A body up to this size travels in its document between two sluices, too.
local small = 65536

-- What a document of an original may have, and the bytes of a body that can be in one. It gives up
-- after 30 s, and does not say so.
local max_document, max_body, patience = 512000, 383000, 30

-- Answers.

local function document(self, status, list, body, streams)
  if self._is_sluice then
    return messages.http_response(self.id, { headers = {}, status = status, body = body },
      { pairs = list, stream = streams })
  end
  local map = headers.first_values(list)
  return messages.http_response(self.id, { headers = map, content_type = map["Content-Type"],
    status = status, body = body })
end

local function say(self, status, text)
  self._has_answered = true
  self._link:send(document(self, status, { { "Content-Type", "text/plain; charset=utf-8" } },
    text .. "\n"))
end

local function say_too_large(self)
  return say(self, 502, "the answer of the local server is too large for this proxy")
end

-- All of a body, of at most `max` bytes; nil and why not.
local function read_all(response, max, deadline)
  local pieces, n = {}, 0
  while true do
    local piece, err = response:read()
    if err then
      return nil, err
    elseif not piece then
      return pieces[2] and table.concat(pieces) or pieces[1] or ""
    end
    n = n + #piece
    if n > max then
      return nil, "too large"
    elseif deadline and sluice.now() > deadline then
      return nil, "timed out"
    end
    pieces[#pieces + 1] = piece
  end
end

local function answer_whole(self, response, list, max)
  local body, err = read_all(response, max, self._deadline)
  if err == "too large" then
    return say_too_large(self)
  elseif not body then
    return say(self, 502, "the answer of the local server broke off: " .. err)
  end
  local text = document(self, response.status, list, body)
  if not self._is_sluice and #text > max_document then
    return say_too_large(self)
  end
  self._has_answered = true
  self._link:send(text)
end

local function answer_in_pieces(self, response, list)
  self._down = flow.sender(function(kind, n, payload)
    return self._link:send(frames.encode(kind, self.id, n, payload), "binary")
  end)
  self._has_answered = true
  self._link:send(document(self, response.status, list, "", true))
  while true do
    local piece, err = response:read()
    if not piece then
      if not err then
        return self._down:finish()
      end
      sluice.log.warn("an answer of the local server broke off",
        { server = self._link.settings.target.text, error = err })
      return self:_abort(err)
    elseif not self._down:write(piece) then
      return
    end
  end
end

-- A length that the body does not have is for a sluice, which knows that.
local function answer_without_body(self, response, list)
  if not self._is_sluice then
    for i = #list, 1, -1 do
      if list[i][1] == "Content-Length" then
        table.remove(list, i)
      end
    end
  end
  response:read() -- to the end, which is here: the connection can be used again
  self._has_answered = true
  self._link:send(document(self, response.status, list, ""))
end

local function answer(self, doc, response)
  local list = headers.of_target(response.pairs)
  local status = response.status
  local length = tonumber(response.headers["content-length"])
  if doc.method == "HEAD" or status == 204 or status == 304 then
    answer_without_body(self, response, list)
  elseif not self._is_sluice then
    answer_whole(self, response, list, max_body)
  elseif length and length <= small then
    answer_whole(self, response, list, small)
  else
    answer_in_pieces(self, response, list)
  end
end

-- The request.

-- The body as it comes; false when it does not come whole, which breaks the request off.
local function body_of(up)
  return function(out)
    while true do
      local piece, err = up:read()
      if not piece and err then
        return false
      elseif not piece or not out:write(piece) then
        return
      end
    end
  end
end

local bodiless = { GET = true, HEAD = true, OPTIONS = true, DELETE = true, TRACE = true }

-- The body in a document; nil, a status and what is wrong with it. An original keeps the length of
-- a body that it has cut.
local function body_in(doc, length)
  local body, err = sluice.crypto.unbase64(doc.body or "")
  if not body then
    return nil, 400, "body: " .. err
  elseif length and (tonumber(length) or 0) > #body then
    return nil, 413, "the request is too large for this proxy"
  elseif body == "" and bodiless[doc.method] then
    return false
  end
  return body
end

-- URL and options of the fetch; nil, a status and what is wrong with the document.
local function fetch_of(self, doc)
  local settings = self._link.settings
  local url, err = target.url(settings.target, settings.target.scheme, doc)
  if not url then
    return nil, 400, err
  elseif not field.is_name(doc.method) or doc.method == "CONNECT" then
    return nil, 400, "the method is not one"
  end
  local list, length = target.headers(doc, settings.host)
  local body, status
  if self._up then
    body = body_of(self._up)
    list[#list + 1] = length and { "Content-Length", length } or nil
  else
    body, status, err = body_in(doc, length)
    if body == nil then
      return nil, status, err
    end
  end
  return url, {
    method = doc.method, headers = list, body = body or nil, stream = true,
    timeout = self._is_sluice and settings.timeout or math.min(settings.timeout, patience),
    ca_file = settings.local_ca_file, verify = settings.local_verify,
  }
end

local function run(self, doc)
  local url, options, problem = fetch_of(self, doc)
  if not url then
    return say(self, options, problem)
  end
  local response, err = sluice.fetch(url, options)
  if response then
    self._response = response
    self._link.health:good()
    return answer(self, doc, response)
  elseif err == "the body function failed" then
    return say(self, 400, "the request has not the length that it says")
  end
  self._link.health:bad(err)
  say(self, err == "timed out" and 504 or 502, "the local server does not answer: " .. err)
end

-- Once, by the task or by whoever cancels it. What is under way at the local server ends, too.
local function finish(self)
  if self._is_over then
    return
  end
  self._is_over = true
  for _, one in pairs { self._up, self._down } do
    one:fail "over"
  end
  if self._response then
    self._response:close()
  end
  self._link:leave(self)
end

-- A document may hold what we did not think of: its visitor gets an answer, nobody else notices.
local function run_to_end(self, doc)
  local ok, err = pcall(run, self, doc)
  if not ok then
    sluice.log.error("a request failed", { error = tostring(err) })
    if self._has_answered then
      self:_abort "an error"
    else
      say(self, 502, "the request cannot be passed on")
    end
  end
  finish(self)
end

--- Begins.
-- @tparam table link `settings`, `health`, send(message, kind), aside(fn, …), leave(exchange)
-- @tparam table doc an http-request
function request.start(link, doc)
  local self = setmetatable({
    id = doc.id, _link = link, _is_sluice = doc.sluice ~= nil,
    _deadline = not doc.sluice and sluice.now() + patience or nil,
  }, request)
  if self._is_sluice and doc.sluice.stream == true then
    self._up = flow.receiver(function(n)
      link:send(frames.encode(frames.window, self.id, n), "binary")
    end)
  end
  self._task = sluice.spawn(run_to_end, self, doc)
  return self
end

--- Answers one that is too many; waits.
function request.refuse(link, doc)
  say({ id = doc.id, _link = link, _is_sluice = doc.sluice ~= nil }, 503,
    "too many requests at a time")
end

-- Tells the server that nothing more comes.
function request:_abort(why)
  if self._is_sluice then
    self._link:send(frames.encode(frames.abort, self.id, 0, why), "binary")
  end
end

--- Takes a frame.
function request:take(kind, n, payload)
  local ok, err = true, nil
  if kind == frames.abort then
    return self:cancel()
  elseif kind == frames.window then
    ok, err = not self._down or self._down:confirm(n), "more was confirmed than sent"
  elseif self._up then
    ok, err = self._up:push(kind, n, payload)
  end
  if not ok then
    self._link:aside(self._abort, self, err)
    self:cancel()
  end
end

--- The visitor has gone, or the server.
function request:cancel()
  self._task:cancel()
  finish(self)
end

return request
