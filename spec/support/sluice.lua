--- The real program for end-to-end specs.
--
--   local program = sluice.start { script = "scripts/coretraffic.lua", env = { … } }
--   …
--   program:stop()

local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"

local sluice = {}

--- The built program; `cmake/run-spec` says where it is.
sluice.binary = os.getenv("SLUICE_BIN") or "build/release/sluice"

--- A sanitized program, or one under valgrind, takes its time.
sluice.patience = (os.getenv("SLUICE_FLAVOUR") or ""):find("san") and 60 or 20

--- Runs to the end: code, stdout, stderr.
function sluice.run(arguments, env)
  local child = process.start({ sluice.binary, unpack(arguments) }, env)
  local code = child:wait(sluice.patience)
  return code, child:text("stdout"), child:text("stderr")
end

local function command_line(options)
  local argv = { unpack(options.prefix or {}) }
  local args = options.config and { dkjson.encode(options.config) } or options.args or {}
  for _, word in ipairs { sluice.binary, "run", options.script or "spec/fixtures/routes.lua",
    "--workers", tostring(options.workers or 2), unpack(args) } do
    table.insert(argv, word)
  end
  return argv
end

--- Starts `sluice run` and waits until it is ready.
-- @tparam table options script, args, env, workers; or `config` with `routes` and `limits`, which
-- needs no script; `prefix`: words in front of the command
function sluice.start(options)
  local argv = command_line(options)
  local child = process.start(argv, options.env)
  local ok, err = pcall(child.wait_for, child, "stderr", '"msg":"ready"', sluice.patience)
  if not ok then
    pcall(child.stop, child)
    error(err, 2)
  end
  return child
end

--- A route from a port to one of this machine; `changes` replaces its keys.
function sluice.route(name, port, target_port, changes)
  local route = {
    name = name,
    match = { ports = port },
    action = { type = "forward", targets = { { host = "127.0.0.1", port = target_port } } },
  }
  for key, value in pairs(changes or {}) do
    route[key] = value
  end
  return route
end

--- Starts an origin that says what it was asked; its port. With a certificate it speaks TLS.
function sluice.origin(name, certificate)
  local argv, files = { "python3", "spec/support/origin.py", name or "origin" }, {}
  for i, part in ipairs { "cert", "key" } do
    if certificate then
      files[i] = os.tmpname()
      sluice.write(files[i], certificate[part])
      table.insert(argv, files[i])
    end
  end
  local child = process.start(argv)
  local port = tonumber(child:wait_for("stdout", "^(%d+)$", sluice.patience))
  for _, file in ipairs(files) do
    os.remove(file)
  end
  return child, port
end

--- Waits for the next line of the log with this message, and returns its fields.
function sluice.logged(program, message)
  return (dkjson.decode(program:wait_for("stderr",
    '^.*"msg":"' .. message:gsub("%p", "%%%0") .. '".*$', sluice.patience)))
end

--- The process id of the runtime, which is a child of what was started.
function sluice.runtime_of(program)
  return tonumber(program:text("stderr"):match('"msg":"ready"[^\n]-"pid":(%d+)'))
end

--- Memory of the runtime in MiB. A sanitizer keeps what was freed: there it says nothing.
function sluice.memory_mib(program)
  local status = sluice.read(("/proc/%d/status"):format(sluice.runtime_of(program)))
  return tonumber(status:match("VmRSS:%s*(%d+)")) / 1024
end

--- Whether the program is built with a sanitizer.
sluice.is_sanitized = (os.getenv("SLUICE_FLAVOUR") or ""):find("san") ~= nil

local self_signed

--- A certificate and its key as PEM text, made once for each run of a spec.
function sluice.certificate(name)
  self_signed = self_signed or {}
  if not self_signed[name] then
    local folder = os.tmpname()
    local command = ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
      .. "-days 30 -subj /CN=%s -addext subjectAltName=DNS:%s -keyout %s.key -out %s.crt "
      .. "2>/dev/null"):format(name, name, folder, folder)
    assert(os.execute(command))
    self_signed[name] = {
      cert = sluice.read(folder .. ".crt"),
      key = sluice.read(folder .. ".key"),
    }
    os.remove(folder)
    os.remove(folder .. ".crt")
    os.remove(folder .. ".key")
  end
  return self_signed[name]
end

function sluice.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

function sluice.write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
end

sluice.free_port = http.free_port

return sluice
