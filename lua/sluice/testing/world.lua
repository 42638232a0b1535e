--- Everything that the fake core remembers: what a spec sets up before, and looks at after.

local scheduler = require "sluice.testing.scheduler"

local world = { args = {} }

--- Back to an empty world at time zero.
function world.reset()
  world.scheduler = scheduler.new()
  world.fakes = {}     -- functions of the core that a spec replaced, by dotted name
  world.env = {}       -- environment variables
  world.files = {}     -- path to content
  world.shared = {}    -- dictionaries by name
  world.topics = {}    -- the set of subscriptions; see lua/sluice/testing/bus.lua
  world.redis = {}     -- servers by "host:port"; see lua/sluice/testing/redis.lua
  world.servers = {}   -- what sluice.serve and sluice.tcp.listen made, by "host:port"
  world.sockets = {}   -- of sluice.udp.bind, by port; see lua/sluice/testing/udp.lua
  world.programs = {}  -- what sluice.exec runs, by name: function(argv, options)
  world.websockets = {} -- who answers sluice.websocket.connect, by URL: function(peer, options)
  world.edges = {}     -- by name; see lua/sluice/testing/tunnel.lua
  world.hubs = {}      -- by name
  world.offers = {}    -- paths at which somebody offers a takeover
  world.offered = nil  -- the path of sluice.takeover.offer
  world.taken = nil    -- the path of sluice.takeover.from, until done()
  world.logged = {}    -- { level, message, fields }
  world.printed = {}   -- lines of sluice.print
  world.settings = nil -- the last of core.settings
  world.published = {} -- every { specs, policy } of core.publish
  world.stats = {}
  world.exit_code = nil
  world.worker = nil
  for i = #world.args, 1, -1 do
    world.args[i] = nil -- the same table: `sluice.args` holds it
  end
end

--- A port that nothing else in this world has.
function world.free_port()
  world.last_port = (world.last_port or 40000) + 1
  return world.last_port
end

world.reset()

return world
