-- W7: nobody was told of a death, and a value that owned its key never died.
local loop = require "lethe.loop"
local weakmap = require "lethe.weakmap"

describe("W7: what dies", function()
  it("is told", function()
    local told = {}
    local map = weakmap.new{ on_dead = function(k) told[#told + 1] = k end }
    map:insert("k", {})
    collectgarbage()
    loop.default():step()
    assert.are.same({ "k" }, told)
  end)

  it("dies though its value owns it, whatever the key is", function()
    local e = weakmap.ephemeron()
    do
      local kept = {} -- no collection takes any before all are counted
      for i, make in ipairs{ weakmap.new, function() return {} end, function()
        return coroutine.create(print)
      end } do
        kept[i] = make()
        e:set(kept[i], { owner = kept[i] })
      end
      assert.are.equal(3, #e)
    end
    collectgarbage()
    assert.are.equal(0, #e)
  end)

  it("dies though it owns the map that it is in", function()
    local gone = setmetatable({}, { __mode = "v" })
    do
      local map = weakmap.new()
      gone[1] = { map = map }
      map:insert(1, gone[1])
    end
    collectgarbage()
    assert.is_nil(gone[1])
  end)
end)
