-- Spec bodies run outside any task; a call that waits turns the loop.
local loop = require "lethe.loop"
it("is in no task", function()
  assert.is_true(select(2, coroutine.running()))
  assert.is_false(coroutine.isyieldable())
end)
it("waits", function()
  local default = loop.default()
  assert.is_true(default:sleep(0.001))
  assert.are.equal("done", default:spawn(function() return "done" end):join())
end)
