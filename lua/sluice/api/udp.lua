--- Datagrams.

local failure = { "string|nil", "why not" }

return {
  { name = "sluice.udp.bind", args = { { "options", "{host?: string, port?: integer, "
    .. "reuse_port?: boolean, max_datagram?: integer}" } },
    returns = { { "sluice.UdpSocket|nil" }, failure },
    doc = "A UDP socket. host: 127.0.0.1; port 0: a free one; reuse_port: other sockets may bind "
      .. "the same port, and the kernel shares the datagrams out; max_datagram: 1500 bytes, of "
      .. "longer ones the first max_datagram + 1 bytes are received." },
  { name = "udp:receive", args = { { "timeout?", "number", "seconds; for ever without it" } },
    waits = true, returns = { { "string|nil", "the datagram" },
      { "string", 'the address of its sender; without a datagram "timed out" or "closed"' },
      { "integer|nil", "its port" } },
    doc = "The next datagram. One task at a time. 512 datagrams and 1 MiB wait for it at most; "
      .. "after that they wait in the kernel, which drops what it has no room for." },
  { name = "udp:send", args = { { "bytes", "string" }, { "ip", "string" },
    { "port", "integer" } }, returns = { { "true|nil" }, failure },
    doc = "Sends a datagram. It may get lost on its way like any other." },
  { name = "udp:port", args = {}, returns = { { "integer" } }, doc = "The port." },
  { name = "udp:close", args = {}, returns = {},
    doc = "Closes the socket. What was not received is lost." },
}
