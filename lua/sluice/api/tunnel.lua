--- Edges and hubs, as the modules sluice.edge and sluice.hub use them.

local failure = { "string|nil", "why not" }
local status = { { "sluice.TunnelStatus|nil" }, failure }

-- In control there are no hooks, and the workers are not there yet when a script loads.
local where = { "start", "stop", "check", "handler", "task" }

local function edge(row)
  row.name = "edge:" .. row.name
  row.internal = true
  return row
end

local function hub(row)
  row.name = "hub:" .. row.name
  row.internal = true
  return row
end

return {
  { name = "sluice.tunnel.edge", internal = true, control = true, where = where,
    args = { { "options", "{name: string, max_streams?: integer, max_sessions?: integer, "
      .. "hold?: number, dead_after?: number}" } },
    returns = { { "sluice.TunnelEdge" } },
    doc = "The edge with this name, which outlives the script: one that is there already keeps "
      .. "its tunnel and its options, and its events go to whoever asked for it last. hold: how "
      .. "long a visitor waits for a tunnel that is down, 10 s; dead_after: 45 s without a byte "
      .. "of the hub." },
  edge { name = "connect", waits = true,
    args = { { "options", "{host: string, port: integer, id: string, secret: string, "
      .. 'transport?: "tls"|"quic", timeout?: number, pin?: string, verify?: boolean, '
      .. "ca_file?: string, server_name?: string}" } },
    returns = { { "string|nil", "the hub's line" }, failure,
      { '"refused"|"timed out"|"closed"|"failed"|nil', "refused: by the hub, with its reason" } },
    doc = "Connects to a hub and greets it. A link that is up stays in use until accept(). "
      .. "transport: tls; timeout: 5 s until the answer; pin: 32 bytes, the SHA-256 of the hub's "
      .. "public key, in place of all other verification; verify: false." },
  edge { name = "accept", waits = true,
    args = { { "options?", "{ticket?: string}" } },
    returns = { { "true|nil" }, { "boolean|string", "whether the streams of before go on; or why "
      .. "it is not up" } },
    doc = "Makes the connection that has answered the link of the tunnel, and waits until it is "
      .. "up. ticket: 16 bytes, says that the hub is a sluice." },
  edge { name = "event", waits = true,
    args = { { "timeout?", "number", "seconds; for ever without it" } },
    returns = { { '"config"|"down"|nil' }, { "string", "the JSON of the hub; why it is down; or "
      .. '"timed out", "closed"' } },
    doc = "What has happened to the link that was accepted last: of several configs the newest, "
      .. "then its end. One task at a time." },
  edge { name = "hang_up", args = {}, returns = {},
    doc = "Drops the attempt; without one the link, whose end is an event." },
  edge { name = "give_up", args = {}, returns = {},
    doc = "Ends the streams that wait for a link." },
  edge { name = "status", waits = true, args = {}, returns = status,
    doc = "How it is, and in answer and config what the hub has said last." },
  edge { name = "close", args = {}, returns = {}, doc = "Ends it, and all its streams." },

  { name = "sluice.tunnel.hub", internal = true, control = true, where = where,
    args = { { "options", "{name: string, cert: string, key: string, host?: string, "
      .. "port?: integer, quic?: boolean, greeting_timeout?: number, ping_interval?: number, "
      .. "dead_after?: number, resume_timeout?: number, max_streams?: integer, "
      .. "max_sessions?: integer}" } },
    returns = { { "sluice.TunnelHub|nil" }, failure },
    doc = "The hub with this name, which outlives the script: one that is there already keeps its "
      .. "sockets, edges and limits and gets the certificate. It takes connections from the first "
      .. "hub:edges() on. port: 8443, 0 for a free one, on TCP and, with quic, which is the "
      .. "default, on UDP." },
  hub { name = "port", args = {}, returns = { { "integer" } }, doc = "The port." },
  hub { name = "edges", args = { { "list", "{id: string, secret: string, config: string}[]" } },
    returns = {},
    doc = "The edges that may connect from now on, and the JSON object that each is told. Those "
      .. "that are not in the list any more are dropped; those whose config is another one are "
      .. "told." },
  hub { name = "status", waits = true, args = {}, returns = { { "table|nil" }, failure },
    doc = "accepted, refused (wrong secrets), dropped (before a greeting), edges_up, and edges: a "
      .. "sluice.TunnelStatus with an id for each edge of the list." },
  hub { name = "close", args = {}, returns = {}, doc = "Ends it, and drops its edges." },
}
