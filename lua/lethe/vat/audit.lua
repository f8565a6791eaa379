-- An audit of a kernel between two cranks: counts everything anew, and looks whether what R70 to
-- R72 promise is so. For tests, and for whoever doubts.

local gc_actions = require "lethe.vat.gc_actions"

local M = {}

-- Who holds what, counted from the c-lists, the queues and the rest.
local function count(k)
  local reach, know, refs = {}, {}, {}
  local function hold(kref, reachable)
    if k.counts.promises[kref] then
      refs[kref] = (refs[kref] or 0) + 1
      return
    end
    know[kref] = (know[kref] or 0) + 1
    if reachable then reach[kref] = (reach[kref] or 0) + 1 end
  end
  local function hold_all(list)
    for _, kref in ipairs(list) do
      hold(kref, true)
    end
  end
  local function hold_message(message)
    if message.target then hold(message.target, true) end
    if message.result then hold(message.result, true) end
    hold_all(message.args.slots)
  end
  for _, vat in ipairs(k.living) do
    hold(vat.root, true)
    for kref, entry in pairs(vat.clist.by_kref) do
      if not (entry.mine and entry.kind == "o") then hold(kref, entry.reachable) end
    end
  end
  for item in k.queue:items() do
    if item.notify then
      hold(item.kref, true)
    elseif not item.start then
      hold_message(item)
    end
  end
  for _, promise in pairs(k.counts.promises) do
    for _, message in ipairs(promise.queue) do
      hold_message(message)
    end
    if promise.args then hold_all(promise.args.slots) end
  end
  for kref, n in pairs(k.handles.held) do
    for _ = 1, n do
      hold(kref, true)
    end
  end
  return reach, know, refs
end

local function check_counts(k)
  local reach, know, refs = count(k)
  for kref, object in pairs(k.counts.objects) do
    if object.reachable ~= (reach[kref] or 0) or object.recognizable ~= (know[kref] or 0) then
      return ("%s: counts %d, %d, but %d reach it and %d know it"):format(kref, object.reachable,
        object.recognizable, reach[kref] or 0, know[kref] or 0)
    end
  end
  for kref, object in pairs(k.counts.objects) do
    local owner = object.owner and k.vats[object.owner]
    if owner and not owner.clist.by_kref[kref] then return kref .. ": unknown to its owner" end
    if not owner and object.reachable == 0 then return kref .. ": of nobody, and nobody's" end
  end
  for kref, n in pairs(reach) do
    if not k.counts.objects[kref] then return ("%s is gone, but %d reach it"):format(kref, n) end
  end
  for kref, promise in pairs(k.counts.promises) do
    if promise.refs ~= (refs[kref] or 0) then
      return ("%s: counts %d, but %d hold it"):format(kref, promise.refs, refs[kref] or 0)
    end
    if promise.refs == 0 then return ("%s: nobody holds it"):format(kref) end
  end
end

local function is_noted(k, vat, kind, kref)
  local kinds = k.actions[vat.name]
  return kinds and kinds[kind] and kinds[kind][kref]
end

local function check_object(k, vat, entry)
  local kref, object = entry.kref, k.counts.objects[entry.kref]
  if not entry.mine then
    if object then return nil end
    if entry.reachable then return "reachable, but gone" end
    return not is_noted(k, vat, "retireImports", kref) and "gone, and nobody tells" or nil
  end
  if not object or object.owner ~= vat.name then return "not the owner" end
  if object.reachable == 0 and entry.reachable and not is_noted(k, vat, "dropExports", kref) then
    return "unreachable, and nobody tells"
  end
  if object.recognizable == 0 and not is_noted(k, vat, "retireExports", kref) then
    return "unknown to all, and nobody tells"
  end
end

local function check_promise(k, vat, entry)
  local promise = k.counts.promises[entry.kref]
  if not promise then return "gone" end
  if entry.decides and promise.state ~= "pending" then return "to be settled again" end
  if entry.decides ~= (promise.decider == vat.name) then return "who is to settle it?" end
end

local function check_clist(k, vat)
  local n = 0
  for vref, entry in pairs(vat.clist.by_vref) do
    local look = entry.kind == "o" and check_object or check_promise
    local message = vat.clist.by_kref[entry.kref] ~= entry and "not found by kref"
      or entry.vref ~= vref and "not found by vref" or look(k, vat, entry)
    if message then return ("%s %s %s: %s"):format(vat.name, vref, entry.kref, message) end
    n = n + 1
  end
  for _ in pairs(vat.clist.by_kref) do
    n = n - 1
  end
  if n ~= 0 then return ("%s: the c-list differs in its two directions"):format(vat.name) end
end

--- What is wrong; nil if nothing is.
---@return string?
function M.check(k)
  gc_actions.settle(k) -- a call that failed may have left something to look at
  for _, vat in ipairs(k.living) do
    local message = check_clist(k, vat)
    if message then return message end
  end
  return check_counts(k)
end

return M
