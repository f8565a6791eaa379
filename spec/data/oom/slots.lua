-- Slot tables under want of memory: whatever fails, nothing is said of a name that the kernel's
-- record does not allow, no name is lost, and once all is dropped nothing is known any more.
local vat = require "lethe.vat"

local clist, said = {}, 0
local syscall = {}
function syscall.dropImports(list)
  for _, vref in ipairs(list) do
    assert(clist[vref] == "R", vref)
    clist[vref] = "S"
  end
  said = said + 1
end
function syscall.retireImports(list)
  for _, vref in ipairs(list) do
    assert(clist[vref] == "S", vref)
    clist[vref] = nil
  end
end
syscall.retireExports = syscall.retireImports

local slots = vat.slots{ syscall = syscall, root = {} }
local kept = {}
for i = 1, 12 do
  clist["o-" .. i] = false
end
begin()

local function deliver(i)
  local vref = "o-" .. i
  local known = slots:val(vref)
  clist[vref] = "R"
  local presence = slots:import(vref)
  assert(known == nil or known == presence)
  assert(slots:slot(presence) == vref and slots:val(vref) == presence)
  return presence
end

local function export(object)
  local vref = slots:name(object)
  clist[vref] = "R"
  slots:export(object)
  assert(slots:val(vref) == object)
  return vref
end

local function work()
  local map, set = slots:weak_map(), slots:weak_set()
  local store, weak_store = slots:store(), slots:weak_store()
  for i = 1, 6 do
    kept[i] = deliver(i)
    map:set(kept[i], {})
    set:add(kept[i])
  end
  kept.object = { kept[1] }
  local vref = export(kept.object)
  map:set(kept.object, kept[2])
  store:set("k", kept[3])
  store:set("k", kept[4])
  weak_store:set(kept[5], kept.object)
  slots:import("p-1")
  slots:import("d-1")
  slots:send("o-1", "m", { slots = { slots:name({}), slots:name(kept[1]) } })
  kept[1], kept[2] = nil, nil
  slots:bring_out_your_dead(1)
  slots:bring_out_your_dead()
  kept[1] = deliver(1)
  assert(map:has(kept[1]))
  slots:drop_exports{ vref }
  clist[vref] = "S"
  for i = 7, 12 do
    deliver(i)
  end
  slots:state("o-7")
  slots:bring_out_your_dead()
end

local function check()
  kept = {}
  for vref, flag in pairs(clist) do
    if flag == "R" and vref:find("^o%+") then
      if pcall(slots.drop_exports, slots, { vref }) then clist[vref] = "S" end
    end
  end
  for _ = 1, 3 do
    slots:bring_out_your_dead()
  end
  -- Without memory for the call of a finalizer Lua forgets it. A name that it was about is known
  -- until it comes again.
  local forgotten = 0
  for vref, flag in pairs(clist) do
    if flag == "R" and vref:find("^o%-") and slots:state(vref) == "COLLECTED" then
      slots:import(vref)
      forgotten = forgotten + 1
    end
  end
  assert(forgotten <= 12)
  slots:bring_out_your_dead()
  for vref, flag in pairs(clist) do
    -- what failed before the tables knew of it the kernel still has
    assert(not flag or slots:state(vref) == "UNKNOWN" or vref:find("^o%+"), vref)
  end
  assert(slots:stats().queued == 0)
  slots:close()
end

return work, check
