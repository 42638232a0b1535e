--- The command `sluice token`: makes and reads connection tokens. Run as a script whose check() is
-- the command; see src/app/command.h.

local sluice = require "sluice"
local options = require "sluice.options"
local suggest = require "sluice.suggest"
local token = require "sluice.token"

local command = {}

local usage = "say encode --hub-host HOST --edge-id ID --secret SECRET [--hub-port PORT] "
  .. "[--fingerprint HEX], or decode TOKEN"

-- A secret on the command line can be seen by everybody on the machine: it may be in a variable.
local rows = {
  { name = "host", option = "--hub-host", variable = "EDGE_HUB_HOST", read = options.text },
  { name = "port", option = "--hub-port", variable = "EDGE_HUB_PORT", read = options.port,
    otherwise = "8443" },
  { name = "id", option = "--edge-id", variable = "EDGE_ID", read = options.text },
  { name = "secret", option = "--secret", variable = "EDGE_SECRET", read = options.text },
  { name = "fingerprint", option = "--fingerprint", variable = "EDGE_FINGERPRINT",
    read = token.fingerprint },
}

local known = {}
for _, row in ipairs(rows) do
  known[row.option] = true
end

-- Words that are neither an option nor the value of one.
local function check_words(args)
  local i = 2
  while args[i] do
    local name, rest = args[i]:match("^(%-%-[%w-]+)(.*)$")
    if not known[name] then
      return nil, ("unknown option %s%s"):format(args[i], suggest.hint(name or "", known))
    end
    i = i + (rest == "" and 2 or 1)
  end
  return true
end

local commands = {}

function commands.encode(args)
  local ok, err = check_words(args)
  if not ok then
    return nil, err
  end
  local hub
  hub, err = options.read(rows, sluice.env, args)
  if not hub then
    return nil, err
  end
  for _, row in ipairs(rows) do
    if not hub[row.name] and row.name ~= "fingerprint" then
      return nil, ("%s is missing"):format(row.option)
    end
  end
  local text
  text, err = token.try_encode(hub)
  if not text then
    return nil, err
  end
  sluice.print(text)
  return true
end

function commands.decode(args)
  local text = args[2] or sluice.env("EDGE_TOKEN")
  if not text then
    return nil, "decode: a token is missing"
  end
  local hub, err = token.decode(text)
  if not hub then
    return nil, err
  end
  local quoted = sluice.json.encode
  local shown = ('{"hubHost":%s,"hubPort":%d,"edgeId":%s,"secret":%s'):format(quoted(hub.host),
    hub.port, quoted(hub.id), quoted(hub.secret))
  local pin = hub.fingerprint and sluice.crypto.unbase64url(hub.fingerprint)
  if pin then
    shown = ('%s,"fingerprint":"%s"'):format(shown, sluice.crypto.hex(pin))
  end
  sluice.print(shown .. "}")
  return true
end

function command.check()
  local run = commands[sluice.args[1] or ""]
  if not run then
    return nil, usage
  end
  return run(sluice.args)
end

return command
