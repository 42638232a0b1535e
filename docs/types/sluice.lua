---@meta sluice
-- Made from lua/sluice/api.lua by docs/generate.lua.
-- luacheck: ignore

---@class sluice
local sluice = {}

---A connection. Ends with it: a method called after that throws.
---@class sluice.Conn
local conn = {}

---The ClientHello of a TLS connection.
---@class sluice.Hello: sluice.Conn
local hello = {}

---A request. Ends with its exchange: a method called after that throws.
---@class sluice.Request: sluice.Conn
local req = {}

---The response of a target, while on_response runs.
---@class sluice.Response
local res = {}

---A function that runs beside others.
---@class sluice.Task
local task = {}

---Wakes a task of the same state.
---@class sluice.Event
local event = {}

---A timer.
---@class sluice.Timer
local timer = {}

---A server of the script's own.
---@class sluice.Server
local server = {}

---A TCP, TLS or Unix connection.
---@class sluice.Sock
local sock = {}

---A UDP socket.
---@class sluice.UdpSocket
local udp = {}

---A WebSocket.
---@class sluice.WebSocket
local ws = {}

---What a body function writes to, until it returns.
---@class sluice.Out
local out = {}

---A dictionary that all workers share.
---@class sluice.Dict
local dict = {}

---A subscription to a topic of the bus.
---@class sluice.Subscription
local subscription = {}

---A connection to Redis.
---@class sluice.Redis
local redis = {}

---An asymmetric key, private or public.
---@class sluice.Key
local key = {}

---What a hook decides: a plain table.
---@class sluice.Verb
---@field verb string

---What on_done gets: a plain table. Fields that do not apply are missing.
---@class sluice.Entry
---@field kind "exchange"|"stream"
---@field route? string # its name
---@field target? string # "host:port"
---@field method? string
---@field host? string
---@field path? string
---@field status? integer
---@field version? string
---@field ip string # of the visitor
---@field edge? string # the id of the edge through which he came
---@field duration number # seconds
---@field bytes_in integer # from the client
---@field bytes_out integer # to the client
---@field error? string
---@field id? integer # as req:id()

---What on_failure gets: a plain table.
---@class sluice.Failure
---@field status 502|503|504
---@field error string
---@field target? string # "host:port", the last one that was tried
---@field route? string # its name

---What on_edge gets: a plain table.
---@class sluice.EdgeEvent
---@field event "authenticated"|"up"|"down"
---@field id string # of the edge
---@field ip string # its address
---@field transport "tls"|"quic"

---How an edge is. Numbers are totals since the tunnel began, but for those that say now.
---@class sluice.TunnelStatus
---@field connected boolean
---@field transport? "tls"|"quic" # when connected, as the next four
---@field remote? string # "ip:port"
---@field connected_at? integer # seconds since 1970
---@field rtt_ms? number # of the connection below, when it is known
---@field id? string # of an edge of a hub
---@field answer? string # of an edge: the line of the hub that was accepted last
---@field config? string # of an edge: the config that the hub has sent since then
---@field links integer # connections that there have been
---@field active_streams integer # now
---@field streams_opened integer
---@field streams_reset integer
---@field bytes_in integer # payload of streams
---@field bytes_out integer
---@field sessions integer # UDP, now
---@field datagrams_in integer
---@field datagrams_out integer
---@field datagrams_dropped integer
---@field queue {control: integer, data: integer, sustained: integer} # now: bytes of control frames, and streams with data that waits, by tier
---@field bytes_held integer # now: bytes in memory, on their way through; at most 200 MiB
---@field frames_unknown integer

---What sluice.crypto.certificate returns.
---@class sluice.CertificateFacts
---@field names string[] # alternative names: host names and IP addresses
---@field not_before integer # seconds since 1970
---@field not_after integer # seconds since 1970
---@field serial string # hexadecimal digits
---@field serial_der string # the raw bytes inside its INTEGER, as RFC 9773 wants them
---@field issuer string # "CN=R10,O=Let's Encrypt,C=US"
---@field authority_key_id? string # raw bytes
---@field pin string # the SHA-256 of the public key: 32 raw bytes

---What sluice.fetch returns.
---@class sluice.FetchResponse
---@field status integer
---@field headers table<string, string> # lower-case name to value
---@field pairs string[][] # the headers in their order, each as { name, value }
---@field body? string # without the option stream
local response = {}

