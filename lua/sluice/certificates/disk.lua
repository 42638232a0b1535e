--- Certificates in a folder, as Go's autocert keeps them: a file with the name of the domain that
-- holds its key and its chain, and the account under acme_account+key. Files are replaced as a
-- whole, and nobody else may read them.

local sluice = require "sluice"

local disk = {}
disk.__index = disk

local max_file = 1048576
local private = 384 -- 0600

--- @tparam string folder is made when it is not there
function disk.new(folder)
  return setmetatable({ _folder = (folder:gsub("(.)/+$", "%1")) }, disk)
end

--- May several instances use it? A folder has no lock.
function disk.is_shared()
  return false
end

-- Names are host names that were looked at before; whatever else comes leaves the folder alone.
local function path_of(self, name)
  if not name:find("^[%w][%w+_.-]*$") then
    error("a certificate cannot be kept under the name " .. name, 3)
  end
  return self._folder .. "/" .. name
end

--- @treturn ?string the bytes
-- @treturn ?string "not found", or what is wrong
function disk:read(name)
  local text, err = sluice.file.read(path_of(self, name), max_file)
  if not text and err ~= "not found" then
    err = ("%s: %s"):format(path_of(self, name), err)
  end
  return text, err
end

--- @treturn ?boolean
-- @treturn ?string what is wrong
function disk:write(name, bytes)
  local path = path_of(self, name)
  local ok, err = sluice.file.mkdir(self._folder)
  if ok then
    ok, err = sluice.file.write(path, bytes, { mode = private })
  end
  if not ok then
    return nil, ("%s: %s"):format(path, err)
  end
  return true
end

function disk:remove(name)
  return sluice.file.remove(path_of(self, name))
end

local function nothing()
end

--- One at a time may order a name; here the manager takes care of that.
-- @treturn function unlocks
function disk.lock()
  return nothing
end

return disk
