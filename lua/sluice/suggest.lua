--- The nearest known name for a misspelt one, for error sentences.

local suggest = {}

local longest = 64 -- of the names compared; what a stranger sends may be of any length

-- The Levenshtein distance, one row at a time.
local function distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(above + 1, row[j - 1] + 1, diagonal + cost)
      diagonal = above
    end
  end
  return row[#b]
end

--- The key of `known` that is nearest to `name`, or nil when none is near.
-- @tparam string name
-- @tparam table known a table whose keys are the known names
-- @treturn ?string
function suggest.nearest(name, known)
  if type(name) ~= "string" or #name > longest then
    return nil
  end
  local lower, best = name:lower(), nil
  local best_distance = (#name <= 3 and 1 or math.max(2, math.floor(#name / 3))) + 1
  for candidate in pairs(known) do
    local d = type(candidate) == "string" and distance(lower, candidate:lower()) or best_distance
    if d < best_distance or (d == best_distance and best and candidate < best) then
      best, best_distance = candidate, d
    end
  end
  return best
end

--- The end of a sentence about an unknown name: ` (did you mean "x"?)`, or nothing.
-- @tparam string name
-- @tparam table known
-- @treturn string
-- @usage error("unknown key " .. name .. suggest.hint(name, known))
function suggest.hint(name, known)
  local near = suggest.nearest(name, known)
  return near and (' (did you mean "%s"?)'):format(near) or ""
end

return suggest
