-- W4: a map equalled every map that had its entries and more, so an empty one equalled all.
local weakmap = require "lethe.weakmap"
local chance = require "spec.support.chance"

describe("W4: equality", function()
  local function agree(a, b, expected)
    return (a == b) == expected and (b == a) == expected
  end

  it("is symmetric, and looks at live entries alone", function()
    local random = chance.below(1)
    local values = {}
    for i = 0, 2 do values[i] = {} end
    for _ = 1, 200 do
      local a = weakmap.new{ ordered = random(2) == 0 }
      local b = weakmap.new{ ordered = random(2) == 0 }
      local x, y = {}, {}
      for _ = 1, random(4) do
        local k, v = random(3), random(3)
        x[k] = v
        a:insert(k, values[v])
      end
      for _ = 1, random(4) do
        local k, v = random(3), random(3)
        y[k] = v
        b:insert(k, values[v])
      end
      for i = 1, random(3) do (random(2) == 0 and a or b):insert(100 + i, {}) end
      local same = true
      for k = 0, 2 do same = same and x[k] == y[k] end
      collectgarbage()
      assert.is_true(agree(a, b, same))
    end
  end)

  it("tells an empty map from others", function()
    local a, b = weakmap.new(), weakmap.new()
    b:insert(1, a)
    assert.is_true(agree(a, b, false))
    assert.is_true(agree(a, weakmap.new{ ordered = false }, true))
  end)
end)
