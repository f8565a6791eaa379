-- W5: asking a walk that could change values for its length ended the program. A walk here is a
-- function; how many entries there are the map says, in the midst of any walk.
local weakmap = require "lethe.weakmap"

describe("W5: the length in the midst of a walk", function()
  it("is that of the map at that moment", function()
    local map, held = weakmap.new(), {}
    for i = 1, 30 do
      held[i] = {}
      map:insert(i, held[i])
    end
    local left = 30
    for k in pairs(map) do
      assert.are.same({ left, left }, { #map, #map:values() })
      map:remove(k)
      left = left - 1
    end
    for k in map:range() do error(k) end
    assert.are.equal(0, #map)
  end)
end)
