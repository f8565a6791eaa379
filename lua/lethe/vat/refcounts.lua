-- What the kernel knows of objects and promises, and how many hold them (R71).
--
-- An object has an owner, the vat that exported it, and two counts: *reachable*, of vats that hold
-- it and messages, queues and resolutions that carry it, and *recognizable*, of these and of vats
-- that have dropped it and would know it again. So recognizable >= reachable. The owner's own
-- c-list does not count. A promise has one count, of everything that names it.
--
-- A name whose count has fallen is looked at once the crank is over: `take_touched` lists them. An
-- object without an owner (its vat has ended, or has retired it) keeps its record until no c-list
-- and no queue names it.

local order = require "lethe.vat.order"

local M = {}

---@class lethe.vat.Refcounts
---@field objects table<string, { owner: string?, reachable: integer, recognizable: integer }>
---@field promises table<string, table>
local Refcounts = {}
Refcounts.__index = Refcounts

---@return lethe.vat.Refcounts
function M.new()
  return setmetatable({
    objects = {}, promises = {}, touched = {}, next = { o = 1, p = 1 },
    live = { o = 0, p = 0 }, -- how many there are
  }, Refcounts)
end

-- Enters a record under the next name; without memory for it nothing has changed.
local function enter(self, kind, records, record)
  local n = self.next[kind]
  local kref = ("k%s%d"):format(kind, n)
  self.touched[kref] = true
  record.kref = kref
  records[kref] = record
  self.next[kind] = n + 1
  self.live[kind] = self.live[kind] + 1
  return kref
end

--- A new object of this vat, which nobody else holds.
---@param owner string
---@return string kref
function Refcounts:new_object(owner)
  return enter(self, "o", self.objects, {
    kref = "", owner = owner, reachable = 0, recognizable = 0,
  })
end

--- A new promise, unresolved.
---@param decider string? the vat that is to settle it; nil: the kernel, until it has a receiver
---@return string kref
function Refcounts:new_promise(decider)
  return enter(self, "p", self.promises, {
    kref = "", refs = 0, state = "pending", decider = decider, subscribers = {}, queue = {},
    args = nil,
    waits = nil, -- it is the result of a message in this promise's queue
  })
end

--- One more that holds it.
---@param kref string
function Refcounts:add(kref)
  local object = self.objects[kref]
  if object then
    object.reachable = object.reachable + 1
    object.recognizable = object.recognizable + 1
  else
    local promise = self.promises[kref]
    promise.refs = promise.refs + 1
  end
end

--- One fewer that holds it.
---@param kref string
function Refcounts:sub(kref)
  local object = self.objects[kref]
  self.touched[kref] = true
  if object then
    object.reachable = object.reachable - 1
    object.recognizable = object.recognizable - 1
  else
    local promise = self.promises[kref]
    promise.refs = promise.refs - 1
  end
end

--- Adds to the counts of an object alone, which may have gone.
---@param kref string
---@param reachable integer
---@param recognizable integer
function Refcounts:change(kref, reachable, recognizable)
  local object = self.objects[kref]
  if not object then return end
  object.reachable = object.reachable + reachable
  object.recognizable = object.recognizable + recognizable
  self.touched[kref] = true
end

---@param slots string[]
function Refcounts:add_all(slots)
  for _, kref in ipairs(slots) do
    self:add(kref)
  end
end

---@param slots string[]
function Refcounts:sub_all(slots)
  for _, kref in ipairs(slots) do
    self:sub(kref)
  end
end

--- An object or a promise is no more.
---@param kref string
function Refcounts:delete(kref)
  local kind = self.objects[kref] and "o" or "p"
  self.live[kind] = self.live[kind] - 1
  self.objects[kref] = nil
  self.promises[kref] = nil
end

--- What has changed since it was last asked, sorted; nil for nothing.
---@return string[]?
function Refcounts:take_touched()
  local touched = self.touched
  if next(touched) == nil then return nil end
  self.touched = {}
  return order.keys(touched)
end

return M
