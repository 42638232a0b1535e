--- The settings of a core-server: its command line, else the environment, else what the original
-- had. docs/core-server.md lists them.

local options = require "sluice.options"
local state = require "sluice.coreserver.state"
local suggest = require "sluice.suggest"

local settings = {}

local modes = { ["local"] = true, release = true }

local function mode(text)
  if not modes[text] then
    return nil, "must be local or release"
  end
  return text
end

local challenges = { ["tls-alpn-01"] = true, ["http-01"] = true }

local function challenge_list(text)
  local list = {}
  for word in text:gmatch("[^%s,]+") do
    if not challenges[word] then
      return nil, "must be tls-alpn-01, http-01, or both"
    end
    table.insert(list, word)
  end
  return list[1] and list, not list[1] and "is empty" or nil
end

local rows = {
  { name = "mode", variable = "CORE_SERVER_MODE", option = "--mode", read = mode,
    otherwise = "local" },
  { name = "http_port", variable = "CORE_SERVER_HTTP_PORT", option = "--http-port",
    read = options.port, otherwise = "80" },
  { name = "https_port", variable = "CORE_SERVER_HTTPS_PORT", option = "--https-port",
    read = options.port, otherwise = "443" },
  { name = "command_port", variable = "CORE_SERVER_COMMAND_PORT", option = "--command-port",
    read = options.port, otherwise = "40608" },
  { name = "udp", variable = "CORE_SERVER_UDP", read = options.boolean, otherwise = "on" },
  { name = "folder", variable = "CORE_SERVER_STATE_DIR", option = "--state-dir",
    read = options.text },
  { name = "certs", variable = "CORE_SERVER_CERTS", option = "--certs", read = options.text },
  { name = "mkcert", variable = "CORE_SERVER_MKCERT", read = options.text, otherwise = "mkcert" },
  { name = "any_name", variable = "CORE_SERVER_ANY_NAME", read = options.boolean,
    otherwise = "off" },
  { name = "acme_directory", variable = "CORE_SERVER_ACME_DIRECTORY", read = options.text },
  { name = "acme_email", variable = "CORE_SERVER_ACME_EMAIL", read = options.text },
  { name = "acme_ca_file", variable = "CORE_SERVER_ACME_CA_FILE", read = options.text },
  { name = "acme_challenges", variable = "CORE_SERVER_ACME_CHALLENGES", read = challenge_list },
  { name = "acme_eab_kid", variable = "CORE_SERVER_ACME_EAB_KID", read = options.text },
  { name = "acme_eab_key", variable = "CORE_SERVER_ACME_EAB_KEY", read = options.text },
}

local release = "--release"

local known = { [release] = "flag", ["--check"] = "flag" }
for _, row in ipairs(rows) do
  known[row.option or release] = known[row.option or release] or "option"
end

-- A mode that is not meant must not come from a word that is misspelt. True for `--release`.
local function read_words(args)
  local is_release, i = false, 1
  while args[i] do
    local name = args[i]:match("^(%-%-[^=]+)=") or args[i]
    if not known[name] or (known[name] == "flag" and name ~= args[i]) then
      return nil, ("%s: unknown option%s"):format(args[i], suggest.hint(name, known))
    end
    is_release = is_release or name == release
    i = i + (known[name] == "option" and name == args[i] and 2 or 1)
  end
  return true, is_release
end

-- Local certificates lie where the original is started, those of a CA where its cache is.
local function default_certs(result, env)
  if not result.is_release then
    return "certs"
  end
  local home = env "HOME"
  return home and home ~= "" and home .. "/certs" or "certs"
end

local function check_ports(result)
  if result.http_port == result.https_port then
    return nil, ("port %d cannot serve HTTP and HTTPS: set CORE_SERVER_HTTP_PORT or "
      .. "CORE_SERVER_HTTPS_PORT"):format(result.http_port)
  elseif (result.acme_eab_kid == nil) ~= (result.acme_eab_key == nil) then
    return nil, "CORE_SERVER_ACME_EAB_KID and CORE_SERVER_ACME_EAB_KEY belong together"
  end
  return true
end

--- @tparam function env name to value or nil
-- @tparam table args the words of the command line
-- @treturn ?table
-- @treturn ?string what is wrong
function settings.read(env, args)
  local ok, is_release = read_words(args)
  if not ok then
    return nil, is_release
  end
  local result, err = options.read(rows, env, args)
  if not result then
    return nil, err
  end
  result.mode = is_release and "release" or result.mode
  result.is_release = result.mode == "release"
  result.folder = result.folder or state.folder(env)
  result.certs = result.certs or default_certs(result, env)
  ok, err = check_ports(result)
  return ok and result, err
end

-- As patient with services as the original, which waits for ever: people stop them in a debugger,
-- and events that are streamed may be rare.
local hour = 3600000

--- The limits of the script. The address is read here, since it is a limit, too.
-- @tparam function env name to value or nil
function settings.limits(env)
  return {
    response_timeout = hour, response_body_timeout = hour,
    bind_address = options.trimmed(env "CORE_SERVER_BIND_ADDRESS"),
  }
end

return settings
