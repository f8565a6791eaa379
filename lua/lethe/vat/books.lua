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

-- ---- what no kernel does ----------------------------------------------------------------------

-- The names of a delivery: those that the vat must know, and those that may be new to it.
local names = {}

function names.deliver(target, _, args, result)
  local others = table.move(args.slots, 1, #args.slots, 1, {})
  others[#others + 1] = result
  return { target }, others
end

-- What is settled may have come in the same batch, in what another promise is settled with.
function names.notify(resolutions)
  local others = {}
  for _, resolution in ipairs(resolutions) do
    local slots = resolution[3].slots
    table.move(slots, 1, #slots, #others + 1, others)
  end
  local settled = {}
  for _, resolution in ipairs(resolutions) do
    settled[#settled + 1] = resolution[1]
  end
  return settled, others
end

for _, kind in ipairs{ "dropExports", "retireExports", "retireImports" } do
  names[kind] = function(vrefs) return vrefs, {} end
end

function names.bringOutYourDead() return {}, {} end

-- A name that was never given, or that was given before and is no more; nil for none. A kernel
-- numbers what it brings in in turn, each kind by itself.
local function out_of_turn(clist, others, seen)
  local count, most = { o = 0, p = 0 }, { o = 0, p = 0 }
  for _, vref in ipairs(others) do
    local kind, mine = parse(vref)
    if not clist.by_vref[vref] and not seen[vref] and kind ~= "d" then
      local n = tonumber(vref:match("^.%-(%d+)$"))
      if mine or n < clist.next[kind] then return vref end
      seen[vref] = true
      count[kind], most[kind] = count[kind] + 1, math.max(most[kind], n)
    end
  end
  for kind, n in pairs(count) do
    local last = clist.next[kind] + n - 1
    if n > 0 and most[kind] > last then return ("%s-%d"):format(kind, most[kind]) end
  end
end

--- Why no kernel can have made this delivery now; nil if one can.
---@param clist lethe.vat.CList
---@param delivery table
---@return string?
function M.strange(clist, delivery)
  local known, others = names[delivery[1]](table.unpack(delivery, 2, 5))
  local seen = {}
  local name = out_of_turn(clist, others, seen)
  for _, vref in ipairs(known) do
    if not clist.by_vref[vref] and not seen[vref] then name = name or vref end
  end
  return name and ("the vat cannot have been told of %s"):format(name)
end

-- ---- syscalls ---------------------------------------------------------------------------------

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