---What a script returns.
---@class sluice.Policy
---@field on_connect? fun(conn: sluice.Conn): sluice.Verb? # A connection was accepted; its PROXY header, if one is expected, has been read. For raw UDP: a session begins. If it throws, the connection is closed.
---@field on_hello? fun(hello: sluice.Hello): sluice.Verb? # The ClientHello of a TLS connection was read and TLS has not begun. May wait. If it throws, the connection is closed.
---@field on_request? fun(req: sluice.Request): sluice.Verb? # The head of a request is complete. May wait. If it throws, the client gets 500.
---@field on_response? fun(res: sluice.Response, req: sluice.Request): sluice.Verb? # The head of the target's response is complete. If it throws, the client gets 502.
---@field on_failure? fun(req: sluice.Request, failure: sluice.Failure): sluice.Verb? # The client is about to get 502, 503 or 504, because no target has given an answer. nil, or if it throws: it does.
---@field on_done? fun(entry: sluice.Entry) # The last byte of an exchange or of a raw stream has passed. If it throws, that is logged.
---@field on_edge? fun(edge: sluice.EdgeEvent): sluice.Verb? # An edge has authenticated, is up or is down, on the hub. Only the first can be denied. May wait. If it throws, the edge is refused.
---@field on_stream? fun(conn: sluice.Conn): sluice.Verb? # A stream or a UDP session opens in a tunnel of the hub: conn is the visitor's. nil: the routes decide; a target gets the raw bytes. If it throws, the stream is refused.
---@field start? fun(task: sluice.Task) # Runs once in the control thread, as long as it likes: sources, servers, timers. May wait. If it throws, that is logged and it starts again after 1 s, then 2 s … 30 s. `return nil, message` ends the program with that message.
---@field stop? fun() # The program is about to end, or a newer script takes over. May wait.
---@field check? fun() # What `sluice check` runs. May wait. `return nil, message` is a failed check.
---@field on_error? string # "reject" (the default): a hook that throws fails closed. "continue": as if it had returned nil.
---@field budget_ms? number # CPU time that a hook may use at a stretch, 1 to 60000 (default 50). Waiting does not count. The control thread has 10 s whatever this says.
---@field memory_mb? number # Memory of the Lua state of each worker in MiB (default 64). The control thread has 1 GiB, or this if it is more.
---@field jit? boolean # Lets LuaJIT compile the script. The CPU budget cannot stop a compiled loop: one that does not end makes the runtime restart after 2 s. Default false.
---@field grants? table # What the sandbox opens up for this script: "io", "os", "ffi", "debug". Usable inside functions, not in the body of the script.
---@field limits? table # Limits of the data plane by name; see limits.md.

---Address of the visitor, from the PROXY header when one was believed.
---@return string
function conn:ip() end

---Port of the visitor.
---@return integer
function conn:port() end

---Address that the visitor connected to.
---@return string
function conn:local_ip() end

---Port that the visitor connected to.
---@return integer
function conn:local_port() end

---What the connection runs over; udp: a session of raw UDP.
---@return "tcp"|"quic"|"udp"
function conn:transport() end

---The id of the edge through which the visitor came; nil without a tunnel.
---@return string|nil
function conn:edge() end

---Whether this is a session of raw UDP.
---@return boolean
function conn:is_udp() end

---The server name, in lower case and without a final dot.
---@return string|nil
function hello:sni() end

---The protocols that the client offers, its favourite first.
---@return string[]
function hello:alpn() end

---Number of the exchange, unique in the process; it is in the logs, too.
---@return integer
function req:id() end

---GET, POST, and so on, as it was sent.
---@return string
function req:method() end

---The path as it was sent, without the query.
---@return string
function req:path() end

---What follows the question mark; nil without one.
---@return string|nil
function req:query() end

---Path and query.
---@return string
function req:target() end

---The host that was asked for: lower case, no port, no final dot.
---@return string
function req:host() end

---The scheme.
---@return "http"|"https"
function req:scheme() end

---The HTTP version of the client.
---@return "1.0"|"1.1"|"2"|"3"
function req:version() end

---The TLS version of the client, "TLSv1.3"; nil without TLS.
---@return string|nil
function req:tls() end

---The server name of the TLS connection.
---@return string|nil
function req:sni() end

---All values of this name, joined by commas (cookies by semicolons). Case is ignored.
---@param name string
---@return string|nil
function req:header(name) end

---All headers in their order, each as { name, value }.
---@return string[][]
function req:headers() end

---Sets a header that the target sees, or removes it. Line breaks and control characters throw, and so do headers that frame the message. Setting host changes what the target is asked for, not the routing.
---@param name string
---@param value string|nil
function req:set_header(name, value) end

