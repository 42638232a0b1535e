--- What hooks and handlers return.

local verb = { { "sluice.Verb" } }

return {
  { name = "sluice.deny", args = { { "status?", "integer", "400 to 599, default 403" },
    { "body?", "string" } }, returns = verb, doc = "Refuses the request or the connection." },
  { name = "sluice.reply", args = { { "status", "integer", "200 to 599" }, { "body?", "string" },
    { "headers?", "table<string, string>" } }, returns = verb, doc = "Answers by itself." },
  { name = "sluice.redirect", args = { { "location", "string" },
    { "status?", "integer", "301, 302 (default), 303, 307 or 308" } }, returns = verb,
    doc = "Sends the client elsewhere." },
  { name = "sluice.route", args = { { "name", "string" } }, returns = verb,
    doc = "Uses the route with this name instead of the one that the table would find." },
  { name = "sluice.target", args = { { "host", "string" }, { "port", "integer" },
    { "options?", "{tls?: boolean, verify?: boolean}" } }, returns = verb,
    doc = "Forwards to this host and port, whatever the routes say." },
  { name = "sluice.cert", args = { { "cert", "string", "PEM, the chain included" },
    { "key", "string", "PEM" } }, returns = verb,
    doc = "In on_hello: the certificate for this connection." },
  { name = "sluice.passthrough", args = {}, returns = verb,
    doc = "In on_hello: relays the bytes to the route's target without ending TLS." },
  { name = "sluice.websocket", args = { { "fn", "fun(ws: sluice.WebSocket)" }, { "options?",
    "{protocols?: string[], max_message?: integer, ping_interval?: number, "
      .. "ping_timeout?: number}" } }, returns = verb,
    doc = "In on_request or a handler of sluice.serve: becomes a WebSocket, on which fn runs as a "
      .. "task; the connection is closed when it returns. A request that does not ask for one "
      .. "gets 426. protocols: those that we speak, best first; max_message: 1 MiB; the rest as in "
      .. "sluice.websocket.connect." },
}
