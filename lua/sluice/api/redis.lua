--- A client of Redis.

local failure = { "string|nil", 'why not: "closed", "timed out", what Redis said, …' }

local function subscription(name, args, doc)
  return { name = "redis:" .. name, args = { { args, "string" }, { "...", "string" } },
    waits = true, returns = { { "true|nil" }, failure }, doc = doc }
end

return {
  { name = "sluice.redis.connect", args = { { "options?", "{host?: string, port?: integer, "
    .. "unix?: string, tls?: boolean, verify?: boolean, ca_file?: string, username?: string, "
    .. "password?: string, db?: integer, timeout?: number}" } },
    waits = true, returns = { { "sluice.Redis|nil" }, failure },
    doc = "Connects. host: 127.0.0.1; port: 6379; unix: a socket to connect to instead; tls: "
      .. "false; verify: true; timeout: 5 s until it is connected, and then of silence while a "
      .. "command is under way, after which the connection is closed." },
  { name = "redis:command", args = { { "name", "string" }, { "...", "string|number" } },
    waits = true, returns = { { "string|number|table|nil" }, failure },
    doc = "One command. Several tasks may have commands under way, which are sent together. nil "
      .. "and nothing more when Redis says nil; in an array nil is false, and an error a table "
      .. "with the member error. A reply has at most 16 MiB, 1048576 elements in an array and 8 "
      .. "arrays in each other; one beyond that closes the connection." },
  subscription("subscribe", "channel", "Subscribes to these channels; returns when Redis has "
    .. "confirmed them. From then on the connection takes no other commands but PING."),
  subscription("psubscribe", "pattern", "The same for all channels that match a pattern."),
  subscription("unsubscribe", "channel", "Ends the subscription to these channels."),
  subscription("punsubscribe", "pattern", "Ends the subscription to these patterns."),
  { name = "redis:receive", args = { { "timeout?", "number", "seconds; for ever without it" } },
    waits = true, returns = { { "string|nil", "the message" },
      { "string", 'its channel; without a message: "timed out", "closed", …' },
      { "string|nil", "the pattern that it matched" } },
    doc = "The next message of what is subscribed to. One task at a time. While 16384 messages or "
      .. "16 MiB wait, no more is read." },
  { name = "redis:close", args = {}, returns = {}, doc = "Closes the connection." },
}
