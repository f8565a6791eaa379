-- P13: a victim was found by looking at every entry. What a miss costs is measured by
-- spec/bench/cache.c, and spec/c/test_cache.c counts what it asks of its policy; here, that many
-- misses are many evictions.
local scenario = require("lethe.spec").scenario

describe("P13: a miss", function()
  it("makes one entry leave, however many there are", scenario(function(s)
    for _, limit in ipairs{ 10, 10000 } do
      local c = s:cache{ backend = { load = function(_, k) return k end }, limit = limit }
      for k = 1, limit + 500 do
        c:get(k)
      end
      assert.are.same({ 500, limit }, { c:stats().evictions, c:len() })
      assert.are.same({ false, true }, { c:contains(500), c:contains(501) })
    end
  end))
end)