---Adds a header beside those of the same name.
---@param name string
---@param value string
function req:add_header(name, value) end

---Changes what the target is asked for, and what is routed.
---@param target string # path, with a query if it has one
function req:set_path(target) end

---The value of the first cookie with this name.
---@param name string
---@return string|nil
function req:cookie(name) end

---The whole body, which is still forwarded afterwards. To be had until on_request has decided.
---@param max? integer # bytes, default 1 MiB
---@return string|nil
---@return string|nil # "too large" or "aborted"
function req:body(max) end

---The next piece of the body, as it comes: the client sends no faster than it is read. To be had until the request is decided; what is left of it can be read with out:read() of a body function. A request that was read so cannot be forwarded any more (500), and its body cannot be had with req:body().
---@param max? integer # bytes, default 64 KiB
---@return string|nil # nil at the end
---@return string|nil # why there is none: "aborted", …
function req:read(max) end

---32 bits that are the same on every worker and after every restart: for splitting traffic. Not for secrets.
---@param text string
---@return integer
function req:hash(text) end

---A table that the hooks of this exchange share.
---@return table
function req:ctx() end

---The status.
---@return integer
function res:status() end

---Changes the status. One with a body cannot become one without, nor the reverse.
---@param status integer # 200 to 599
function res:set_status(status) end

---As req:header.
---@param name string
---@return string|nil
function res:header(name) end

---As req:headers.
---@return string[][]
function res:headers() end

---As req:set_header; the client sees it.
---@param name string
---@param value string|nil
function res:set_header(name, value) end

---As req:add_header; the client sees it.
---@param name string
---@param value string
function res:add_header(name, value) end

---The target that answered, "host:port".
---@return string
function res:target() end

---Refuses the request or the connection.
---@param status? integer # 400 to 599, default 403
---@param body? string
---@return sluice.Verb
function sluice.deny(status, body) end

---Answers by itself. headers: name to value, or a list of { name, value } pairs, in which a name may come twice. A body function, in on_request or a handler of sluice.serve, runs as a task and writes the body piece by piece; the response ends when it returns. The head goes out with its first out:write(), an empty one included. If it throws, or returns false, before that, the client gets 500; after that the message is broken off. What it throws is logged. With a header content-length, which then must be right, the client knows the length beforehand. For HEAD, 204 and 304 the function is not called. The task is cancelled when the client goes, which over HTTP/1 shows when something is written.
---@param status integer # 200 to 599
---@param body? string|fun(out: sluice.Out)
---@param headers? table<string, string>|string[][]
---@return sluice.Verb
function sluice.reply(status, body, headers) end

---Sends the client elsewhere.
---@param location string
---@param status? integer # 301, 302 (default), 303, 307 or 308
---@return sluice.Verb
function sluice.redirect(location, status) end

---Uses the route with this name instead of the one that the table would find.
---@param name string
---@return sluice.Verb
function sluice.route(name) end

---Forwards to this host and port, whatever the routes say.
---@param host string
---@param port integer
---@param options? {tls?: boolean, verify?: boolean}
---@return sluice.Verb
function sluice.target(host, port, options) end

---In on_hello: the certificate for this connection. alpn: the one protocol to agree on, as acme-tls/1 (RFC 8737): a client that offers others alone gets the alert no_application_protocol, and the connection is closed after the handshake. Not over QUIC, where it refuses the connection.
---@param cert string # PEM, the chain included
---@param key string # PEM
---@param options? {alpn?: string}
---@return sluice.Verb
function sluice.cert(cert, key, options) end

---In on_hello: relays the bytes to the route's target without ending TLS.
---@return sluice.Verb
function sluice.passthrough() end

---In on_request or a handler of sluice.serve: becomes a WebSocket, on which fn runs as a task; the connection is closed when it returns. A request that does not ask for one gets 426. protocols: those that we speak, best first; max_message: 1 MiB; headers: more of them for the answer; the rest as in sluice.websocket.connect.
---@param fn fun(ws: sluice.WebSocket)
---@param options? {protocols?: string[], max_message?: integer, ping_interval?: number, ping_timeout?: number, headers?: table<string, string>|string[][]}
---@return sluice.Verb
function sluice.websocket(fn, options) end

---Suspends the task; everything else goes on.
---@param seconds number
function sluice.sleep(seconds) end

---Runs fn(...) as a task beside this one. It begins at the end of this turn.
---@param fn function
---@param ... any
---@return sluice.Task
function sluice.spawn(fn, ...) end

