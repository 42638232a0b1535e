--- What hooks and handlers return.

local verb = { { "sluice.Verb" } }
local headers = "table<string, string>|string[][]"

return {
  { name = "sluice.deny", args = { { "status?", "integer", "400 to 599, default 403" },
    { "body?", "string" } }, returns = verb, doc = "Refuses the request or the connection." },
  { name = "sluice.reply", args = { { "status", "integer", "200 to 599" },
    { "body?", "string|fun(out: sluice.Out)" }, { "headers?", headers } }, returns = verb,
    doc = "Answers by itself. headers: name to value, or a list of { name, value } pairs, in which "
      .. "a name may come twice. A body function, in on_request or a handler of sluice.serve, runs "
      .. "as a task and writes the body piece by piece; the response ends when it returns. The "
      .. "head goes out with its first out:write(), an empty one included. If it throws, or "
      .. "returns false, before that, the client gets 500; after that the message is broken off. "
      .. "What it throws is logged. With a header "
      .. "content-length, which then must be right, the client knows the length beforehand. For "
      .. "HEAD, 204 and 304 the function is not called. The task is cancelled when the client "
      .. "goes, which over HTTP/1 shows when something is written." },
  { name = "sluice.redirect", args = { { "location", "string" },
    { "status?", "integer", "301, 302 (default), 303, 307 or 308" } }, returns = verb,
    doc = "Sends the client elsewhere." },
  { name = "sluice.route", args = { { "name", "string" } }, returns = verb,
    doc = "Uses the route with this name instead of the one that the table would find." },
  { name = "sluice.target", args = { { "host", "string" }, { "port", "integer" },
    { "options?", "{tls?: boolean, verify?: boolean}" } }, returns = verb,
    doc = "Forwards to this host and port, whatever the routes say." },
  { name = "sluice.cert", args = { { "cert", "string", "PEM, the chain included" },
    { "key", "string", "PEM" }, { "options?", "{alpn?: string}" } }, returns = verb,
    doc = "In on_hello: the certificate for this connection. alpn: the one protocol to agree on, "
      .. "as acme-tls/1 (RFC 8737): a client that offers others alone gets the alert "
      .. "no_application_protocol, and the connection is closed after the handshake. Not over "
      .. "QUIC, where it refuses the connection." },
  { name = "sluice.passthrough", args = {}, returns = verb,
    doc = "In on_hello: relays the bytes to the route's target without ending TLS." },
  { name = "sluice.websocket", args = { { "fn", "fun(ws: sluice.WebSocket)" }, { "options?",
    "{protocols?: string[], max_message?: integer, ping_interval?: number, "
      .. "ping_timeout?: number, headers?: " .. headers .. "}" } }, returns = verb,
    doc = "In on_request or a handler of sluice.serve: becomes a WebSocket, on which fn runs as a "
      .. "task; the connection is closed when it returns. A request that does not ask for one "
      .. "gets 426. protocols: those that we speak, best first; max_message: 1 MiB; headers: "
      .. "more of them for the answer; the rest as in sluice.websocket.connect." },
}
