-- What follows when nobody holds an object or a promise any more (R72).
--
-- At the end of each crank `settle` looks at every name whose count has fallen. A promise that
-- nothing names is forgotten. For an object an action is noted: its owner is to be told that nobody
-- reaches it (dropExports) or knows it (retireExports), or those who knew it that it is gone
-- (retireImports). Actions wait; much may happen before one is delivered, so `next` looks again: an
-- action whose object was exported anew is void, and so is one whose work is done. Vats come in
-- order of their names, then the kinds in the order above, then the krefs, all by bytes.

local order = require "lethe.vat.order"

local M = {}

local KINDS <const> = { "dropExports", "retireExports", "retireImports" }

---@return table actions vat -> kind -> set of krefs
function M.new()
  return {}
end

local function note(k, vat, kind, kref)
  local kinds = k.actions[vat.name] or {}
  k.actions[vat.name] = kinds
  kinds[kind] = kinds[kind] or {}
  kinds[kind][kref] = true
end

--- An object is no more: whoever still knows it will be told.
function M.retire(k, kref)
  for _, vat in ipairs(k.living) do
    local entry = vat.clist.by_kref[kref]
    if entry and not entry.mine then note(k, vat, "retireImports", kref) end
  end
  k.counts:delete(kref)
end

-- Of an object that nobody reaches.
local function unreachable(k, kref, object)
  local owner = object.owner and k.vats[object.owner]
  if not owner then
    M.retire(k, kref)
    return
  end
  if owner.clist.by_kref[kref].reachable then note(k, owner, "dropExports", kref) end
  if object.recognizable == 0 then note(k, owner, "retireExports", kref) end
end

-- Nothing names it. So it is settled: until then its decider does, or the message whose result it
-- is.
local function forget(k, kref, promise)
  if promise.args then k.counts:sub_all(promise.args.slots) end
  k.counts:delete(kref)
end

--- Looks at what was let go of since it was last called.
function M.settle(k)
  local touched = k.counts:take_touched()
  while touched do
    for _, kref in ipairs(touched) do
      local object, promise = k.counts.objects[kref], k.counts.promises[kref]
      if object and object.reachable == 0 then unreachable(k, kref, object) end
      if promise and promise.refs == 0 then forget(k, kref, promise) end
    end
    touched = k.counts:take_touched()
  end
end

local still_due = {}

function still_due.dropExports(object, entry)
  return object and object.reachable == 0 and entry and entry.reachable
end

function still_due.retireExports(object, entry)
  return object and object.recognizable == 0 and entry and not entry.reachable
end

function still_due.retireImports(object, entry)
  return not object and entry
end

local function due(k, vat, kind, set)
  local list = {}
  for _, kref in ipairs(order.keys(set)) do
    local entry = vat.clist.by_kref[kref]
    if still_due[kind](k.counts.objects[kref], entry) then list[#list + 1] = entry end
  end
  return list
end

--- Takes the next action that is still due: the vat, the kind, and the c-list entries.
---@return table? vat
---@return string? kind
---@return lethe.vat.Entry[]? entries
function M.next(k)
  for _, name in ipairs(next(k.actions) ~= nil and order.keys(k.actions) or {}) do
    local vat, kinds = k.vats[name], k.actions[name]
    for _, kind in ipairs(KINDS) do
      local set = kinds[kind]
      kinds[kind] = nil
      local entries = set and not vat.ended and due(k, vat, kind, set)
      if next(kinds) == nil then k.actions[name] = nil end
      if entries and entries[1] then return vat, kind, entries end
    end
    k.actions[name] = nil
  end
end

--- How many wait, among them some that may turn out to be void.
---@return integer
function M.count(k)
  local n = 0
  for _, kinds in pairs(k.actions) do
    for _, set in pairs(kinds) do
      for _ in pairs(set) do
        n = n + 1
      end
    end
  end
  return n
end

return M
