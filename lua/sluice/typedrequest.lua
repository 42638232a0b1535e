--- The envelope of a typed request: JSON that says which method is called, with what, and which
-- question an answer belongs to. Here as a Lua table; nothing in this module waits or sends.
--
-- Versions 2, 3.3 and 8 of the library differ in what they demand of an answer. What satisfies all
-- of them: the plain fields of the request come back as they were, `response` is always there, and
-- the correlation has the phase "response". The request itself does not come back: it may carry
-- private keys, and one of the transports breaks on long messages.
--
-- @usage
--   local call = assert(typedrequest.read(envelope))
--   send(typedrequest.answer(envelope, { status = "ok" }))

local json = require("sluice").json

local typedrequest = {}

-- No library makes longer names and ids; whoever does wants them echoed.
local max_text = 256

--- What is answered to a method that nobody handles.
typedrequest.no_method = "There is no available method for this call on the server side"

local not_echoed = {
  request = true, response = true, localData = true, error = true, retry = true, correlation = true,
}

local function is_text(value)
  return type(value) == "string" and value ~= "" and #value <= max_text
end

--- Checks an envelope that came from outside.
-- @treturn ?string "request" or "response"
-- @treturn ?string what is wrong with it
function typedrequest.read(envelope)
  if type(envelope) ~= "table" then
    return nil, "not an object"
  end
  local correlation = envelope.correlation
  if type(correlation) ~= "table" or not is_text(correlation.id) then
    return nil, "no correlation"
  end
  if not is_text(envelope.method) then
    return nil, "no method"
  end
  if correlation.phase ~= "request" and correlation.phase ~= "response" then
    return nil, "neither a request nor a response"
  end
  return correlation.phase
end

--- A request of our own.
-- @tparam string method
-- @tparam table body
-- @tparam function new_id makes a string that was not used before
function typedrequest.request(method, body, new_id)
  return {
    method = method,
    request = body,
    response = json.null,
    requestInstanceId = new_id(),
    correlation = { id = new_id(), phase = "request" },
  }
end

local function is_plain(value)
  return type(value) == "number" or type(value) == "boolean"
    or (type(value) == "string" and #value <= max_text)
end

local function copy_plain(from, to, except)
  for name, value in pairs(from) do
    if is_text(name) and is_plain(value) and not (except and except[name]) then
      to[name] = value
    end
  end
  return to
end

--- The answer to a request that read() has found right.
function typedrequest.answer(envelope, response)
  local answer = copy_plain(envelope, {}, not_echoed)
  answer.correlation = copy_plain(envelope.correlation, {})
  answer.correlation.phase = "response"
  answer.response = response == nil and json.null or response
  return answer
end

--- The answer that makes the call fail on the other side.
function typedrequest.failure(envelope, text)
  local answer = typedrequest.answer(envelope, nil)
  answer.error = { text = text, data = {} }
  return answer
end

return typedrequest
