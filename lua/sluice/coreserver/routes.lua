--- The routes of a core-server: from the names that it knows to tables for sluice.routes. Pure.
--
-- Each name is a route of its own, looked up by hash, so that ten thousand cost a request no more
-- than one. `rules` says how names are served:
--
--   http_port, https_port   https_port is nil where there are no certificates
--   is_public               strangers come here: pages tell them nothing

local routes = {}

local page_type = "text/plain; charset=utf-8"
local page_headers = { response = { ["X-Content-Type-Options"] = "nosniff" } }

-- What unknown names are told, in the words of the original.
local unknown = "Domain Not Recognized\n"
local max_listed = 100

-- Whom a page may tell which names there are: people at this machine who ask for a name that no
-- stranger's DNS can point here. Else any web page could read the list through a name of its own.
local local_names = { "localhost", "*.localhost", "127.0.0.1", "[::1]" }
local this_machine = { "127.0.0.0/8", "::1" }

-- The application may listen on either; one that refuses costs no time.
local function targets(port)
  return {
    { host = "127.0.0.1", port = port, priority = 1 },
    { host = "::1", port = port },
  }
end

local function tls()
  return { mode = "terminate", certificate = "hook" }
end

--- The route of one name; its name is that of the route, too.
function routes.forward(entry, rules)
  return {
    name = entry.domain,
    match = { ports = rules.https_port or rules.http_port, domains = entry.domain,
      protocol = "http" },
    action = { type = "forward", targets = targets(entry.port),
      tls = rules.https_port and tls() or nil },
  }
end

local function with_port(port, usual)
  return port == usual and "" or (":%d"):format(port)
end

-- Only names that are known are sent on, and only to the port where they are served.
local function redirect(list, rules)
  local domains = {}
  for i, entry in ipairs(list) do
    domains[i] = entry.domain
  end
  return {
    name = "redirect to HTTPS",
    match = { ports = rules.http_port, domains = domains, protocol = "http" },
    action = { type = "redirect", statusCode = 307,
      location = "https://{domain}" .. with_port(rules.https_port, 443) .. "{path}" },
  }
end

local function address(entry, rules)
  if rules.https_port then
    return ("https://%s%s/"):format(entry.domain, with_port(rules.https_port, 443))
  end
  return ("http://%s%s/"):format(entry.domain, with_port(rules.http_port, 80))
end

local function listing(list, rules)
  local lines = { unknown, "Known here:" }
  for i = 1, math.min(#list, max_listed) do
    table.insert(lines, ("  %s -> localhost:%d"):format(address(list[i], rules), list[i].port))
  end
  if #list > max_listed then
    table.insert(lines, ("  and %d more"):format(#list - max_listed))
  elseif #list == 0 then
    table.insert(lines, "  nothing yet")
  end
  return table.concat(lines, "\n") .. "\n"
end

local function page(name, match, body, rules)
  match.protocol = "http"
  return {
    name = name, match = match, headers = page_headers, priority = -1,
    action = { type = "reply", statusCode = 404, body = body, contentType = page_type,
      tls = match.ports == rules.https_port and tls() or nil },
  }
end

-- For names that nobody has added.
local function add_pages(out, list, rules, port)
  local body = unknown
  if not rules.is_public then
    table.insert(out, page(("unknown local name on port %d"):format(port),
      { ports = port, domains = local_names, clientIp = this_machine }, listing(list, rules),
      rules))
    body = ("%s\nhttp://localhost%s/ says what is known here, at this machine.\n"):format(unknown,
      with_port(rules.http_port, 80))
  end
  table.insert(out, page(("unknown name on port %d"):format(port), { ports = port }, body, rules))
end

--- The routes for all names together, which stand behind those of each.
-- @tparam table list of `domain` and `port`
-- @tparam table rules
function routes.common(list, rules)
  local out = {}
  if rules.https_port and #list > 0 then
    table.insert(out, redirect(list, rules))
  end
  add_pages(out, list, rules, rules.http_port)
  if rules.https_port then
    add_pages(out, list, rules, rules.https_port)
  end
  return out
end

--- All routes.
function routes.generate(list, rules)
  local out = {}
  for i, entry in ipairs(list) do
    out[i] = routes.forward(entry, rules)
  end
  for _, route in ipairs(routes.common(list, rules)) do
    table.insert(out, route)
  end
  return out
end

return routes
