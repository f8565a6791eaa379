-- W6: an insert over a dead entry kept the dead one's key, unless a sweep had been between: two
-- runs of one program differed. Here a dead entry is as good as none, and a living one's key goes
-- too.
local weakmap = require "lethe.weakmap"

describe("W6: an insert with an equal key", function()
  local function kind(map)
    return math.type((map:keys()[1]))
  end

  it("brings its own key, whether what was there is alive, dead or swept", function()
    for _, ordered in ipairs{ true, false } do
      for _, before in ipairs{ "alive", "dead", "looked at", "swept" } do
        local map, live = weakmap.new{ ordered = ordered }, {}
        map:insert(1, before == "alive" and live or {})
        if before ~= "alive" then collectgarbage() end
        if before == "looked at" then assert.are.equal(0, #map) end
        if before == "swept" then map:cleanup() end
        map:insert(1.0, live)
        assert.are.same({ "float", 1 }, { kind(map), #map })
      end
    end
  end)
end)
