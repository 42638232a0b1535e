--- From one sluice to the next, without a lost connection.

return {
  { name = "sluice.takeover.offer", args = { { "path", "string" } }, control = true,
    returns = { { "true|nil" }, { "string|nil" } },
    doc = "From now on another sluice of the same user, or of root, may take over through this "
      .. "Unix socket. A file that nobody listens on is replaced. One offer at a time: another "
      .. "path takes its place." },
  { name = "sluice.takeover.from",
    args = { { "path", "string" }, { "options?", "{timeout?: number}", "10 s" } },
    control = true, waits = true, returns = { { "true|nil" }, { "string|nil" } },
    doc = "Takes the TCP ports of the sluice that offers there. sluice.routes.publish uses them in "
      .. "place of new ones, with the address that they have; the other one goes on meanwhile. "
      .. 'nil, "nobody is there" when nobody offers.' },
  { name = "sluice.takeover.done", args = {}, control = true, waits = true,
    returns = { { "true|nil" }, { "string|nil" } },
    doc = "The routes are live here: the other one runs its stop(), closes its servers and ends, "
      .. "when it has answered what is open; ports that were not published are closed. true when "
      .. "its addresses are free, but for those of UDP ports, which are opened here when its "
      .. "process has ended." },
}
