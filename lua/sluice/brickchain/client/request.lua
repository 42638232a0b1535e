--- Requests of visitors at a client: from the document to the local server and back.
--
-- A sluice at the other end takes and gives bodies of any length in pieces. An original has them in
-- documents of 512,000 bytes: what does not fit is 502, and never cut.

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

-- What a document of an original may have, and the bytes of a body that can be in one.
local max_document = 512000
local max_body = 383000

-- Answers.

local function say(self, status, text)
  local list = { { "Content-Type", "text/plain; charset=utf-8" } }
  self._link:send(messages.http_response(self.id, {
    headers = self._is_sluice and {} or headers.first_values(list),
    content_type = list[1][2], status = status, body = text .. "\n",
  }, self._is_sluice and { pairs = list } or nil))
end

local function response_document(self, response, list, body, streams)
  return messages.http_response(self.id, {
    headers = self._is_sluice and {} or headers.first_values(list),
    content_type = headers.first_values(list)["Content-Type"], status = response.status,
    body = body,
  }, self._is_sluice and { pairs = list, stream = streams or nil } or nil)
end

local function has_no_body(method, status)
  return method == "HEAD" or status == 204 or status == 304
end

-- All of a body, of at most `max` bytes; nil and why not.
local function read_all(response, max)
  local pieces, n = {}, 0
  while true do
    local piece, err = response:read()
    if err then
      return nil, err
    elseif not piece then
      return table.concat(pieces)
    end
    n = n + #piece
    if n > max then
      response:close()
      return nil, "too large"
    end
    pieces[#pieces + 1] = piece
  end
end

local function answer_whole(self, response, list, max)
  local body, err = read_all(response, max)
  if err == "too large" then
    return say(self, 502, "the answer of the local server is too large for this proxy")
  elseif not body then
    return say(self, 502, "the answer of the local server broke off: " .. err)
  end
  local document = response_document(self, response, list, body)
  if not self._is_sluice and #document > max_document then
    return say(self, 502, "the answer of the local server is too large for this proxy")
  end
  self._link:send(document)
end

local function answer_in_pieces(self, response, list)
  self._down = flow.sender(function(kind, n, payload)
    return self._link:send(frames.encode(kind, self.id, n, payload), "binary")
  end)
  self._link:send(response_document(self, response, list, "", true))
  while true do
    local piece, err = response:read()
    if not piece then
      if not err then
        return self._down:finish()
      end
      sluice.log.warn("an answer of the local server broke off", { error = err })
      return self:_abort(err)
    end
    if not self._down:write(piece) then
      return response:close()
    end
  end
end

local function answer(self, doc, response)
  local list = headers.of_target(response.pairs)
  local length = tonumber(response.headers["content-length"])
  if has_no_body(doc.method, response.status) then
    response:close()
    self._link:send(response_document(self, response, list, ""))
  elseif not self._is_sluice then
    answer_whole(self, response, list, max_body)
  elseif length and length <= small then
    answer_whole(self, response, list, small)
  else
    answer_in_pieces(self, response, list)
  end
end

-- The request.

-- The body as it comes; throws when it does not come whole, which breaks the request off.
local function body_of(self)
  return function(out)
    while true do
      local piece, err = self._up:read()
      if not piece and err then
        error("the visitor's request broke off: " .. err, 0)
      elseif not piece or not out:write(piece) then
        return
      end
    end
  end
end

local bodiless = { GET = true, HEAD = true, OPTIONS = true, DELETE = true, TRACE = true }

-- The options of the fetch; nil and what is wrong with the document.
local function options_of(self, doc)
  local settings = self._link.settings
  local list = target.headers(doc, settings.host)
  local body
  if self._up then
    body = body_of(self)
    list[#list + 1] = list.length and { "Content-Length", list.length } or nil
  else
    local err
    body, err = sluice.crypto.unbase64(doc.body or "")
    if not body then
      return nil, "body: " .. err
    elseif body == "" and bodiless[doc.method] then
      body = nil
    end
  end
  list.length = nil
  return {
    method = doc.method, headers = list, body = body, stream = true, timeout = settings.timeout,
    ca_file = settings.local_ca_file, verify = settings.local_verify,
  }
end

local function status_of(err)
  return err == "timed out" and 504 or 502
end

-- Unlike misuse by our own code, what a server says must not throw.
local function fetch(url, options)
  local ok, response, err = pcall(sluice.fetch, url, options)
  if ok then
    return response, err
  end
  return nil, tostring(response)
end

local function run(self, doc)
  local base = self._link.settings.target
  local url, err = target.url(base, base.scheme, doc)
  local options
  if url then
    options, err = options_of(self, doc)
  end
  if not options then
    return say(self, 400, err)
  end
  local response
  response, err = fetch(url, options)
  if not response then
    sluice.log.warn("the local server does not answer", { url = url, error = err })
    return say(self, status_of(err), "the local server does not answer: " .. err)
  end
  answer(self, doc, response)
end

--- Begins.
-- @tparam table link `settings`, send(message, kind), leave(id)
-- @tparam table doc an http-request
function request.start(link, doc)
  local is_sluice = doc.sluice ~= nil
  local self = setmetatable({ id = doc.id, _link = link, _is_sluice = is_sluice }, request)
  if is_sluice and doc.sluice.stream == true then
    self._up = flow.receiver(function(n)
      link:send(frames.encode(frames.window, self.id, n), "binary")
    end)
  end
  self._task = sluice.spawn(run, self, doc)
  sluice.spawn(function()
    local _, err = self._task:wait()
    if err and not self._is_cancelled then
      self:_abort "an error" -- it was logged
    end
    link:leave(self.id)
  end)
  return self
end

-- Tells the server that nothing more comes.
function request:_abort(why)
  if self._is_sluice then
    self._link:send(frames.encode(frames.abort, self.id, 0, why), "binary")
  end
end

--- Takes a frame.
function request:take(kind, n, payload)
  if kind == frames.abort then
    return self:cancel()
  elseif kind == frames.window then
    if self._down and not self._down:confirm(n) then
      return self:cancel "more was confirmed than sent"
    end
  elseif self._up then
    local ok, err = self._up:push(kind, n, payload)
    if not ok then
      return self:cancel(err)
    end
  end
end

--- The visitor, or the server, has gone; with `why` they broke the rules, and are told so.
function request:cancel(why)
  for _, one in ipairs { self._up or false, self._down or false } do
    if one then
      one:fail(why or "gone")
    end
  end
  if why then
    sluice.spawn(self._abort, self, why)
  end
  self._is_cancelled = true
  self._task:cancel()
end

return request
