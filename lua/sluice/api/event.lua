--- Events between tasks of one state.

return {
  { name = "sluice.event", args = {}, returns = { { "sluice.Event" } },
    doc = "A new event, which is not set." },
  { name = "event:set", args = {}, returns = {},
    doc = "Wakes the task that waits; without one, the next wait returns at once. Setting it "
      .. "twice is the same as once." },
  { name = "event:wait", args = { { "timeout?", "number", "seconds; for ever without it" } },
    waits = true, returns = { { "true|nil" }, { '"timed out"|nil' } },
    doc = "Waits until it is set, which it is no more then. One task at a time." },
}
