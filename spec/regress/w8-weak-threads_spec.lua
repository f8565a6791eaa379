-- W8: a map could not be shared by threads. The maps of the C core can (see
-- spec/c/test_mt_weakmap.c); a Lua value belongs to its state, so a map of Lua values stays where
-- it is, and says so.
local weakmap = require "lethe.weakmap"
local worker = require "lethe.worker"

describe("W8: a map of Lua values", function()
  it("is not sent to another thread", function()
    local map = weakmap.new()
    for _, value in ipairs{ map, map:upgrade(), weakmap.ephemeron() } do
      local channel <close> = worker.channel()
      local ok, message = pcall(channel.send, channel, value)
      assert.is_false(ok)
      assert.matches("lethe.weakmap.", message, 1, true)
    end
  end)

  it("may be made in each", function()
    local w = worker.spawn(function()
      local mine = require("lethe.weakmap").new()
      mine:insert(1, {})
      mine:insert(2, mine)
      collectgarbage()
      return #mine
    end)
    assert.are.equal(1, (w:join()))
  end)
end)
