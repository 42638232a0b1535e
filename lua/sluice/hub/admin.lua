--- The admin API of a hub.
--
--   GET  /health, /ready     probes, open to all
--   GET  /status             the hub and the edges that are connected
--   GET  /edges              the list, without secrets
--   PUT  /edges              replaces the list: written to the file and live when it is answered
--   POST /edges/ID/token     a connection token; body {} or {"hubHost":…,"hubPort":…}

local server = require "sluice.admin.server"
local sluice = require "sluice"

local admin = {}

local answer, failure = server.answer, server.failure

local function shown(list)
  local copy = sluice.json.array {}
  for i, entry in ipairs(list) do
    copy[i] = {
      id = entry.id, stunIntervalSecs = entry.stunIntervalSecs,
      listenPorts = sluice.json.array(entry.listenPorts),
      listenPortsUdp = sluice.json.array(entry.listenPortsUdp),
    }
  end
  return copy
end

local statuses = { invalid = 400, ["not found"] = 404, failed = 500 }

local function refusal(err, problem)
  return failure(statuses[problem] or 500, err or "the change was interrupted")
end

-- An array, or an object with the array in `edges` and nothing else.
local function list_of(value, bracket)
  if bracket == "[" then
    return value
  end
  local list = value.edges
  if list == nil or next(value, next(value)) ~= nil then
    return nil, 'the body must be an array of edges, or {"edges": [...]}'
  end
  return list
end

local function replace(self, req)
  local value, bracket = server.read_json(self.settings, req)
  if not value then
    return bracket
  end
  local list, err = list_of(value, bracket)
  if not list then
    return failure(400, err)
  end
  local ok, problem
  ok, err, problem = self.hub:replace(list)
  if not ok then
    return refusal(err, problem)
  end
  return answer(200, { ok = true, edges = #list })
end

local endpoints = {
  ["/health"] = server.health,
  ["/ready"] = {
    GET = function(self)
      return server.readiness(self.hub:is_ready())
    end,
  },
  ["/status"] = {
    GET = function(self)
      return answer(200, self.hub:status())
    end,
  },
  ["/edges"] = {
    GET = function(self)
      return answer(200, { edges = shown(self.hub:edges()) })
    end,
    PUT = replace,
  },
}

-- The body may be missing.
local function body_of(self, req)
  local text, err = req:body(self.settings.max_body)
  if not text then
    return nil, failure(err == "too large" and 413 or 400, "the body is " .. err)
  end
  if not text:find("%S") then
    return {}
  end
  local value = sluice.json.decode(text)
  if type(value) ~= "table" or value == sluice.json.null or value[1] ~= nil then
    return nil, failure(400, "the body is not a JSON object")
  end
  return value
end

local function make_token(self, req, id)
  local body, refused = body_of(self, req)
  if not body then
    return refused
  end
  local text, err, problem = self.hub:token(id, body.hubHost, body.hubPort)
  if not text then
    return refusal(err, problem)
  end
  return answer(200, { ok = true, token = text })
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

local function find(path)
  local id = path:match("^/edges/([^/]+)/token$")
  if not id then
    return endpoints[path]
  end
  return {
    POST = function(self, req)
      return make_token(self, req, unescape(id))
    end,
  }
end

--- @tparam table hub as sluice.hub
-- @tparam table settings from sluice.admin.settings
function admin.new(hub, settings)
  return server.new(settings, find, { hub = hub, settings = settings })
end

return admin
