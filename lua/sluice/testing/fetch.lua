--- The fake sluice.fetch: reaches the servers that scripts made with the fake sluice.serve.

local field = require "sluice.field"
local handles = require "sluice.testing.handles"
local stream = require "sluice.testing.stream"
local world = require "sluice.testing.world"

local function list_of(headers)
  local list = {}
  for name, value in field.each(headers or {}) do
    table.insert(list, { name, value })
  end
  return list
end

local function joined(list)
  local by_name = {}
  for _, pair in ipairs(list) do
    local name = pair[1]:lower()
    by_name[name] = by_name[name] and by_name[name] .. ", " .. pair[2] or pair[2]
  end
  return by_name
end

-- What the verb of a handler looks like to the client, whose body is a pipe.
local function answer(verb, request)
  if type(verb) ~= "table" then
    return { status = 500, pairs = {}, source = stream.pipe("") }
  end
  local pairs_ = list_of(verb.headers)
  if verb.location then
    table.insert(pairs_, { "Location", verb.location })
  end
  local body = request:method() == "HEAD" and "" or verb.body or ""
  if type(body) ~= "function" then
    return { status = verb.status, pairs = pairs_, source = stream.pipe(body) }
  end
  local source = stream.run(body, stream.pipe(request._source or request._body))
  if not source:has_begun() then
    return { status = 500, pairs = {}, source = stream.pipe("") }
  end
  return { status = verb.status, pairs = pairs_, source = source }
end

local function result(options, answered)
  local response = { status = answered.status, pairs = answered.pairs,
    headers = joined(answered.pairs) }
  local source = answered.source
  if not options.stream then
    local body, err = source:all()
    response.body = body
    return body and response, err
  end
  function response.read(_, max)
    return source:read(max)
  end
  function response.close()
    source:fail("closed")
  end
  return response
end

local function fetch(url, options)
  options = options or {}
  local scheme, authority, path = url:match("^(https?)://([^/]+)(.*)$")
  assert(scheme, "fetch: not an http or https URL: " .. tostring(url))
  local server = world.servers[options.unix or authority:gsub("^localhost", "127.0.0.1")]
  if not server then
    return nil, "connection refused"
  end
  local headers = list_of(options.headers)
  if options.cookie then
    table.insert(headers, { "cookie", options.cookie })
  end
  local body = options.body or ""
  local request = handles.request {
    method = options.method or "GET",
    host = authority:gsub(":%d+$", ""),
    path = path ~= "" and path or "/",
    headers = headers,
    body = type(body) == "function" and stream.run(body) or body,
    scheme = scheme,
    ip = "127.0.0.1",
  }
  return result(options, answer(server._options.handler(request), request))
end

return fetch
