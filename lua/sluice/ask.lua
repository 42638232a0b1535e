--- Questions from one state to another: from a worker to the control thread, say, and the answer
-- back. Both are strings; callers use JSON.
--
-- @usage
--   ask.serve("who", function(name)       -- in start(), on the control thread
--     return directory[name] or nil, "nobody of that name"
--   end)
--
--   local answer, err = ask.call("who", "alice", 2)   -- in a hook, on a worker

local sluice = require "sluice"

local ask = {}

local DEFAULT_TIMEOUT = 10
local MAX_AT_ONCE = 128 -- questions that one server has in its hands

--- Bytes of a question, or of an answer. A message of the bus has 1 MiB, with a head of ours.
ask.max_length = 1024 * 1024 - 1024

local function encode(answer, err)
  if type(answer) ~= "string" then
    return "-" .. tostring(err or "no answer")
  elseif #answer > ask.max_length then
    return "-the answer is too long"
  end
  return "+" .. answer
end

--- Answers the questions of this name, as a task for each. Served twice, the first answer counts.
-- @tparam string name
-- @tparam function fn fn(question) returns the answer as a string, or nil and why not; may wait
-- @treturn Subscription whose cancel() ends it
function ask.serve(name, fn)
  local running = 0
  return sluice.bus.subscribe("ask/" .. name, function(message)
    local topic, question = message:match("^([^\n]*)\n(.*)$")
    local answer = "-busy"
    if running < MAX_AT_ONCE then
      running = running + 1
      -- A task of its own, so that even one that overruns its budget is counted out.
      answer = encode(sluice.spawn(fn, question):wait())
      running = running - 1
    end
    sluice.bus.publish(topic, answer)
  end)
end

-- A topic that no other question of the process has.
local function own_topic()
  return ("ask/answer/%d"):format(sluice.shared("sluice.ask"):incr("questions", 1, 0))
end

--- Asks, and waits for the answer.
-- @tparam string name
-- @tparam string question
-- @tparam[opt=10] number timeout seconds
-- @treturn string|nil the answer
-- @treturn string why not: what the server said, "nobody answers", "timed out", "busy", …
function ask.call(name, question, timeout)
  if type(question) ~= "string" or #question > ask.max_length then
    error(("ask.call: a string of at most %d bytes expected"):format(ask.max_length), 2)
  end
  local topic = own_topic()
  local subscription = sluice.bus.subscribe(topic)
  local message, err
  if sluice.bus.publish("ask/" .. name, topic .. "\n" .. question) == 0 then
    err = "nobody answers"
  else
    message, err = subscription:receive(timeout or DEFAULT_TIMEOUT)
  end
  subscription:cancel()
  if not message then
    return nil, err
  elseif message:byte() == 43 then -- "+"
    return message:sub(2)
  end
  return nil, message:sub(2)
end

return ask
