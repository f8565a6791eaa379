-- W2: a map that was only read never let go of what had died, nor of the memory around it.
local weakmap = require "lethe.weakmap"

describe("W2: a map that is only read", function()
  it("keeps neither entries nor the bytes of their values", function()
    local map = weakmap.new()
    collectgarbage()
    collectgarbage("stop")
    finally(function() collectgarbage("restart") end)
    local before = collectgarbage("count")
    for i = 1, 8 do map:insert(i, { ("x"):rep((64 << 10) + i) }) end
    assert.is_true(collectgarbage("count") - before > 8 * 64)
    for i = 1, 80000 do map:get(i % 8 + 1) end
    collectgarbage()
    for i = 1, 8 do assert.is_nil(map:get(i)) end
    assert.are.equal(0, map:raw_len())
    collectgarbage()
    assert.is_true(collectgarbage("count") - before < 8)
  end)
end)
