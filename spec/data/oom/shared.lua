-- Shared structures: copies in and out, growth, names, walks.
local epoch = require "lethe.epoch"
local shared = require "lethe.shared"

local manager = assert(epoch.new { max_threads = 4 })
local map = assert(shared.map { epoch = manager, name = "oom" })
local queue = assert(shared.queue { epoch = manager, capacity = 4 })
local stack = assert(shared.stack { epoch = manager })
begin()

local value = { 1, 2, { deep = "x" } }
assert(map:set("table", value))
assert(map:set(1, "one"))
assert(map:add("n", 1))
assert(assert(map:incr("n", 2)) == 3)
assert(map:cas(1, "one", "two"))
for i = 10, 60 do
  assert(map:set(i, i))
end
for k, v in pairs(map) do
  assert(k ~= nil and v ~= nil)
end
assert(map:get("table")[3].deep == "x")
assert(queue:push { 1 })
assert(assert(queue:pop())[1] == 1)
assert(stack:push "s")
assert(assert(stack:pop()) == "s")
assert(assert(assert(shared.open "oom"):get(1)) == "two")
assert(map:delete(1))

return nil, function()
  assert(map:len() == #map)
  local n = 0
  for _ in pairs(map) do
    n = n + 1
  end
  assert(n == map:len())
  assert(queue:push "last" or queue:pop())
  stack:push "last"
  assert(stack:pop() == "last")
  map:close()
  manager:barrier(5)
  manager:close()
end