---Ends the task, and what it waits for, at once.
function task:cancel() end

---Waits until the task has ended.
---@return any # what the function returned; nil when it threw or was cancelled
---@return any # the message then
function task:wait() end

---Calls fn() as a task after this time.
---@param seconds number
---@param fn function
---@return sluice.Timer
function sluice.timer(seconds, fn) end

---Calls fn() as a task again and again; not while the call before is running.
---@param seconds number
---@param fn function
---@return sluice.Timer
function sluice.every(seconds, fn) end

---Stops the timer.
function timer:cancel() end

---Seconds of a clock that only goes forward.
---@return number
function sluice.now() end

---Seconds since 1970.
---@return number
function sluice.time() end

sluice.bus = {}

---Sends a message to every subscription in this process; how many there are. Messages of one thread arrive in their order.
---@param topic string # at most 256 bytes
---@param message string # any bytes, at most 1 MiB
---@return integer
function sluice.bus.publish(topic, message) end

---Calls fn(message, topic) as a task for every message of this topic, at most 256 at a time. Without a function they wait for subscription:receive(), at most 16384 of them and 16 MiB; further ones are lost. Such a subscription ends when nobody holds it any more.
---@param topic string # one that ends in "*" stands for all that begin so
---@param fn? fun(message: string, topic: string)
---@return sluice.Subscription
function sluice.bus.subscribe(topic, fn) end

---The next message of a subscription that has no function. One task at a time.
---@param timeout? number # seconds; for ever without it
---@return string|nil # the message
---@return string # its topic; without a message: "timed out", "cancelled", or "lost": here some messages are missing, and the next call goes on after them
function subscription:receive(timeout) end

---Ends the subscription, and drops what waits.
function subscription:cancel() end

---A new event, which is not set.
---@return sluice.Event
function sluice.event() end

---Wakes the task that waits; without one, the next wait returns at once. Setting it twice is the same as once.
function event:set() end

---Waits until it is set, which it is no more then. One task at a time.
---@param timeout? number # seconds; for ever without it
---@return true|nil
---@return "timed out"|nil
function event:wait(timeout) end

---One HTTP request; redirects are not followed. timeout: 30 s for all of it; max_body: 16 MiB; verify: true; unix: a socket to connect to instead of the host. headers: name to value, or a list of { name, value } pairs. stream: returns when the head of the response is there; its body is read with response:read(), of any length. A body function runs as a task and writes the body of the request, with a header content-length if it is known; it ends with the response, and if it throws or returns false the request is broken off. With either of them timeout is for connecting, for each wait for the other side to take or send something, and for the head of the response.
---@param url string
---@param options? {method?: string, headers?: table<string, string>|string[][], body?: string|fun(out: sluice.Out), stream?: boolean, timeout?: number, max_body?: integer, cookie?: string, verify?: boolean, ca_file?: string, unix?: string}
---@return sluice.FetchResponse|nil
---@return string|nil # why not
function sluice.fetch(url, options) end

---Of a fetch with stream: the next piece of the body, as it comes. The server sends no faster than it is read.
---@param max? integer # bytes, default 64 KiB
---@return string|nil # nil at the end
---@return string|nil # why there is none: "closed by the peer", "timed out", …
function response:read(max) end

---Of a fetch with stream: gives up what has not been read. What is no longer used is closed by the collector, some time; what was read to its end need not be closed.
function response:close() end

---An HTTP server. The handler runs as a task, may wait, and returns reply, redirect or deny; if it throws, the client gets 500. port 0: a free one. max_body: 16 MiB, of what req:body() gives: more is 413. admit: asked about requests that bring a body before the handler is; nil lets it be asked, a verb is the answer.
---@param options {host?: string, port?: integer, unix?: string, max_body?: integer, max_connections?: integer, admit?: fun(req: sluice.Request): sluice.Verb|nil, handler: fun(req: sluice.Request): sluice.Verb}
---@return sluice.Server|nil
---@return string|nil # why not
function sluice.serve(options) end

---Writes the next piece of a body. Waits while the peer does not take what was written before. More than the content-length throws. One task at a time.
---@param bytes string
---@return true|nil
---@return string|nil # "closed", …
function out:write(bytes) end

---In the body function of a reply: the next piece of the request body.
---@param max? integer # bytes, default 64 KiB
---@return string|nil # nil at the end
---@return string|nil # why there is none
function out:read(max) end

---The port; nil on a Unix socket.
---@return integer|nil
function server:port() end

