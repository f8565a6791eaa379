--- A crank: one delivery to one vat, and what it asks for meanwhile.
--
-- The vat's syscalls are checked as they come and kept until the delivery has returned; only then
-- are they done, all of them. A vat that breaks a rule, spends its meter or its memory, or fails,
-- ends with the crank, and nothing of it leaves. Every crank makes a record:
--
--   { vat = name, delivery = { kind, ... }, syscalls = { { name, ... } }, ended = code | nil }

local base = require "lethe.core.base"
local checker = require "lethe.vat.checker"
local ending = require "lethe.vat.ending"
local gc_actions = require "lethe.vat.gc_actions"
local promises = require "lethe.vat.promises"
local syscalls = require "lethe.vat.syscalls"
local translate = require "lethe.vat.translate"

local M = {}

local COLLECT <const> = "bringOutYourDead"

local CODES <const> = { meter = "meter", memory = "memory", illegal_syscall = "illegal_syscall" }

-- ---- syscalls ---------------------------------------------------------------------------------

local function refuse(crank, code, message)
  crank.ended, crank.message = code, message
  error(message, 3)
end

-- A call at the wrong time: the vat ends as soon as no crank runs.
local function out_of_turn(k, vat, name)
  local message = name .. ": a syscall outside of a crank of this vat"
  if vat.ended then error(("vat %s has ended"):format(vat.name), 3) end
  if not vat.doomed then
    vat.doomed = message
    k.doomed[#k.doomed + 1] = vat
  end
  if not k.crank and vat.root then M.end_doomed(k) end
  error(message, 3)
end

--- The six functions of a vat.
---@return table<string, function>
function M.syscalls(k, vat)
  return syscalls.table(function(name, ...)
    local crank = k.crank
    if not crank or crank.vat ~= vat then out_of_turn(k, vat, name) end
    if crank.ended then error(crank.message, 2) end
    local call, message = syscalls.read(name, ...)
    message = message or crank.checker:check(call)
    if message then refuse(crank, "illegal_syscall", message) end
    crank.syscalls[#crank.syscalls + 1] = call
  end)
end

-- ---- the crank --------------------------------------------------------------------------------

-- What runs on a vat's side: true, or nil, message and code.
local function call(driver, method, ...)
  local done, ok, message, code = pcall(driver[method], driver, ...)
  if done then return ok, message, code end
  return nil, tostring(ok), "failed"
end

--- Ends those that made calls at the wrong time.
function M.end_doomed(k)
  while k.doomed[1] do
    local vat = table.remove(k.doomed, 1)
    if not vat.ended then M.end_between(k, vat, "illegal_syscall", vat.doomed) end
  end
end

--- Ends a vat between two cranks; that is an input, and so has a record.
function M.end_between(k, vat, code, message)
  ending.terminate(k, vat, code, message)
  gc_actions.settle(k)
  k.transcript:add{ vat = vat.name, delivery = { "terminate" }, syscalls = {}, ended = code }
end

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

local function finish(k, vat, crank)
  if crank.ended then
    ending.terminate(k, vat, crank.ended, crank.message)
    return {}
  end
  translate.apply(k, vat, crank.syscalls)
  return crank.syscalls
end

-- Runs one. `delivery` is what the record says, the rest what the vat's driver is called with.
local function run(k, vat, delivery, method, ...)
  local crank = {
    vat = vat, syscalls = {}, checker = checker.new(vat.clist, delivery[1] == COLLECT),
  }
  k.crank = crank
  local ok, message, code = call(vat.driver, method, ...)
  k.crank = nil
  k.cranks = k.cranks + 1
  if not ok and not crank.ended then
    crank.ended, crank.message = CODES[code] or "terminated", message or "the vat failed"
    if not CODES[code] then base.report(message, { callback = method, vat = vat.name }) end
  end
  account(k, vat, delivery)
  local calls = finish(k, vat, crank)
  gc_actions.settle(k)
  local record = { vat = vat.name, delivery = delivery, syscalls = calls, ended = crank.ended }
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
