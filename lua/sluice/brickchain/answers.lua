--- What the server says by itself: the statuses and texts of the original, and ours where it has
-- none.

local answers = {}

local plain = { { "Content-Type", "text/plain; charset=utf-8" },
  { "X-Content-Type-Options", "nosniff" } }

local function answer(status, text, more)
  local headers = plain
  if more then
    headers = { plain[1], plain[2], more }
  end
  return { verb = "reply", status = status, body = text .. "\n", headers = headers }
end

function answers.not_found()
  return answer(404, "404 page not found")
end

function answers.no_client()
  return answer(502, "failed to get client: failed to get client from cache: Key not found")
end

function answers.too_many(retry_after)
  return answer(429, "Too many requests", { "Retry-After", tostring(retry_after) })
end

function answers.timeout()
  return answer(504, "timeout")
end

function answers.too_large(max)
  return answer(413, ("the request body has more than %d bytes"):format(max))
end

function answers.bad_request(why)
  return answer(400, why)
end

function answers.bad_body(why)
  return answer(500, "failed to decode response body: " .. why)
end

local reasons = {
  gone = { 502, "the client is gone" },
  busy = { 503, "the client has too many requests", { "Retry-After", "1" } },
  lost = { 503, "the request was lost between servers", { "Retry-After", "1" } },
  ["too large"] = { 502, "the answer of the client is too large" },
  ["timed out"] = { 504, "timeout" },
}

--- For a request that got no answer.
-- @tparam string reason as of exchange:wait()
function answers.no_answer(reason)
  local known = reasons[reason]
  if known then
    return answer(known[1], known[2], known[3])
  end
  return answer(503, "the request cannot be passed on: " .. reason, { "Retry-After", "1" })
end

function answers.bad_status(status)
  return answer(502, ("the client answered with the status %s"):format(tostring(status)))
end

return answers
