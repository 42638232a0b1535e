--- The fake of sluice.exec: no program runs; a spec says what one would do.
--
--   world.programs.mkcert = function(argv, options)
--     return { status = 0, stdout = "", stderr = "" }
--   end

local world = require "sluice.testing.world"

return function(argv, options)
  local program = world.programs[argv[1]]
  if not program then
    return nil, "not found"
  end
  return program(argv, options or {})
end
