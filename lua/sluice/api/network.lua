--- Clients and servers.

local failure = { "string|nil", "why not" }

return {
  { name = "sluice.fetch", args = { { "url", "string" }, { "options?",
    "{method?: string, headers?: table<string, string>|string[][], "
      .. "body?: string|fun(out: sluice.Out), stream?: boolean, timeout?: number, "
      .. "max_body?: integer, cookie?: string, verify?: boolean, ca_file?: string, "
      .. "unix?: string}" } },
    waits = true, returns = { { "sluice.FetchResponse|nil" }, failure },
    doc = "One HTTP request; redirects are not followed. timeout: 30 s for all of it; max_body: "
      .. "16 MiB; verify: true; unix: a socket to connect to instead of the host. headers: name to "
      .. "value, or a list of { name, value } pairs. stream: returns when the head of the response "
      .. "is there; its body is read with response:read(), of any length. A body function runs as "
      .. "a task and writes the body of the request, with a header content-length if it is known; "
      .. "it ends with the response, and if it throws or returns false the request is broken off. "
      .. "With either of them timeout is for connecting, for each wait for the other side to take "
      .. "or send something, and for the head of the response." },
  { name = "response:read", args = { { "max?", "integer", "bytes, default 64 KiB" } },
    waits = true, returns = { { "string|nil", "nil at the end" },
      { "string|nil", 'why there is none: "closed by the peer", "timed out", …' } },
    doc = "Of a fetch with stream: the next piece of the body, as it comes. The server sends no "
      .. "faster than it is read." },
  { name = "response:close", args = {}, returns = {},
    doc = "Of a fetch with stream: gives up what has not been read. What is no longer used is "
      .. "closed by the collector, some time; what was read to its end need not be closed." },
  { name = "sluice.serve", args = { { "options", "{host?: string, port?: integer, unix?: string, "
    .. "max_body?: integer, max_connections?: integer, "
    .. "admit?: fun(req: sluice.Request): sluice.Verb|nil, "
    .. "handler: fun(req: sluice.Request): sluice.Verb}" } },
    returns = { { "sluice.Server|nil" }, failure },
    doc = "An HTTP server. The handler runs as a task, may wait, and returns reply, redirect or "
      .. "deny; if it throws, the client gets 500. port 0: a free one. max_body: 16 MiB, of "
      .. "what req:body() gives: more is 413. admit: asked about requests that bring a body before "
      .. "the handler is; nil lets it be asked, a verb is the answer." },
  { name = "out:write", args = { { "bytes", "string" } }, waits = true,
    returns = { { "true|nil" }, { "string|nil", '"closed", …' } },
    doc = "Writes the next piece of a body. Waits while the peer does not take what was written "
      .. "before. More than the content-length throws. One task at a time." },
  { name = "out:read", args = { { "max?", "integer", "bytes, default 64 KiB" } }, waits = true,
    returns = { { "string|nil", "nil at the end" }, { "string|nil", 'why there is none' } },
    doc = "In the body function of a reply: the next piece of the request body." },
  { name = "server:port", args = {}, returns = { { "integer|nil" } },
    doc = "The port; nil on a Unix socket." },
  { name = "server:close", args = {}, returns = {}, doc = "Closes the server." },

  { name = "sluice.tcp.connect", args = { { "host", "string|nil" }, { "port", "integer|nil" },
    { "options?", "{timeout?: number, tls?: boolean, server_name?: string, verify?: boolean, "
      .. "ca_file?: string, unix?: string}" } },
    waits = true, returns = { { "sluice.Sock|nil" }, failure },
    doc = "Connects. timeout: 10 s; tls: false; verify: true." },
  { name = "sluice.tcp.listen", args = { { "options", "{host?: string, port?: integer, "
    .. "unix?: string, mode?: integer, max_connections?: integer, "
    .. "handler: fun(sock: sluice.Sock)}" } },
    returns = { { "sluice.Server|nil" }, failure },
    doc = "A server. The handler runs as a task for each connection, which is closed when it "
      .. "returns. mode: of the Unix socket, 0600. A socket file that nobody listens on any more "
      .. "is replaced; one that is in use is an error." },
  { name = "sock:read", args = { { "max?", "integer" } }, waits = true,
    returns = { { "string|nil" }, { "string|nil", '"closed", "timed out", …' } },
    doc = "What has arrived, at least a byte." },
  { name = "sock:read_line", args = { { "max?", "integer" } }, waits = true,
    returns = { { "string|nil" }, failure }, doc = "A line, without its end." },
  { name = "sock:read_exact", args = { { "n", "integer" } }, waits = true,
    returns = { { "string|nil" }, failure }, doc = "Exactly n bytes." },
  { name = "sock:write", args = { { "bytes", "string" } }, waits = true,
    returns = { { "true|nil" }, failure }, doc = "Writes all of it." },
  { name = "sock:shutdown", args = {}, returns = {}, doc = "Says that nothing more will come." },
  { name = "sock:close", args = {}, returns = {}, doc = "Closes the connection." },
  { name = "sock:settimeout", args = { { "seconds?", "number" } }, returns = {},
    doc = "How long each read and write may wait from now on; without a number: for ever. "
      .. "At first it is 60 s." },
  { name = "sock:peer", args = {},
    returns = { { "{ip: string, port: integer}|{uid: integer, gid: integer, pid: integer}|nil" },
      failure },
    doc = "Who is at the other end: an address, or on a Unix socket the process, which the kernel "
      .. "vouches for." },

  { name = "sluice.stun", args = { { "host", "string" }, { "port", "integer" },
    { "timeout?", "number" } }, waits = true,
    returns = { { "string|nil", "the address" }, { "integer|string", "its port; or why not" } },
    doc = "Asks a STUN server (RFC 8489) over UDP under which address it sees this machine. Three "
      .. "tries; timeout: 5 s for all of them." },

  { name = "sluice.websocket.connect", args = { { "url", "string", "ws:// or wss://" },
    { "options?", "{timeout?: number, headers?: table<string, string>, protocols?: string[], "
      .. "max_message?: integer, ping_interval?: number, ping_timeout?: number, "
      .. "verify?: boolean, ca_file?: string, unix?: string}" } },
    waits = true, returns = { { "sluice.WebSocket|nil" }, failure },
    doc = "Opens a WebSocket. timeout: 10 s for the opening; max_message: 64 MiB, a longer one "
      .. "closes the connection; ping_interval: 30 s of silence until the peer is asked whether "
      .. "it is there, 0 for never; ping_timeout: 20 s for its answer; verify: true; unix: a "
      .. "socket to connect to instead of the host." },
  { name = "ws:receive", args = { { "timeout?", "number", "seconds; for ever without it" } },
    waits = true, returns = { { "string|nil", "the message" },
      { '"text"|"binary"|string', 'without a message: "timed out", "closed", or the reason that '
        .. "the peer gave" },
      { "integer|nil", "the code of the close, 1006 when the connection broke" } },
    doc = "The next message. One task at a time." },
  { name = "ws:receive_json", args = { { "timeout?", "number", "seconds; for ever without it" } },
    waits = true, returns = { { "any", "the value; nil when there is none" },
      { "string", "as of ws:receive; or what is wrong with the JSON" },
      { 'integer|"invalid"|nil', 'as of ws:receive; "invalid" when the message was not JSON, after '
        .. "which the connection goes on" } },
    doc = "The next message as sluice.json.decode reads it, without a string of the whole: for "
      .. "messages of many megabytes." },
  { name = "ws:send", args = { { "message", "string" }, { "kind?", '"text"|"binary"' } },
    waits = true, returns = { { "true|nil" }, failure },
    doc = "Sends a message; text, which is the default, must be UTF-8. Waits while the peer does "
      .. "not take what was sent before. Several tasks may send." },
  { name = "ws:close", args = { { "code?", "integer", "default 1000" }, { "reason?", "string" } },
    returns = {}, doc = "Closes the connection, after what was sent." },
  { name = "ws:protocol", args = {}, returns = { { "string|nil" } },
    doc = "The subprotocol that both sides agreed on." },
}