---Closes the server.
function server:close() end

sluice.tcp = {}

---Connects. timeout: 10 s; tls: false; verify: true.
---@param host string|nil
---@param port integer|nil
---@param options? {timeout?: number, tls?: boolean, server_name?: string, verify?: boolean, ca_file?: string, unix?: string}
---@return sluice.Sock|nil
---@return string|nil # why not
function sluice.tcp.connect(host, port, options) end

---A server. The handler runs as a task for each connection, which is closed when it returns. mode: of the Unix socket, 0600. A socket file that nobody listens on any more is replaced; one that is in use is an error.
---@param options {host?: string, port?: integer, unix?: string, mode?: integer, max_connections?: integer, handler: fun(sock: sluice.Sock)}
---@return sluice.Server|nil
---@return string|nil # why not
function sluice.tcp.listen(options) end

---What has arrived, at least a byte.
---@param max? integer
---@return string|nil
---@return string|nil # "closed", "timed out", …
function sock:read(max) end

---A line, without its end.
---@param max? integer
---@return string|nil
---@return string|nil # why not
function sock:read_line(max) end

---Exactly n bytes.
---@param n integer
---@return string|nil
---@return string|nil # why not
function sock:read_exact(n) end

---Writes all of it.
---@param bytes string
---@return true|nil
---@return string|nil # why not
function sock:write(bytes) end

---Says that nothing more will come.
function sock:shutdown() end

---Closes the connection.
function sock:close() end

---How long each read and write may wait from now on; without a number: for ever. At first it is 60 s.
---@param seconds? number
function sock:settimeout(seconds) end

---Who is at the other end: an address, or on a Unix socket the process, which the kernel vouches for.
---@return {ip: string, port: integer}|{uid: integer, gid: integer, pid: integer}|nil
---@return string|nil # why not
function sock:peer() end

---Asks a STUN server (RFC 8489) over UDP under which address it sees this machine. Three tries; timeout: 5 s for all of them.
---@param host string
---@param port integer
---@param timeout? number
---@return string|nil # the address
---@return integer|string # its port; or why not
function sluice.stun(host, port, timeout) end

sluice.websocket = {}

---Opens a WebSocket. timeout: 10 s for the opening; max_message: 64 MiB, a longer one closes the connection; ping_interval: 30 s of silence until the peer is asked whether it is there, 0 for never; ping_timeout: 20 s for its answer; verify: true; unix: a socket to connect to instead of the host.
---@param url string # ws:// or wss://
---@param options? {timeout?: number, headers?: table<string, string>, protocols?: string[], max_message?: integer, ping_interval?: number, ping_timeout?: number, verify?: boolean, ca_file?: string, unix?: string}
---@return sluice.WebSocket|nil
---@return string|nil # why not
function sluice.websocket.connect(url, options) end

---The next message. One task at a time.
---@param timeout? number # seconds; for ever without it
---@return string|nil # the message
---@return "text"|"binary"|string # without a message: "timed out", "closed", or the reason that the peer gave
---@return integer|nil # the code of the close, 1006 when the connection broke
function ws:receive(timeout) end

---The next message as sluice.json.decode reads it, without a string of the whole: for messages of many megabytes.
---@param timeout? number # seconds; for ever without it
---@return any # the value; nil when there is none
---@return string # as of ws:receive; or what is wrong with the JSON
---@return integer|"invalid"|nil # as of ws:receive; "invalid" when the message was not JSON, after which the connection goes on
function ws:receive_json(timeout) end

---Sends a message; text, which is the default, must be UTF-8. Waits while the peer does not take what was sent before. Several tasks may send.
---@param message string
---@param kind? "text"|"binary"
---@return true|nil
---@return string|nil # why not
function ws:send(message, kind) end

---Closes the connection, after what was sent.
---@param code? integer # default 1000
---@param reason? string
function ws:close(code, reason) end

---The subprotocol that both sides agreed on.
---@return string|nil
function ws:protocol() end

sluice.redis = {}

---Connects. host: 127.0.0.1; port: 6379; unix: a socket to connect to instead; tls: false; verify: true; timeout: 5 s until it is connected, and then of silence while a command is under way, after which the connection is closed.
---@param options? {host?: string, port?: integer, unix?: string, tls?: boolean, verify?: boolean, ca_file?: string, username?: string, password?: string, db?: integer, timeout?: number}
---@return sluice.Redis|nil
---@return string|nil # why not: "closed", "timed out", what Redis said, …
function sluice.redis.connect(options) end

