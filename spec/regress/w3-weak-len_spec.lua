-- W3: asking for the length walked the map, and made the next write sweep it.
local weakmap = require "lethe.weakmap"

describe("W3: the length", function()
  it("is exact and leaves no trace", function()
    local map, held = weakmap.new{ ops_threshold = 50 }, {}
    for i = 1, 40 do
      held[i] = {}
      map:insert(i, held[i])
    end
    for i = 1, 40 do
      assert.are.equal(41 - i, #map)
      assert.are.equal(40, map:ops())
      held[i] = nil
      collectgarbage()
    end
    assert.are.equal(0, #map)
    assert.are.equal(40, map:ops())
  end)
end)
