-- A vat's c-list without a kernel: what its deliveries and its syscalls come to, name by name. A
-- replay keeps it, so that it knows what the vat may ask for. See lethe.vat.translate for the
-- kernel's own.

local parse = require("lethe.vat.vref").parse

local M = {}

-- The vat knows this name, and can reach what it stands for.
local function learn(clist, vref)
  local entry = clist.by_vref[vref]
  if entry then
    entry.reachable = true
    return entry
  end
  local _, mine = parse(vref)
  return mine and clist:export(vref, vref) or clist:adopt(vref)
end

local function learn_all(clist, vrefs)
  for _, vref in ipairs(vrefs) do
    learn(clist, vref)
  end
end

local function remove_all(clist, vrefs)
  for _, vref in ipairs(vrefs) do
    local entry = clist.by_vref[vref]
    if entry then clist:remove(entry) end
  end
end

local function drop_all(clist, vrefs)
  for _, vref in ipairs(vrefs) do
    local entry = clist.by_vref[vref]
    if entry then entry.reachable = false end
  end
end

-- Promises that hold each other come in one batch; the vat has done with all of them.
local function settle(clist, resolutions)
  for _, resolution in ipairs(resolutions) do
    learn(clist, resolution[1])
    learn_all(clist, resolution[3].slots)
  end
  for _, resolution in ipairs(resolutions) do
    remove_all(clist, { resolution[1] })
  end
end

local enter = {}

function enter.deliver(clist, target, _, args, result)
  learn(clist, target)
  learn_all(clist, args.slots)
  if result then learn(clist, result).decides = true end
end

enter.notify = settle
enter.dropExports = drop_all
enter.retireExports = remove_all
enter.retireImports = remove_all
function enter.bringOutYourDead() end

--- Enters a delivery, before the vat gets it.
---@param clist lethe.vat.CList
---@param delivery table
function M.delivery(clist, delivery)
  enter[delivery[1]](clist, table.unpack(delivery, 2, 5))
end

local leave = {}

function leave.send(clist, target, _, args, result)
  learn(clist, target)
  learn_all(clist, args.slots)
  if result then learn(clist, result).decides = false end
end

function leave.subscribe() end
leave.resolve = settle
leave.dropImports = drop_all
leave.retireImports = remove_all
leave.retireExports = remove_all

--- Enters what the vat asked for, once its turn is over.
---@param clist lethe.vat.CList
---@param calls table[]
function M.syscalls(clist, calls)
  for _, call in ipairs(calls) do
    leave[call[1]](clist, table.unpack(call, 2, 5))
  end
end

return M