---One command. Several tasks may have commands under way, which are sent together. nil and nothing more when Redis says nil; in an array nil is false, and an error a table with the member error. A reply has at most 16 MiB, 1048576 elements in an array and 8 arrays in each other; one beyond that closes the connection.
---@param name string
---@param ... string|number
---@return string|number|table|nil
---@return string|nil # why not: "closed", "timed out", what Redis said, …
function redis:command(name, ...) end

---Subscribes to these channels; returns when Redis has confirmed them. From then on the connection takes no other commands but PING.
---@param channel string
---@param ... string
---@return true|nil
---@return string|nil # why not: "closed", "timed out", what Redis said, …
function redis:subscribe(channel, ...) end

---The same for all channels that match a pattern.
---@param pattern string
---@param ... string
---@return true|nil
---@return string|nil # why not: "closed", "timed out", what Redis said, …
function redis:psubscribe(pattern, ...) end

---Ends the subscription to these channels.
---@param channel string
---@param ... string
---@return true|nil
---@return string|nil # why not: "closed", "timed out", what Redis said, …
function redis:unsubscribe(channel, ...) end

---Ends the subscription to these patterns.
---@param pattern string
---@param ... string
---@return true|nil
---@return string|nil # why not: "closed", "timed out", what Redis said, …
function redis:punsubscribe(pattern, ...) end

---The next message of what is subscribed to. One task at a time. While 16384 messages or 16 MiB wait, no more is read.
---@param timeout? number # seconds; for ever without it
---@return string|nil # the message
---@return string # its channel; without a message: "timed out", "closed", …
---@return string|nil # the pattern that it matched
function redis:receive(timeout) end

---Closes the connection.
function redis:close() end

sluice.udp = {}

---A UDP socket. host: 127.0.0.1; port 0: a free one; reuse_port: other sockets may bind the same port, and the kernel shares the datagrams out; max_datagram: 1500 bytes, of longer ones the first max_datagram + 1 bytes are received.
---@param options {host?: string, port?: integer, reuse_port?: boolean, max_datagram?: integer}
---@return sluice.UdpSocket|nil
---@return string|nil # why not
function sluice.udp.bind(options) end

---The next datagram. One task at a time. 512 datagrams and 1 MiB wait for it at most; after that they wait in the kernel, which drops what it has no room for.
---@param timeout? number # seconds; for ever without it
---@return string|nil # the datagram
---@return string # the address of its sender; without a datagram "timed out" or "closed"
---@return integer|nil # its port
function udp:receive(timeout) end

---Sends a datagram. It may get lost on its way like any other.
---@param bytes string
---@param ip string
---@param port integer
---@return true|nil
---@return string|nil # why not
function udp:send(bytes, ip, port) end

---The port.
---@return integer
function udp:port() end

---Closes the socket. What was not received is lost.
function udp:close() end

---Runs a program to its end, without a shell. status: its exit status, or signal: what ended it. A name without a slash is looked for in PATH. timeout: 30 s; max_output: 1 MiB of both outputs together; env: set beside our own variables. A program that takes too long or says too much is killed, as is one whose task is cancelled, with all that it has started in its process group; what is left of the group when it ends is killed, too. At most 256 run at a time.
---@param argv string[] # the program and its arguments
---@param options? {stdin?: string, timeout?: number, max_output?: integer, cwd?: string, env?: table<string, string>}
---@return {status: integer?, signal: integer?, stdout: string, stderr: string}|nil
---@return string|nil # "not found", "timed out", "too much output", …
function sluice.exec(argv, options) end

sluice.json = {}

---Empty tables become {} unless they were marked with sluice.json.array.
---@param value any
---@return string
function sluice.json.encode(value) end

---null becomes sluice.json.null.
---@param text string
---@param from? integer # the byte where it begins
---@return any
---@return string|nil # why not
function sluice.json.decode(text, from) end

---Marks the table, so that it is written as [] even when it is empty.
---@param t? table
---@return table
function sluice.json.array(t) end

---The null of JSON.
---@type userdata
sluice.json.null = nil

sluice.file = {}

---The bytes of a file.
---@param path string
---@param max? integer
---@return string|nil
---@return string|nil # "not found", …
function sluice.file.read(path, max) end

---Replaces the file as a whole: readers see the old or the new one. mode: 0600.
---@param path string
---@param bytes string
---@param options? {mode?: integer}
---@return true|nil
---@return string|nil # why not
function sluice.file.write(path, bytes, options) end

---Is there such a file?
---@param path string
---@return boolean
function sluice.file.exists(path) end

