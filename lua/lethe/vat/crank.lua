-- A crank: one delivery to one vat, and what it asks for meanwhile.
--
-- What the vat asked for is done when its turn is over, all of it; a vat that has ended with its
-- turn leaves nothing. Every crank makes a record:
--
--   { vat = name, delivery = { kind, ... }, syscalls = { { name, ... } }, ended = code | nil }

local ending = require "lethe.vat.ending"
local gc_actions = require "lethe.vat.gc_actions"
local promises = require "lethe.vat.promises"
local translate = require "lethe.vat.translate"
local turn = require "lethe.vat.turn"

local M = {}

local COLLECT <const> = "bringOutYourDead"

-- ---- ends between cranks ----------------------------------------------------------------------

--- Ends those that are to end as soon as no crank runs.
function M.end_doomed(k)
  while k.doomed[1] do
    local vat = table.remove(k.doomed, 1)
    if not vat.ended then M.end_between(k, vat, vat.doomed.code, vat.doomed.message) end
  end
end

--- Ends a vat, after the crank that runs if one does.
function M.doom(k, vat, code, message)
  if not vat.doomed then
    vat.doomed = { code = code, message = message }
    table.insert(k.doomed, vat)
  end
  if not k.crank and vat.root then M.end_doomed(k) end
end

--- The six functions of a vat. One that it calls at the wrong time ends it as soon as no crank
--- runs.
---@return table<string, function>
function M.syscalls(k, vat)
  return turn.syscalls(vat, function(message) M.doom(k, vat, "illegal_syscall", message) end)
end

--- Ends a vat between two cranks; that is an input, and so has a record.
function M.end_between(k, vat, code, message)
  ending.terminate(k, vat, code, message)
  gc_actions.settle(k)
  k.transcript:add{ vat = vat.name, delivery = { "terminate" }, syscalls = {}, ended = code }
end

-- ---- cranks -----------------------------------------------------------------------------------

-- What a crank counts for in the schedule of collections.
local function account(k, vat, delivery)
  if delivery[1] == COLLECT then
    vat.deliveries, vat.gc_krefs = 0, 0
    return
  end
  vat.deliveries = vat.deliveries + 1
  if type(delivery[2]) == "table" and delivery[1] ~= "notify" then
    vat.gc_krefs = vat.gc_krefs + #delivery[2]
  end
  if not vat.due and k.reap(vat.deliveries, vat.gc_krefs) >= k.reap_at then
    vat.due = true
    k.reaps:push(vat)
  end
end

-- Runs one. `delivery` is what the record says, the rest what the vat's driver is called with.
local function run(k, vat, delivery, method, ...)
  k.crank = vat
  if k.schedule and vat.driver.plan then
    vat.driver:plan(k.schedule:plan(delivery[1] == COLLECT))
  end
  local result = turn.run(vat, method, ...)
  k.crank = nil
  k.cranks = k.cranks + 1
  account(k, vat, delivery)
  if result.ended then
    ending.terminate(k, vat, result.ended, result.message)
  else
    translate.apply(k, vat, result.calls)
  end
  gc_actions.settle(k)
  local record = {
    vat = vat.name, delivery = delivery, syscalls = result.calls, ended = result.ended,
  }
  k.transcript:add(record)
  M.end_doomed(k)
  return record
end

--- A message arrives.
function M.deliver(k, vat, message)
  local target = translate.to_vref(k, vat, message.target)
  local args = translate.to_args(k, vat, message.args)
  local result = message.result and translate.to_result(k, vat, message.result)
  promises.release(k, message)
  local delivery = { "deliver", target, message.method, args, result }
  return run(k, vat, delivery, "deliver", target, message.method, args, result)
end

--- News of a promise; nil if the vat has no use for it.
function M.notify(k, vat, kref)
  local krefs = promises.batch(k, vat, kref)
  k.counts:sub(kref)
  if not krefs[1] then return nil end
  local resolutions = {}
  for i, each in ipairs(krefs) do
    local promise = k.counts.promises[each]
    resolutions[i] = translate.to_resolution(k, vat, promise)
  end
  for _, each in ipairs(krefs) do
    translate.retire_promise(k, vat, each)
  end
  return run(k, vat, { "notify", resolutions }, "notify", resolutions)
end

--- What the vat asked for while it was built leaves: a crank in which it hears nothing.
function M.start(k, vat)
  return run(k, vat, { "notify", {} }, "notify", {})
end

local METHODS <const> = {
  dropExports = "drop_exports", retireExports = "retire_exports", retireImports = "retire_imports",
}

--- A collection elsewhere has come to these entries of the vat's c-list.
---@param kind "dropExports"|"retireExports"|"retireImports"
---@param entries lethe.vat.Entry[]
function M.collected(k, vat, kind, entries)
  local vrefs = {}
  for i, entry in ipairs(entries) do
    vrefs[i] = entry.vref
    if kind == "dropExports" then
      entry.reachable = false
    else
      vat.clist:remove(entry)
      if kind == "retireExports" then k.counts:delete(entry.kref) end
    end
  end
  return run(k, vat, { kind, vrefs }, METHODS[kind], vrefs)
end

--- The vat is to say what it no longer needs.
function M.bring_out_your_dead(k, vat)
  vat.due = false
  return run(k, vat, { COLLECT }, "bring_out_your_dead")
end

return M
