--- What a hook decides: plain tables, so that a spec can compare them with assert.same.
--
-- Every constructor checks its arguments and throws at its caller: a mistake shows with the file
-- and line of the hook that made it, not later inside the runtime.

local field = require "sluice.field"

local verbs = {}

local redirects = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local function check(condition, message, ...)
  if not condition then
    error(message:format(...), 3)
  end
end

local function is_status(value, from, to)
  return type(value) == "number" and value % 1 == 0 and value >= from and value <= to
end

local function bad_header(headers, with_length)
  for name, value in field.each(headers) do
    if not name then
      return "an item of the list of headers is not a pair { name, value }"
    end
    if not field.is_name(name) then
      return ("%q is not a header name"):format(tostring(name))
    end
    if field.is_framing(name) and not (with_length and name:lower() == "content-length") then
      return ("header %q is set by sluice itself, which frames the message"):format(name)
    end
    if not field.is_value(value) then
      return ("the value of header %q must be a string without line breaks"):format(name)
    end
  end
end

local function is_optional_string(value)
  return value == nil or type(value) == "string"
end

--- Refuses the request or the connection.
-- @tparam[opt=403] number status 400 to 599
-- @tparam[opt] string body
-- @treturn table
-- @usage return sluice.deny(403)
function verbs.deny(status, body)
  status = status == nil and 403 or status
  check(is_status(status, 400, 599), "deny: status %s is not one of 400 to 599", tostring(status))
  check(is_optional_string(body), "deny: body must be a string, not a %s", type(body))
  return { verb = "deny", status = status, body = body }
end

--- Answers by itself. A body function runs as a task and writes the body piece by piece; an error
-- in it breaks the message off. It may be told the length with a header content-length.
-- @tparam number status 200 to 599
-- @tparam[opt] string|function body
-- @tparam[opt] table headers name to value, or a list of { name, value } pairs
-- @treturn table
-- @usage return sluice.reply(503, "try again\n", { ["retry-after"] = "5" })
-- @usage return sluice.reply(200, function(out)
--   for piece in function() return out:read() end do
--     out:write(piece)
--   end
-- end)
function verbs.reply(status, body, headers)
  local has_function = type(body) == "function"
  check(is_status(status, 200, 599), "reply: status %s is not one of 200 to 599", tostring(status))
  check(is_optional_string(body) or has_function,
    "reply: body must be a string or a function, not a %s", type(body))
  check(headers == nil or type(headers) == "table", "reply: headers must be a table")
  local problem = headers and bad_header(headers, has_function)
  check(not problem, "reply: %s", problem)
  return { verb = "reply", status = status, body = body, headers = headers }
end

--- Sends the client elsewhere.
-- @tparam string location
-- @tparam[opt=302] number status 301, 302, 303, 307 or 308
-- @treturn table
-- @usage return sluice.redirect("https://" .. req:host() .. req:path(), 308)
function verbs.redirect(location, status)
  status = status == nil and 302 or status
  check(field.is_value(location) and location ~= "",
    "redirect: location must be a string without line breaks")
  check(redirects[status], "redirect: status %s is not one of 301, 302, 303, 307, 308",
    tostring(status))
  return { verb = "redirect", location = location, status = status }
end

--- Uses the route with this name instead of the one that the table would find.
-- @tparam string name
-- @treturn table
-- @usage return sluice.route("shop-next")
function verbs.route(name)
  check(type(name) == "string" and name ~= "", "route: name must be a string that is not empty")
  return { verb = "route", name = name }
end

local target_options = { tls = true, verify = true }

--- Forwards to this host and port, whatever the routes say.
-- @tparam string host name or address
-- @tparam number port
-- @tparam[opt] table options tls (use TLS to the target), verify (its certificate; default true)
-- @treturn table
-- @usage return sluice.target("10.0.0.7", 3000)
function verbs.target(host, port, options)
  check(type(host) == "string" and host:find("^[^%s%c]+$"),
    "target: host must be a name or an address")
  check(is_status(port, 1, 65535), "target: %s is not a port (1 to 65535)", tostring(port))
  check(options == nil or type(options) == "table", "target: options must be a table")
  local verb = { verb = "target", host = host, port = port, tls = false, verify = true }
  for name, value in pairs(options or {}) do
    check(target_options[name], "target: unknown option %s", tostring(name))
    check(type(value) == "boolean", "target: option %s must be true or false", name)
    verb[name] = value
  end
  return verb
end

--- In on_hello: the certificate for this connection.
-- @tparam string cert PEM, the chain included
-- @tparam string key PEM
-- @tparam[opt] table options alpn: the one protocol to agree on, after whose handshake the
-- connection is closed ("acme-tls/1")
-- @treturn table
-- @usage return sluice.cert(store.cert, store.key)
function verbs.cert(cert, key, options)
  check(type(cert) == "string" and cert:find("-----BEGIN CERTIFICATE-----", 1, true),
    "cert: the certificate must be PEM text")
  check(type(key) == "string" and key:find("PRIVATE KEY-----", 1, true),
    "cert: the key must be PEM text")
  check(options == nil or type(options) == "table", "cert: options must be a table")
  for name, value in pairs(options or {}) do
    check(name == "alpn", "cert: unknown option %s", tostring(name))
    check(type(value) == "string" and #value >= 1 and #value <= 31,
      "cert: option alpn must be a string of 1 to 31 bytes")
  end
  return { verb = "cert", cert = cert, key = key, alpn = options and options.alpn }
end

--- In on_hello: relays the bytes to the route's target without ending TLS.
-- @treturn table
-- @usage if hello:sni() == "vault.example" then return sluice.passthrough() end
function verbs.passthrough()
  return { verb = "passthrough" }
end

local websocket_options = {
  headers = "table",
  max_message = "number", ping_interval = "number", ping_timeout = "number", protocols = "table",
}

--- In on_request or a handler of sluice.serve: becomes a WebSocket, on which fn(ws) runs. A request
-- that does not ask for one gets 426.
-- @tparam function fn
-- @tparam[opt] table options protocols (those that we speak, best first), max_message (bytes),
-- ping_interval, ping_timeout (seconds), headers (of the answer: as of reply)
-- @treturn table
-- @usage return sluice.websocket(function(ws) ws:send(ws:receive() or "") end)
function verbs.websocket(fn, options)
  check(type(fn) == "function", "websocket: a function expected, got a %s", type(fn))
  check(options == nil or type(options) == "table", "websocket: options must be a table")
  local verb = { verb = "websocket", fn = fn }
  for name, value in pairs(options or {}) do
    check(websocket_options[name], "websocket: unknown option %s", tostring(name))
    check(type(value) == websocket_options[name], "websocket: option %s must be a %s", name,
      websocket_options[name])
    verb[name] = value
  end
  local problem = verb.headers and bad_header(verb.headers)
  check(not problem, "websocket: %s", problem)
  return verb
end

return verbs
