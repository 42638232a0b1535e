--- Who may ask the admin API: not the pages of a browser, and with a token only who shows it.

local sluice = require "sluice"
local settings = require "sluice.admin.settings"

local guard = {}

-- Without a token the only guard is that the API listens on this machine alone. A page in a browser
-- here gets around that by making its own name resolve to 127.0.0.1; its name is then in Host.
local function is_our_name(own, req)
  local host = req:host()
  return host == nil or host == "" or host == own.host or settings.is_loopback(host)
end

-- Browsers say where a request comes from. There is no page of ours, so only a foreign one can ask.
local function is_foreign_page(req)
  if req:header("sec-fetch-site") == "cross-site" then
    return true
  end
  local origin = req:header("origin")
  return origin ~= nil and origin:lower() ~= "http://" .. (req:header("host") or ""):lower()
end

--- Does this request come from a web page that has no business here?
-- @tparam table own settings from sluice.admin.settings
-- @param req a request handle
function guard.is_web_page(own, req)
  return is_foreign_page(req) or (own.token == nil and not is_our_name(own, req))
end

local public = { ["/health"] = true, ["/ready"] = true }

local function is_probe(req)
  return public[req:path()] and (req:method() == "GET" or req:method() == "HEAD")
end

--- May this request go on? Everything but probes needs the token, if there is one.
-- @tparam table own settings from sluice.admin.settings
-- @param req a request handle
function guard.has_token(own, req)
  if not own.token or is_probe(req) then
    return true
  end
  local scheme, token = (req:header("authorization") or ""):match("^(%a+) +(%S+)%s*$")
  return scheme ~= nil and scheme:lower() == "bearer" and sluice.crypto.equal(token, own.token)
end

return guard
