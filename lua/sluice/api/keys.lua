--- The keys of the table that a script returns.

return {
  { name = "on_connect", type = "function", args = { { "conn", "sluice.Conn" } },
    returns = "deny",
    doc = "A connection was accepted; its PROXY header, if one is expected, has been read. For "
      .. "raw UDP: a session begins. "
      .. "If it throws, the connection is closed." },
  { name = "on_hello", type = "function", args = { { "hello", "sluice.Hello" } },
    returns = "cert, passthrough, deny",
    doc = "The ClientHello of a TLS connection was read and TLS has not begun. May wait. "
      .. "If it throws, the connection is closed." },
  { name = "on_request", type = "function", args = { { "req", "sluice.Request" } },
    returns = "route, target, reply, redirect, deny",
    doc = "The head of a request is complete. May wait. If it throws, the client gets 500." },
  { name = "on_response", type = "function",
    args = { { "res", "sluice.Response" }, { "req", "sluice.Request" } }, returns = "reply",
    doc = "The head of the target's response is complete. If it throws, the client gets 502." },
  { name = "on_failure", type = "function",
    args = { { "req", "sluice.Request" }, { "failure", "sluice.Failure" } }, returns = "reply",
    doc = "The client is about to get 502, 503 or 504, because no target has given an answer. nil, "
      .. "or if it throws: it does." },
  { name = "on_done", type = "function", args = { { "entry", "sluice.Entry" } },
    doc = "The last byte of an exchange or of a raw stream has passed. "
      .. "If it throws, that is logged." },
  { name = "on_edge", type = "function", args = { { "edge", "sluice.EdgeEvent" } },
    returns = "deny",
    doc = "An edge has authenticated, is up or is down, on the hub. Only the first can be denied. "
      .. "May wait. If it throws, the edge is refused." },
  { name = "on_stream", type = "function", args = { { "conn", "sluice.Conn" } },
    returns = "target, deny",
    doc = "A stream or a UDP session opens in a tunnel of the hub: conn is the visitor's. "
      .. "nil: the routes decide; a target gets the raw bytes. If it throws, the stream is "
      .. "refused." },
  { name = "start", type = "function", args = { { "task", "sluice.Task" } },
    doc = "Runs once in the control thread, as long as it likes: sources, servers, timers. May "
      .. "wait. If it throws, that is logged and it starts again after 1 s, then 2 s … 30 s. "
      .. "`return nil, message` ends the program with that message." },
  { name = "stop", type = "function", args = {},
    doc = "The program is about to end, or a newer script takes over. May wait." },
  { name = "check", type = "function", args = {},
    doc = "What `sluice check` runs. May wait. `return nil, message` is a failed check." },
  { name = "on_error", type = "string",
    doc = '"reject" (the default): a hook that throws fails closed. "continue": as if it had '
      .. "returned nil." },
  { name = "budget_ms", type = "number",
    doc = "CPU time that a hook may use at a stretch, 1 to 60000 (default 50). Waiting does not "
      .. "count. The control thread has 10 s whatever this says." },
  { name = "memory_mb", type = "number",
    doc = "Memory of the Lua state of each worker in MiB (default 64). The control thread has "
      .. "1 GiB, or this if it is more." },
  { name = "jit", type = "boolean",
    doc = "Lets LuaJIT compile the script. The CPU budget cannot stop a compiled loop: one that "
      .. "does not end makes the runtime restart after 2 s. Default false." },
  { name = "grants", type = "table",
    doc = 'What the sandbox opens up for this script: "io", "os", "ffi", "debug". Usable inside '
      .. "functions, not in the body of the script." },
  { name = "limits", type = "table", doc = "Limits of the data plane by name; see limits.md." },
}
