-- Replays: each vat of a transcript gets its deliveries again, by itself, and must ask for the
-- same.
--
-- No kernel takes part: a record has the vat's own names. The end for want of memory is an input,
-- since it depends on the Lua in use; the vat ends there without running. Any other end must come
-- again.

local base = require "lethe.core.base"
local books = require "lethe.vat.books"
local build = require "lethe.vat.build"
local clist = require "lethe.vat.clist"
local schedule = require "lethe.vat.schedule"
local transcript = require "lethe.vat.transcript"
local turn = require "lethe.vat.turn"

local M = {}

local METHODS <const> = {
  deliver = "deliver", notify = "notify", dropExports = "drop_exports",
  retireExports = "retire_exports", retireImports = "retire_imports",
  bringOutYourDead = "bring_out_your_dead",
}

-- ---- one vat ----------------------------------------------------------------------------------

local function new_vat(bounds, how, level)
  local vat = { name = bounds.name, clist = clist.new(), ended = nil, turn = nil }
  local syscall = turn.syscalls(vat, function(message)
    vat.doomed = vat.doomed or message
  end)
  vat.clist:export("o+0", "o+0")
  vat.driver = build.driver(how, bounds, syscall, level + 1)
  return vat
end

-- The vat's record of this delivery.
local function run(vat, delivery, plans)
  books.delivery(vat.clist, delivery)
  if plans and vat.driver.plan then
    vat.driver:plan(plans:plan(delivery[1] == "bringOutYourDead"))
  end
  local result = turn.run(vat, METHODS[delivery[1]], table.unpack(delivery, 2, 5))
  if result.ended then
    vat.ended = result.ended
    vat.driver:close()
  else
    books.syscalls(vat.clist, result.calls)
  end
  return {
    vat = vat.name, delivery = delivery, syscalls = result.calls, ended = result.ended,
  }
end

local function stop(vat, code)
  if vat.ended then return end
  vat.ended = code
  vat.driver:close()
end

-- ---- comparing --------------------------------------------------------------------------------

-- The first syscall in which they differ, for people.
local function difference(expected, got)
  for i = 1, math.max(#expected.syscalls, #got.syscalls) do
    local a, b = transcript.call(expected.syscalls[i]), transcript.call(got.syscalls[i])
    if a ~= b then return ("syscall %d: expected %s, got %s"):format(i, a, b) end
  end
  return ("expected the vat to %s, got one that %s"):format(
    expected.ended and "end as " .. expected.ended or "go on",
    got.ended and "ended as " .. got.ended or "goes on")
end

local function diverged(index, expected, got, why)
  local message = ("record %d, %s to %s: %s"):format(index, expected.delivery[1], expected.vat,
    why or difference(expected, got))
  return nil, message, "diverged", index, expected, got
end

-- ---- a transcript -----------------------------------------------------------------------------

local function find(vats, name, records, builds, level)
  if vats[name] then return vats[name] end
  for _, bounds in ipairs(records[1].vats) do
    if bounds.name == name then
      if builds[name] == nil then error(("no build for the vat %q"):format(name), level + 1) end
      vats[name] = new_vat(bounds, builds[name], level + 1)
      return vats[name]
    end
  end
end

local CODES <const> = { meter = true, memory = true, illegal_syscall = true, terminated = true }

local function differing(record, got)
  if not transcript.same(record, got) then return got end
end

-- The record of an end that is an input.
local function stopped(vat, record, code)
  stop(vat, code)
  return { vat = vat.name, delivery = record.delivery, syscalls = {}, ended = code }
end

-- nil if the vat went on as recorded; else its own record, and why if it could not run at all.
local function again(vat, record, plans)
  if vat.ended then return false, "the vat has ended before" end
  local code = record.ended
  if record.delivery[1] == "terminate" then
    code = CODES[code] and code or "terminated"
  elseif code ~= "memory" then
    code = nil
  end
  if code then return differing(record, stopped(vat, record, code)) end
  local why = books.strange(vat.clist, record.delivery)
  if why then return stopped(vat, record, "terminated"), why end
  return differing(record, run(vat, record.delivery, plans))
end

local function replay(records, builds, vats, plans, level)
  for index = 2, #records do
    local record = records[index]
    local vat = find(vats, record.vat, records, builds, level + 1)
    if not vat then return nil, ("record %d: no vat %q"):format(index, record.vat), "bad_format" end
    local got, why = again(vat, record, plans)
    if got ~= nil then return diverged(index, record, got or nil, why) end
  end
  return true
end

--- Runs a transcript again.
---@param records lethe.vat.Record[]|string the records, or the path of a file of them
---@param builds table<string, any> what Kernel:vat was given, by name; { raw = setup } for raw vats
---@param options { schedule: integer|function|nil }? how the vats' heaps are collected meanwhile
---@return true?
---@return string? message
---@return "diverged"|"not_found"|"bad_format"|nil code
---@return integer? index of the record
---@return lethe.vat.Record? expected
---@return lethe.vat.Record? got
function M.replay(records, builds, options)
  if options ~= nil then base.options(options, { "schedule" }, 2) end
  local how = options and options.schedule
  local plans = how ~= nil and schedule.new(how, 2) or nil
  if type(records) == "string" then
    local message, code
    records, message, code = transcript.read(records)
    if not records then return nil, message, code end
  elseif type(records) ~= "table" then
    error(("bad argument #1 to 'replay' (records or a path expected, got %s)"):format(
      base.type(records) or type(records)), 2)
  end
  if type(builds) ~= "table" then
    error(("bad argument #2 to 'replay' (table expected, got %s)"):format(type(builds)), 2)
  end
  local message = transcript.complaint(records)
  if message then return nil, message, "bad_format" end
  local vats = {}
  local results = table.pack(pcall(replay, records, builds, vats, plans, 3))
  for _, vat in pairs(vats) do
    stop(vat, "terminated")
  end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

return M
