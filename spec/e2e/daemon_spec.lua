local dkjson = require "dkjson"
local http = require "support.http"
local process = require "support.process"
local sluice = require "support.sluice"

local here = io.popen("pwd"):read("*l")
local binary = sluice.binary:sub(1, 1) == "/" and sluice.binary or here .. "/" .. sluice.binary

local function output_of(command)
  local pipe = io.popen(command)
  local text = pipe:read("*a")
  pipe:close()
  return text
end

local function said(child, stream)
  return (child:text(stream):gsub("^\n$", ""))
end

--- Runs to the end in a folder of its own: code, stdout, stderr.
local function run_in(folder, argv)
  local child = process.start {
    "sh", "-c", 'cd "$0" && exec "$@"', folder, unpack(argv),
  }
  local code = child:wait(sluice.patience)
  return code, said(child, "stdout"), said(child, "stderr")
end

local function command(deed, ...)
  return { binary, "run", here .. "/spec/fixtures/daemon.lua", "--workers", "1", deed, ... }
end

local function lines_of(path)
  local lines = {}
  for line in io.lines(path) do
    lines[#lines + 1] = assert(dkjson.decode(line), line)
  end
  return lines
end

--- Waits for what the pattern finds in the log.
local function logged(path, pattern)
  local deadline = process.now() + sluice.patience
  while process.now() < deadline do
    local file = io.open(path)
    local found = file and file:read("*a"):match(pattern)
    if file then
      file:close()
    end
    if found then
      return found
    end
  end
  error("not in the log: " .. pattern)
end

describe("sluice run --daemon", function()
  local folder

  before_each(function()
    folder = output_of("mktemp -d"):match("[^\n]+")
  end)

  after_each(function()
    os.execute("rm -rf " .. folder)
  end)

  it("detaches once, under a subreaper too, and says its process id when it serves", function()
    local port = http.free_port()
    local reaper = process.start({ "sh", "-c", 'cd "$0" && exec "$@"', folder, "python3",
      here .. "/spec/support/subreaper.py", unpack(command("serve", tostring(port), "--daemon")) })
    local pid = reaper:wait_for("stdout", "^(%d+)$", sluice.patience)
    reaper:wait_for("stdout", "^ended 0$", sluice.patience)
    assert.equal(pid, reaper:wait_for("stdout", "^inherited (%d+)$", sluice.patience))
    assert.equal(200, http.request({ port = port }).status)

    local status = output_of(("ps -o sid=,tty= -p %s; ls -l /proc/%s/fd /proc/$(pgrep -P %s)/fd")
      :format(pid, pid, pid))
    assert.matches("^%s*" .. pid .. "%s+%?\n", status)
    for fd = 0, 2 do
      local _, n = status:gsub(" " .. fd .. " %-> /dev/null\n", "")
      assert.equal(2, n, status)
    end
    os.execute("kill " .. pid)
    reaper:wait_for("stdout", "^gone " .. pid .. " 0$", sluice.patience)
    assert.equal(0, reaper:wait(sluice.patience))
    local _, n = reaper:text("stdout"):gsub("inherited", "")
    assert.equal(1, n) -- a second fork would have left another one behind

    local log = lines_of(folder .. "/logs/core.log")
    assert.equal("serving", log[1].msg)
    assert.equal("ready", log[2].msg)
  end)

  for _, supervision in ipairs { "--workers=1", "--no-supervisor" } do
    it("says why it does not start: " .. supervision, function()
      local code, out, err = run_in(folder, command("refuse", "--daemon", supervision))
      assert.equal(1, code)
      assert.equal("", out)
      assert.matches("error something is wrong  with=\"this\"\n", err)
      assert.matches("error so I will not start\n", err)
      assert.matches("it ended before it was ready; the log is in logs/core.log\n$", err)
      local log = lines_of(folder .. "/logs/core.log")
      assert.equal("so I will not start", log[#log].msg)
    end)
  end

  it("says so when it is killed before it is ready", function()
    local code, out, err = run_in(folder, command("crash", "--daemon"))
    assert.equal(128 + 9, code)
    assert.equal("", out)
    assert.matches("it ended before it was ready", err)
  end)

  it("does not check a script in the background", function()
    local code, out = run_in(folder, command("refuse", "--daemon", "--check"))
    assert.equal(0, code)
    assert.equal("", out)
    assert.equal("", output_of("ls " .. folder))
  end)
end)

describe("the log file", function()
  local folder

  before_each(function()
    folder = output_of("mktemp -d"):match("[^\n]+")
  end)

  after_each(function()
    os.execute("rm -rf " .. folder)
  end)

  it("stays within its limit, with the ones before it", function()
    local path = folder .. "/a/b/proxy.log"
    assert.equal(0, (run_in(folder, command("flood", "--log-file", path, "--log-max-mb", "1"))))
    assert.is_true(tonumber(output_of("cat " .. folder .. "/a/b/* | wc -c")) <= 1024 * 1024)
    local newest, names = 0, {}
    for name in output_of("ls " .. folder .. "/a/b"):gmatch("[^\n]+") do
      names[#names + 1] = name
      for _, line in ipairs(lines_of(folder .. "/a/b/" .. name)) do
        newest = math.max(newest, line.n or 0)
      end
    end
    assert.equal(1000, newest)
    assert.is_true(#names > 3)
    table.remove(names)
    for _, name in ipairs(names) do
      assert.matches("^proxy%-%d%d%d%d%-%d%d%-%d%dT%d%d%-%d%d%-%d%d%.%d%d%d%.log$", name)
    end
  end)

  it("is for people when it is told so", function()
    local path = folder .. "/proxy.log"
    run_in(folder, command("refuse", "--log-file=" .. path, "--log-format", "human"))
    assert.matches('^%d%d:%d%d:%d%d error something is wrong  with="this"\n', sluice.read(path))
  end)

  it("is that of the supervisor, too, and stderr stays empty", function()
    local path = folder .. "/proxy.log"
    local child = process.start(command("serve", tostring(http.free_port()), "--log-file", path))
    local pid = logged(path, '"msg":"ready"[^\n]-"pid":(%d+)')
    os.execute("kill -9 " .. pid)
    assert.equal(pid, logged(path, '"msg":"the runtime was killed[^\n]-"pid":(%d+)'))
    assert.equal(0, child:stop())
    assert.equal("", said(child, "stderr"))
  end)

  it("is one clear line and exit code 1 when it cannot be", function()
    local file = folder .. "/file"
    sluice.write(file, "")
    local no_folder = "cannot make the folder of the log %s: %s"
    for path, why in pairs {
      ["/proc/no/such.log"] = no_folder:format("/proc/no/such.log", "No such file or directory"),
      [file .. "/core.log"] = no_folder:format(file .. "/core.log", "Not a directory"),
      [folder] = "cannot open the log " .. folder .. ": Is a directory",
    } do
      for _, more in ipairs { "--daemon", "--workers=1" } do
        local code, out, err = run_in(folder, command("serve", "0", "--log-file", path, more))
        assert.same({ 1, "", "sluice: " .. why .. "\n" }, { code, out, err })
      end
    end
  end)

  it("is one clear line and exit code 1 when the disk is full", function()
    local unshare = output_of("unshare -m true 2>&1") == "" and "-m" or "-rm"
    local code, out, err = run_in(folder, { "unshare", unshare, "sh", "-c",
      'mount -t tmpfs -o size=64k none . && cd "$PWD" && '
        .. '{ dd if=/dev/zero of=full bs=4k count=100 2>/dev/null; exec "$@"; }',
      "sh", unpack(command("serve", "0", "--daemon")) })
    assert.same({ 1, "", "sluice: cannot write the log logs/core.log: No space left on device\n" },
      { code, out, err })
  end)

  it("is named by a path, and its limit by a number", function()
    for argument, why in pairs {
      ["--log-file="] = "--log-file: a path is missing",
      ["--log-max-mb=0"] = "--log-max-mb: 0 is not a number from 1 to 1000000",
      ["--log-max-mb=lots"] = "--log-max-mb: lots is not a number from 1 to 1000000",
    } do
      local code, _, err = run_in(folder, command("serve", argument))
      assert.equal(2, code)
      assert.equal("sluice: " .. why, err:match("[^\n]+"))
    end
  end)
end)
