--- The contract table: every function that scripts can call, and every key of a script table.
--
-- Three things are made from it: the guard at run time (a function called in a hook where it is not
-- legal throws), the manual (docs/reference.md) and the types for editors (docs/types/sluice.lua).
-- A binding that is missing here is an error when a script is loaded.
--
-- A row of `functions`:
--   name     as scripts call it: "sluice.sleep", "req:header"
--   args     { name, type, doc }, …; a name that ends in "?" may be left out
--   returns  { type, doc }, …
--   doc      one or more sentences
--   waits    true: suspends the task until the result is there
--   where    contexts in which it is legal; without it: everywhere, or, if it waits, where a task
--            may wait
--   control  true: works in the control thread only
--   value    true: not a function but a value
--   internal true: for the modules of lua/sluice; not in the manual
--
-- Pure data: requires nothing that needs the runtime, so that generators and specs can read it.

local api = {}

--- In what kind of call script code runs. `waits`: whether a task may wait there.
api.contexts = {
  { name = "load", doc = "the body of the script and of its modules" },
  { name = "on_connect", doc = "the hook" },
  { name = "on_hello", waits = true, doc = "the hook" },
  { name = "on_request", waits = true, doc = "the hook" },
  { name = "on_response", doc = "the hook" },
  { name = "on_failure", doc = "the hook" },
  { name = "on_done", doc = "the hook" },
  { name = "on_edge", waits = true, doc = "the hook" },
  { name = "on_stream", doc = "the hook" },
  { name = "start", waits = true, doc = "the function of the script table" },
  { name = "stop", waits = true, doc = "the function of the script table" },
  { name = "check", waits = true, doc = "the function of the script table" },
  { name = "handler", waits = true, doc = "the handler of a server or a subscription" },
  { name = "task", waits = true, doc = "a spawned function, or that of a timer" },
}

api.keys = require "sluice.api.keys"
api.classes = require "sluice.api.classes"

api.functions = {}
for _, part in ipairs {
  "handles", "verbs", "tasks", "event", "network", "redis", "udp", "exec", "tunnel", "data",
  "crypto", "process", "takeover",
} do
  for _, row in ipairs(require("sluice.api." .. part)) do
    api.functions[#api.functions + 1] = row
  end
end

return api
