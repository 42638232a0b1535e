--- The side of the workers: certificates for handshakes, answers for a CA that looks whether a name
-- leads here.
--
-- A name that nobody has announced costs a look-up and no more, however many there are. One that is
-- announced and has no certificate yet is asked for once, whatever number of handshakes waits.

local sluice = require "sluice"
local ask = require "sluice.ask"
local board = require "sluice.certificates.board"
local budget = require "sluice.certificates.budget"
local challenges = require "sluice.acme.challenges"
local pair = require "sluice.certificates.pair"
local recent = require "sluice.certificates.recent"

local worker = {}
worker.__index = worker

local max_flights = 1024    -- names that are asked for at a time
local max_refused = 4096    -- names that are known to have none
local patience = 30         -- seconds that a handshake waits; clients rarely wait for longer
local ask_timeout = 10
local questions_per_second = 20 -- about names that are not listed
local busy_tries, busy_pause = 50, 0.1

local function is_name(name)
  return #name <= 253 and name:find("^[a-z0-9_][a-z0-9_.-]*$") ~= nil
    and not name:find("..", 1, true)
end

local function verb_of(text, options)
  local found = pair.parse(text)
  return found and sluice.cert(found.cert, found.key, options)
end

-- Asks the control thread, which may have other instances to ask.
local function ask_control(question)
  local text = sluice.json.encode(question)
  for _ = 1, busy_tries do
    local answer, err = ask.call(board.question(), text, ask_timeout)
    if answer then
      return sluice.json.decode(answer)
    elseif err ~= "busy" then
      break
    end
    sluice.sleep(busy_pause)
  end
  return { seconds = 1 }
end

-- Waits for the outcome of an order. It may come while the question is still being answered.
local function fly(self, name, ip)
  local subscription = sluice.bus.subscribe(board.topic(name))
  local answer = ask_control { name = name, ip = ip }
  if answer.state == "pending" then
    local message = subscription:receive(patience)
    answer = message and sluice.json.decode(message) or { seconds = 5 }
  end
  subscription:cancel()
  if answer.state ~= "ready" then
    self._refused:note(name, answer.seconds or 5)
  end
end

-- A task of its own, so that it ends for all who wait, whoever of them goes away.
local function start_flight(self, name, ip)
  local flight = {}
  self._flights[name], self._n_flights = flight, self._n_flights + 1
  flight.task = sluice.spawn(function()
    sluice.spawn(fly, self, name, ip):wait()
    self._flights[name], self._n_flights = nil, self._n_flights - 1
  end)
  return flight
end

local function may_ask(self)
  if self._questions:wait() > 0 then
    return false
  end
  self._questions:take()
  return true
end

-- Strangers can make up names, but none that is listed: those are always asked about.
local function wait(self, name, ip, is_listed)
  local flight = self._flights[name]
  if not flight then
    if self._refused:left(name) or self._n_flights >= max_flights
      or not (is_listed or may_ask(self)) then
      return nil
    end
    flight = start_flight(self, name, ip)
  end
  flight.task:wait()
  local text = board.get(name)
  return text and verb_of(text)
end

-- tls-alpn-01: this connection is not for a visitor.
local function answer_challenge(self, name)
  local text = challenges.find("alpn", name)
  if not text and board.is_shared() and may_ask(self) then
    ask_control { challenge = "alpn", what = name }
    text = challenges.find("alpn", name)
  end
  return text and verb_of(text, { alpn = challenges.alpn })
end

--- One for each worker.
function worker.new()
  return setmetatable({
    _flights = {},
    _n_flights = 0,
    _refused = recent.new(max_refused),
    _questions = budget.new(questions_per_second, 1),
  }, worker)
end

--- For on_hello: the certificate of the name that the client asks for. Waits while it is issued.
-- @param hello
-- @treturn ?table a verb; nil: the routes decide
function worker:on_hello(hello)
  local name = hello:sni()
  if not name or not is_name(name) then
    return nil
  end
  local alpn = hello:alpn()
  if alpn[1] == challenges.alpn and not alpn[2] then
    return answer_challenge(self, name)
  end
  local wanted = board.wants(name, hello:local_port())
  if not wanted then
    return nil
  end
  local text = board.get(name)
  if text then
    return verb_of(text)
  end
  return wait(self, name, hello:ip(), wanted == "listed")
end

local prefix = challenges.path

--- For on_request: the answer to http-01.
-- @param req
-- @treturn ?table a verb; nil: the routes decide
function worker:on_request(req)
  local path = req:path()
  if path:sub(1, #prefix) ~= prefix then
    return nil
  end
  local token = path:sub(#prefix + 1)
  if not challenges.is_token(token) then
    return nil
  end
  local answer = challenges.find("http", token)
  if not answer and board.is_shared() and may_ask(self) then
    ask_control { challenge = "http", what = token }
    answer = challenges.find("http", token)
  end
  return answer and sluice.reply(200, answer, { ["content-type"] = "application/octet-stream" })
end

return worker