---Removes a file.
---@param path string
---@return true|nil
---@return string|nil # why not
function sluice.file.remove(path) end

---Makes a folder and those above it.
---@param path string
---@return true|nil
---@return string|nil # why not
function sluice.file.mkdir(path) end

---A dictionary that all workers and the control thread share, as long as the process.
---@param name string
---@return sluice.Dict
function sluice.shared(name) end

---The value.
---@param key string
---@return string|number|boolean|nil
function dict:get(key) end

---Stores the value.
---@param key string
---@param value string|number|boolean
---@param ttl? number # seconds
---@return true|nil
---@return string|nil # why not
function dict:set(key, value, ttl) end

---Stores the value if the key is not there.
---@param key string
---@param value string|number|boolean
---@param ttl? number
---@return true|nil
---@return string|nil # why not
function dict:add(key, value, ttl) end

---Adds to a number and returns the sum; without init the key must be there.
---@param key string
---@param by number
---@param init? number
---@param ttl? number
---@return number|nil
---@return string|nil # why not
function dict:incr(key, by, init, ttl) end

---Removes a key. Was it there?
---@param key string
---@return boolean
function dict:delete(key) end

sluice.crypto = {}

---32 raw bytes.
---@param bytes string
---@return string
function sluice.crypto.sha256(bytes) end

---32 raw bytes.
---@param key string
---@param bytes string
---@return string
function sluice.crypto.hmac_sha256(key, bytes) end

---Lower-case digits.
---@param bytes string
---@return string
function sluice.crypto.hex(bytes) end

---With padding.
---@param bytes string
---@return string
function sluice.crypto.base64(bytes) end

---The bytes.
---@param text string
---@return string|nil
---@return string|nil # why not
function sluice.crypto.unbase64(text) end

---For URLs, without padding.
---@param bytes string
---@return string
function sluice.crypto.base64url(bytes) end

---The bytes.
---@param text string
---@return string|nil
---@return string|nil # why not
function sluice.crypto.unbase64url(text) end

---Lower case, without padding: bytes as a label of a host name.
---@param bytes string
---@return string
function sluice.crypto.base32(bytes) end

---The bytes.
---@param text string # in either case
---@return string|nil
---@return string|nil # why not
function sluice.crypto.unbase32(text) end

---n bytes that nobody can guess.
---@param n integer
---@return string
function sluice.crypto.random(n) end

---Compares in a time that says nothing about where they differ.
---@param a string
---@param b string
---@return boolean
function sluice.crypto.equal(a, b) end

---A new key (P-256) and a certificate for this host name or address that it has signed itself, for ten years: for a service that keeps them.
---@param name string
---@return string|nil # PEM
---@return string # its key, PEM; or why not
function sluice.crypto.self_signed(name) end

---The SHA-256 of the public key of a certificate, the first in the text: 32 raw bytes.
---@param cert string # PEM
---@return string|nil
---@return string|nil # why not
function sluice.crypto.fingerprint(cert) end

---What a certificate says. It is not verified.
---@param pem string # the first certificate counts
---@return sluice.CertificateFacts|nil
---@return string|nil # why not
function sluice.crypto.certificate(pem) end

---Makes a private key. For an RSA key, which may take seconds, the task waits; it cannot be made where no task may wait.
---@param kind? string # "P-256" (default), "P-384", "P-521", "RSA-2048", "RSA-3072", "RSA-4096"
---@return sluice.Key|nil
---@return string|nil # why not
function sluice.crypto.new_key(kind) end

---Reads a private or public key: EC on P-256, P-384 or P-521, RSA with 2048 to 4096 bits. The coordinates of a JWK may lack leading zeros. A point that is not on the curve, and a private key that does not fit its public half, are refused.
---@param from string|table # PEM (PKCS#8, SEC1, PKCS#1, SubjectPublicKeyInfo; not encrypted), or a JWK
---@return sluice.Key|nil
---@return string|nil # why not
function sluice.crypto.key(from) end

---Is the private half there?
---@return boolean
function key:is_private() end

---"P-256", "RSA-2048", ….
---@return string
function key:kind() end

---The private key. Whoever has this text has the key: it does not belong into logs.
---@param form? "pkcs8"|"sec1"|"traditional" # sec1 for EC keys; traditional: SEC1 for EC, PKCS#1 for RSA; default pkcs8
---@return string
function key:pem(form) end

---The public key (SubjectPublicKeyInfo).
---@return string
function key:public_pem() end

