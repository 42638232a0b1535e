--- Time, tasks and messages.

return {
  { name = "sluice.sleep", args = { { "seconds", "number" } }, waits = true, returns = {},
    doc = "Suspends the task; everything else goes on." },
  { name = "sluice.spawn", args = { { "fn", "function" }, { "...", "any" } },
    returns = { { "sluice.Task" } },
    doc = "Runs fn(...) as a task beside this one. It begins at the end of this turn." },
  { name = "task:cancel", args = {}, returns = {},
    doc = "Ends the task, and what it waits for, at once." },
  { name = "task:wait", args = {}, waits = true,
    returns = { { "any", "what the function returned; nil when it threw or was cancelled" },
      { "any", "the message then" } },
    doc = "Waits until the task has ended." },
  { name = "sluice.timer", args = { { "seconds", "number" }, { "fn", "function" } },
    returns = { { "sluice.Timer" } }, doc = "Calls fn() as a task after this time." },
  { name = "sluice.every", args = { { "seconds", "number" }, { "fn", "function" } },
    returns = { { "sluice.Timer" } },
    doc = "Calls fn() as a task again and again; not while the call before is running." },
  { name = "timer:cancel", args = {}, returns = {}, doc = "Stops the timer." },
  { name = "sluice.now", args = {}, returns = { { "number" } },
    doc = "Seconds of a clock that only goes forward." },
  { name = "sluice.time", args = {}, returns = { { "number" } },
    doc = "Seconds since 1970." },

  { name = "sluice.bus.publish", args = { { "topic", "string", "at most 256 bytes" },
    { "message", "string", "any bytes, at most 1 MiB" } }, returns = { { "integer" } },
    doc = "Sends a message to every subscription in this process; how many there are. Messages of "
      .. "one thread arrive in their order." },
  { name = "sluice.bus.subscribe", args = {
    { "topic", "string", 'one that ends in "*" stands for all that begin so' },
    { "fn?", "fun(message: string, topic: string)" } }, returns = { { "sluice.Subscription" } },
    doc = "Calls fn(message, topic) as a task for every message of this topic, at most 256 at a "
      .. "time. Without a function they wait for subscription:receive(), at most 16384 of them and "
      .. "16 MiB; further ones are lost. Such a subscription ends when nobody holds it any more." },
  { name = "subscription:receive", args = { { "timeout?", "number",
    "seconds; for ever without it" } }, waits = true,
    returns = { { "string|nil", "the message" },
      { "string", 'its topic; without a message: "timed out", "cancelled", or "lost": here some '
        .. "messages are missing, and the next call goes on after them" } },
    doc = "The next message of a subscription that has no function. One task at a time." },
  { name = "subscription:cancel", args = {}, returns = {},
    doc = "Ends the subscription, and drops what waits." },
}
