--- The names that a core-server knows, in the order in which they came. Pure.

local registry = {}
registry.__index = registry

--- @tparam[opt] table list of `domain` and `port`, each name once
function registry.new(list)
  local self = setmetatable({ _list = {}, _by_domain = {} }, registry)
  for _, entry in ipairs(list or {}) do
    self:add(entry.domain, entry.port)
  end
  return self
end

--- Adds a name, or gives one that is there another port; it keeps its place then.
-- @treturn boolean whether anything is different now
function registry:add(domain, port)
  local before = self._by_domain[domain]
  if before and before.port == port then
    return false
  end
  local entry = { domain = domain, port = port }
  self._by_domain[domain] = entry
  if not before then
    table.insert(self._list, entry)
    return true
  end
  for i, other in ipairs(self._list) do
    if other == before then
      self._list[i] = entry -- entries never change: whoever holds one compares by identity
    end
  end
  return true
end

--- @treturn boolean whether it was there
function registry:remove(domain)
  local before = self._by_domain[domain]
  if not before then
    return false
  end
  self._by_domain[domain] = nil
  for i, entry in ipairs(self._list) do
    if entry == before then
      table.remove(self._list, i)
      break
    end
  end
  return true
end

--- @treturn ?table the entry, which never changes
function registry:find(domain)
  return self._by_domain[domain]
end

--- The entries in their order. Not to be changed.
function registry:list()
  return self._list
end

return registry