---The public key as a JWK in its one normal form: crv, kty, x, y or e, kty, n.
---@return table<string, string>
function key:jwk() end

---The SHA-256 of that JWK (RFC 7638): 32 raw bytes.
---@return string
function key:thumbprint() end

---The signature as JWS has it (RFC 7518): R and S one after the other for EC. Throws when the algorithm is not one for this key, or the key is a public one.
---@param alg string # "ES256" for P-256, "ES384" for P-384, "ES512" for P-521; "RS256", "RS384", "RS512", "PS256", "PS384", "PS512" for RSA
---@param bytes string
---@return string
function key:sign(alg, bytes) end

---Is this the signature of these bytes? An algorithm that is not one for this key: no.
---@param alg string # "ES256" for P-256, "ES384" for P-384, "ES512" for P-521; "RS256", "RS384", "RS512", "PS256", "PS384", "PS512" for RSA
---@param bytes string
---@param signature string
---@return boolean
function key:verify(alg, bytes, signature) end

---A request (PKCS#10) for a certificate with these names and no other subject.
---@param names string|string[] # 1 to 100 host names (also `*.example.com`) or IP addresses
---@return string|nil # DER
---@return string|nil # why not
function key:csr(names) end

---A certificate that the key has signed itself, for 90 days unless said otherwise (at most 3650). acme_identifier: 32 raw bytes, for the extension of tls-alpn-01, RFC 8737.
---@param names string|string[] # 1 to 100 host names (also `*.example.com`) or IP addresses
---@param options? {days?: integer, acme_identifier?: string}
---@return string|nil # PEM
---@return string|nil # why not
function key:self_signed(names, options) end

sluice.log = {}

---A line in the log with the level debug.
---@param message string
---@param fields? table<string, string|number|boolean>
function sluice.log.debug(message, fields) end

---A line in the log with the level info.
---@param message string
---@param fields? table<string, string|number|boolean>
function sluice.log.info(message, fields) end

---A line in the log with the level warn.
---@param message string
---@param fields? table<string, string|number|boolean>
function sluice.log.warn(message, fields) end

---A line in the log with the level error.
---@param message string
---@param fields? table<string, string|number|boolean>
function sluice.log.error(message, fields) end

---Writes a line to the standard output, for what a script shows rather than logs.
---@param line string
function sluice.print(line) end

---active_connections, total_connections, requests, http2_requests and http3_requests (of these), errors, bytes_in, bytes_out, quic_handshakes, quic_retries (addresses that had to be proven first), quic_dropped (datagrams of no use), quic_forwarded (from one worker to another; the last three up to a second late), udp_sessions, udp_sessions_total, udp_evicted (of them, for want of room), udp_dropped (datagrams), udp_refused (answers of targets that nobody listens), proxy_missing (datagrams of trusted peers that no PROXY header was about), proxy_repeated (such headers that said what was known), routes_count, listening_ports, uptime, workers, and per_route: name to requests, errors, active, bytes_in, bytes_out.
---@return table
function sluice.stats() end

---A variable of the environment.
---@param name string
---@return string|nil
function sluice.env(name) end

---The arguments of the script.
---@type string[]
sluice.args = nil

---The version of sluice.
---@type string
sluice.version = nil

---Whether the script runs to be checked only.
---@type boolean
sluice.check = nil

---1 to N on a worker, nil in the control thread.
---@return integer|nil
function sluice.worker() end

---Ends the program at once: connections are closed.
---@param code? integer
function sluice.exit(code) end

---Ends the program as SIGTERM does: the script's stop() runs, nothing new is taken, and what is open is finished, for at most drain_timeout.
function sluice.drain() end

sluice.takeover = {}

---From now on another sluice of the same user, or of root, may take over through this Unix socket. A file that nobody listens on is replaced. One offer at a time: another path takes its place.
---@param path string
---@return true|nil
---@return string|nil
function sluice.takeover.offer(path) end

---Takes the TCP ports of the sluice that offers there. sluice.routes.publish uses them in place of new ones, with the address that they have; the other one goes on meanwhile. nil, "nobody is there" when nobody offers.
---@param path string
---@param options? {timeout?: number} # 10 s
---@return true|nil
---@return string|nil
function sluice.takeover.from(path, options) end

---The routes are live here: the other one runs its stop(), closes its servers and ends, when it has answered what is open; ports that were not published are closed. true when its addresses are free, but for those of UDP ports, which are opened here when its process has ended.
---@return true|nil
---@return string|nil
function sluice.takeover.done() end

return sluice
