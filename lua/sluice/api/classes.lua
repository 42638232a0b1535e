--- The objects that functions are called on, and the tables that they return.

return {
  { prefix = "conn", name = "sluice.Conn", doc = "A connection. Ends with it: a method called "
    .. "after that throws." },
  { prefix = "hello", name = "sluice.Hello", parent = "sluice.Conn",
    doc = "The ClientHello of a TLS connection." },
  { prefix = "req", name = "sluice.Request", parent = "sluice.Conn",
    doc = "A request. Ends with its exchange: a method called after that throws." },
  { prefix = "res", name = "sluice.Response",
    doc = "The response of a target, while on_response runs." },
  { prefix = "task", name = "sluice.Task", doc = "A function that runs beside others." },
  { prefix = "timer", name = "sluice.Timer", doc = "A timer." },
  { prefix = "server", name = "sluice.Server", doc = "A server of the script's own." },
  { prefix = "sock", name = "sluice.Sock", doc = "A TCP, TLS or Unix connection." },
  { prefix = "ws", name = "sluice.WebSocket", doc = "A WebSocket." },
  { prefix = "dict", name = "sluice.Dict", doc = "A dictionary that all workers share." },
  { prefix = "subscription", name = "sluice.Subscription",
    doc = "A subscription to a topic of the bus." },
  { name = "sluice.Verb", doc = "What a hook decides: a plain table.", fields = {
    { "verb", "string" },
  } },
  { name = "sluice.Entry", doc = "What on_done gets: a plain table. Fields that do not apply are "
    .. "missing.", fields = {
    { "kind", '"exchange"|"stream"' },
    { "route?", "string", "its name" },
    { "target?", "string", '"host:port"' },
    { "method?", "string" },
    { "host?", "string" },
    { "path?", "string" },
    { "status?", "integer" },
    { "version?", "string" },
    { "ip", "string", "of the visitor" },
    { "duration", "number", "seconds" },
    { "bytes_in", "integer", "from the client" },
    { "bytes_out", "integer", "to the client" },
    { "error?", "string" },
    { "id?", "integer", "as req:id()" },
  } },
  { name = "sluice.FetchResponse", doc = "What sluice.fetch returns.", fields = {
    { "status", "integer" },
    { "headers", "table<string, string>", "lower-case name to value" },
    { "body", "string" },
  } },
}
