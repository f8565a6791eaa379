-- W1: a write cost what the map was long, for every thousandth write swept it all. Here a sweep
-- waits for as many mutations as there are entries, and looks at nothing unless a collection has
-- been since; what an insert moves in the index is bounded in spec/c/test_weakmap_model.c.
local weakmap = require "lethe.weakmap"

describe("W1: a write to a long map", function()
  it("sweeps no more often than the map is long", function()
    local map, held = weakmap.new(), {}
    for i = 1, 5000 do
      held[i] = {}
      map:insert(i, held[i])
    end
    local sweeps, before = 0, map:ops()
    for i = 1, 10000 do
      map:insert(i % 5000 + 1, held[i % 5000 + 1])
      if map:ops() < before then sweeps = sweeps + 1 end
      before = map:ops()
    end
    assert.are.equal(2, sweeps)
  end)
end)
