-- P14: a flush of n entries was polled n^2 / 2 times, and had all its writes under way at once.
local caches = require "spec.support.caches"
local scenario = require("lethe.spec").scenario

describe("P14: a flush of many", function()
  it("has so many writes under way and no more, and writes each once", scenario(function(s)
    local now, most, total = 0, 0, 0
    local backend = { load = function() end }
    function backend.flush()
      now, total = now + 1, total + 1
      most = math.max(most, now)
      s.loop:sleep(0.001)
      now = now - 1
    end
    local c = s:cache{ backend = backend, limit = 400, write_depth = 8 }
    caches.start(s.loop, function()
      for k = 1, 400 do
        c:insert(k, k)
      end
    end)
    local out = caches.start(s.loop, function() return c:flush() end)
    s:advance(1)
    assert.are.same({ true, 8, 400 }, { out[1], most, total })
  end))
end)
