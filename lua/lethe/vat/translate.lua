-- From the kernel's names to a vat's, and back: what a delivery brings into its c-list, and what
-- its syscalls change there and in the kernel. The calls were checked; nothing here can fail.

local capdata = require "lethe.vat.capdata"
local gc_actions = require "lethe.vat.gc_actions"
local promises = require "lethe.vat.promises"

local M = {}

-- ---- into the vat -----------------------------------------------------------------------------

--- A vat's name for what it gets; the vat can reach it from now on.
---@param kref string
---@return string vref
function M.to_vref(k, vat, kref)
  local entry = vat.clist.by_kref[kref]
  if not entry then
    entry = vat.clist:import(kref)
    k.counts:add(kref)
  elseif not entry.mine and not entry.reachable then
    entry.reachable = true
    k.counts:change(kref, 1, 0)
  end
  return entry.vref
end

--- Args with the vat's names.
---@param args table
---@return table
function M.to_args(k, vat, args)
  local slots = {}
  for i, kref in ipairs(args.slots) do
    slots[i] = M.to_vref(k, vat, kref)
  end
  return capdata.with_slots(args, slots)
end

--- What became of a promise, with the vat's names.
---@param promise table
---@return table
function M.to_resolution(k, vat, promise)
  local vpid = M.to_vref(k, vat, promise.kref)
  local args = M.to_args(k, vat, promise.args)
  return capdata.resolution(vpid, promise.state == "rejected", args)
end

--- The vat is to settle this promise: the result of a message that it gets.
---@param kref string
---@return string vpid
function M.to_result(k, vat, kref)
  local vpid = M.to_vref(k, vat, kref)
  vat.clist.by_kref[kref].decides = true
  k.counts.promises[kref].decider = vat.name
  return vpid
end

--- The vat forgets a promise: it has heard, or has said, what became of it.
---@param kref string
function M.retire_promise(k, vat, kref)
  vat.clist:remove(vat.clist.by_kref[kref])
  k.counts:sub(kref)
end

-- ---- out of the vat ---------------------------------------------------------------------------

-- The kernel's name for what the vat says; what it says first becomes known by it.
local function to_kref(k, vat, vref)
  local entry = vat.clist.by_vref[vref]
  if entry then
    if entry.mine then entry.reachable = true end
    return entry.kref
  end
  local kref
  if vref:byte() == 111 then -- "o"
    kref = k.counts:new_object(vat.name)
  else
    kref = k.counts:new_promise(vat.name)
    k.counts:add(kref)
  end
  vat.clist:export(vref, kref)
  return kref
end

local function from_args(k, vat, args)
  local slots = {}
  for i, vref in ipairs(args.slots) do
    slots[i] = to_kref(k, vat, vref)
  end
  return capdata.with_slots(args, slots)
end

local apply = {}

function apply.send(k, vat, target, method, args, result)
  local message = {
    target = to_kref(k, vat, target), method = method, args = from_args(k, vat, args),
    result = result and to_kref(k, vat, result),
  }
  if result then vat.clist.by_vref[result].decides = false end
  promises.send(k, message)
end

function apply.subscribe(k, vat, vpid)
  promises.subscribe(k, vat, vat.clist.by_vref[vpid].kref)
end

function apply.resolve(k, vat, resolutions)
  local settled = {}
  for i, resolution in ipairs(resolutions) do
    local args = from_args(k, vat, resolution[3])
    settled[i] = { kref = to_kref(k, vat, resolution[1]), args = args }
  end
  for i, each in ipairs(settled) do
    promises.settle(k, each.kref, resolutions[i][2], each.args)
  end
  for _, each in ipairs(settled) do
    M.retire_promise(k, vat, each.kref)
  end
end

function apply.dropImports(k, vat, vrefs)
  for _, vref in ipairs(vrefs) do
    local entry = vat.clist.by_vref[vref]
    entry.reachable = false
    k.counts:change(entry.kref, -1, 0)
  end
end

function apply.retireImports(k, vat, vrefs)
  for _, vref in ipairs(vrefs) do
    local entry = vat.clist.by_vref[vref]
    vat.clist:remove(entry)
    k.counts:change(entry.kref, 0, -1)
  end
end

-- Whoever still reaches it, in a cycle that was dropped, will let go first.
function apply.retireExports(k, vat, vrefs)
  for _, vref in ipairs(vrefs) do
    local entry = vat.clist.by_vref[vref]
    local object = k.counts.objects[entry.kref]
    vat.clist:remove(entry)
    object.owner = nil
    if object.reachable == 0 then gc_actions.retire(k, entry.kref) end
  end
end

--- Does what a crank asked for.
---@param calls table[]
function M.apply(k, vat, calls)
  for _, call in ipairs(calls) do
    apply[call[1]](k, vat, table.unpack(call, 2, 5))
  end
end

return M
