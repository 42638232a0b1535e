--- The log, statistics, and the process.

local function log(level)
  return { name = "sluice.log." .. level, args = { { "message", "string" },
    { "fields?", "table<string, string|number|boolean>" } }, returns = {},
    doc = ("A line in the log with the level %s."):format(level) }
end

return {
  log "debug", log "info", log "warn", log "error",
  { name = "sluice.print", args = { { "line", "string" } }, returns = {},
    doc = "Writes a line to the standard output, for what a script shows rather than logs." },
  { name = "sluice.stats", args = {}, returns = { { "table" } },
    doc = "active_connections, total_connections, requests, http2_requests and http3_requests "
      .. "(of these), errors, bytes_in, bytes_out, quic_handshakes, quic_retries (addresses that "
      .. "had to be proven first), quic_dropped (datagrams of no use), quic_forwarded (from one "
      .. "worker to another; the last three up to a second late), udp_sessions, "
      .. "udp_sessions_total, udp_evicted (of them, for want of room), udp_dropped (datagrams), "
      .. "udp_refused (answers of targets that nobody listens), proxy_missing (datagrams of "
      .. "trusted peers that no PROXY header was about), proxy_repeated (such headers that said "
      .. "what was known), routes_count, "
      .. "listening_ports, uptime, workers, and per_route: name to requests, errors, active, "
      .. "bytes_in, bytes_out." },
  { name = "sluice.env", args = { { "name", "string" } }, returns = { { "string|nil" } },
    doc = "A variable of the environment." },
  { name = "sluice.args", value = true, type = "string[]", doc = "The arguments of the script." },
  { name = "sluice.version", value = true, type = "string", doc = "The version of sluice." },
  { name = "sluice.check", value = true, type = "boolean",
    doc = "Whether the script runs to be checked only." },
  { name = "sluice.worker", args = {}, returns = { { "integer|nil" } },
    doc = "1 to N on a worker, nil in the control thread." },
  { name = "sluice.exit", args = { { "code?", "integer" } }, control = true, returns = {},
    doc = "Ends the program at once: connections are closed." },
  { name = "sluice.drain", args = {}, control = true, returns = {},
    doc = "Ends the program as SIGTERM does: the script's stop() runs, nothing new is taken, and "
      .. "what is open is finished, for at most drain_timeout." },
  { name = "sluice.publish",
    args = { { "specs", "table[]" }, { "policy?", "table" }, { "tolerant?", "boolean" } },
    internal = true, control = true, waits = true,
    returns = { { "table|nil" }, { "string|nil" }, { "integer|nil", "of the bad spec" } },
    doc = "Compiles flat route specs and waits until every worker runs them; if tolerant without "
      .. "the bad ones, which are in the field refused. Scripts use sluice.routes." },
  { name = "sluice.settings", args = { { "settings", "table" } }, internal = true,
    control = true, returns = { { "true|nil" }, { "string|nil" } },
    doc = "Sets limits of the data plane. Scripts use the limits key." },
}
