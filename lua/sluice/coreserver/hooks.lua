--- What a core-server says to requests, on the workers: refuses those that go round in a circle,
-- and names the service that does not answer.
--
-- A circle is seen by `CDN-Loop` (RFC 8586): each request that goes out carries the mark of this
-- core-server, whatever else is on its way.

local sluice = require "sluice"

local hooks = {}
hooks.__index = hooks

--- The topic on which workers say that a service is down.
hooks.topic = "sluice.coreserver.down"

local tell_every = 1 -- seconds between two messages about the same service

local text_headers = {
  ["content-type"] = "text/plain; charset=utf-8", ["x-content-type-options"] = "nosniff",
  ["cache-control"] = "no-store",
}

--- @tparam table settings from sluice.coreserver.settings
function hooks.new(settings)
  return setmetatable({ _is_public = settings.is_release, _told = {} }, hooks)
end

-- The same on all workers, another one in each process. Made when the first request comes.
local function mark_of(self)
  if not self._mark then
    local shared = sluice.shared "sluice.coreserver"
    shared:add("mark", "sluice-" .. sluice.crypto.hex(sluice.crypto.random(8)))
    self._mark = shared:get "mark"
  end
  return self._mark
end

--- For on_request.
function hooks:on_request(req)
  local seen, mark = req:header "cdn-loop", mark_of(self)
  if not seen then
    req:set_header("cdn-loop", mark)
  elseif seen:find(mark, 1, true) then
    return sluice.reply(508, ("%s is a loop: its requests come back here\n"):format(req:host()),
      text_headers)
  else
    req:set_header("cdn-loop", seen .. ", " .. mark)
  end
end

local function body_502(self, failure)
  if self._is_public then
    return ("%s does not answer\n"):format(failure.route)
  end
  local port = failure.target and failure.target:match(":(%d+)$") or "?"
  return ("%s: the service on localhost:%s does not answer (%s)\nIs it running?\n")
    :format(failure.route, port, failure.error)
end

-- There are no more names than routes.
local function tell(self, domain)
  local now = sluice.now()
  if now - (self._told[domain] or -tell_every) >= tell_every then
    self._told[domain] = now
    sluice.bus.publish(hooks.topic, domain)
  end
end

--- For on_failure: what the visitor is told when a service does not answer.
function hooks:on_failure(_, failure)
  if failure.route then
    tell(self, failure.route)
    return sluice.reply(failure.status, body_502(self, failure), text_headers)
  end
end

return hooks
