-- A vat in a state of its own under want of memory in the host's: what reaches it is whole, or the
-- kernel says that it was cut off.
package.path = "lua/?.lua;lua/?/init.lua" -- where the vat's state finds its library
local vat = require("lethe").vat
local k = vat.kernel{}
local root = k:vat("v", "return { echo = function(_, x) print(x) return x end }")
begin()

local function work()
  local value = k:await(k:send(root, "echo", { 1, root }))
  assert(not value or value[2] == root)
  k:reap("v")
end

local function check()
  local ok, fine, message = pcall(k.check, k)
  if ok then
    assert(fine, message)
    k:run()
    if not k:stats().ended.v then assert(k:await(k:send(root, "echo", 7)) == 7) end
  else
    assert(fine:find("can only be closed", 1, true), fine)
  end
  k:close()
end

return work, check
