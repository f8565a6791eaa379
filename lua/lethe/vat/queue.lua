-- A list that is filled at one end and emptied at the other: messages and notifications wait in
-- one, first come, first served.

local M = {}

---@class lethe.vat.Queue
local Queue = {}
Queue.__index = Queue

---@return lethe.vat.Queue
function M.new()
  return setmetatable({ head = 1, tail = 0 }, Queue)
end

---@param item any
function Queue:push(item)
  self[self.tail + 1] = item -- or there is no memory for it, and nothing has changed
  self.tail = self.tail + 1
end

--- What came first; nil when nothing waits.
---@return any
function Queue:pop()
  local head = self.head
  if head > self.tail then return nil end
  local item = self[head]
  self[head] = nil
  self.head = head + 1
  return item
end

---@return integer
function Queue:__len()
  return self.tail - self.head + 1
end

--- Every item, first come first.
---@return fun(): any
function Queue:items()
  local i = self.head - 1
  return function()
    i = i + 1
    return self[i]
  end
end

return M
