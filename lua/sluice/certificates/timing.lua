--- When a certificate is to be renewed. Pure, but for the dice.

local sluice = require "sluice"

local timing = {}

--- How long it is valid in all, in seconds.
function timing.life(certificate)
  return certificate.not_after - certificate.not_before
end

--- When a third of its life is left, a little earlier by chance, so that a fleet does not come all
-- at once.
-- @tparam table certificate of sluice.crypto.certificate
-- @tparam[opt] number before seconds before its end; never more than half of its life
-- @treturn number seconds since 1970
function timing.renew_at(certificate, before)
  local life = timing.life(certificate)
  local left = before and math.min(before, life / 2) or life / 3
  return certificate.not_after - left - life / 50 * sluice.crypto.random(1):byte() / 255
end

--- Takes what the CA says (RFC 9773). A moment is picked once for each window; a tenth of the life
-- stays for tries, whatever the window is.
-- @tparam table state `certificate`, `renew_at`, `window`
-- @tparam table said of an issuer's renewal()
function timing.take_window(state, said)
  if state.window and state.window.from == said.from and state.window.to == said.to then
    return
  end
  state.window = said
  local latest = state.certificate.not_after - timing.life(state.certificate) / 10
  state.renew_at = math.min(said.at, latest)
end

return timing
