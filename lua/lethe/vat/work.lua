-- What a kernel does next: collections that are due, then bringOutYourDead, then the queue (R72).

local crank = require "lethe.vat.crank"
local gc_actions = require "lethe.vat.gc_actions"
local host = require "lethe.vat.host"
local promises = require "lethe.vat.promises"

local M = {}

local ROUNDS <const> = 200 -- of vats that never come to rest

--- A crank that tells a vat of collections elsewhere, if one is due.
---@return table? record
function M.collect(k)
  if k.closed then return nil end
  local vat, kind, entries = gc_actions.next(k)
  return vat and crank.collected(k, vat, kind, entries)
end

local function reap(k)
  local vat = k.reaps:pop()
  while vat and (vat.ended or not vat.due) do
    vat = k.reaps:pop()
  end
  return vat and crank.bring_out_your_dead(k, vat)
end

-- One thing from the queue; it need not come to a crank.
local function take(k, item)
  if item.start then return not item.start.ended and crank.start(k, item.start) or nil end
  if item.notify then
    if item.notify.ended then
      k.counts:sub(item.kref)
      return nil
    end
    return crank.notify(k, item.notify, item.kref)
  end
  local vat = promises.route(k, item)
  return vat and crank.deliver(k, vat, item)
end

--- The next crank; nil when nothing is left to do.
---@return table? record
function M.step(k)
  while not k.closed do
    local record = M.collect(k) or reap(k)
    if record then return record end
    local item = k.queue:pop()
    if not item then return nil end
    record = take(k, item)
    if record then return record end
    gc_actions.settle(k)
  end
end

-- Calls fn(record) for each.
local function reap_each(k, vats, fn)
  for _, vat in ipairs(vats) do
    while M.collect(k) do end
    if k.closed then return end
    if not vat.ended then fn(crank.bring_out_your_dead(k, vat)) end
  end
end

--- A bringOutYourDead for each of these vats, in turn, the collections that are due before each.
---@param vats table[]
---@return integer cranks of bringOutYourDead
function M.reap(k, vats)
  local n = 0
  reap_each(k, vats, function() n = n + 1 end)
  return n
end

--- The host's heap, then all vats.
---@return integer cranks of bringOutYourDead
function M.reap_all(k)
  host.collect(k)
  return M.reap(k, table.move(k.living, 1, #k.living, 1, {}))
end

local function is_quiet(record)
  for _, call in ipairs(record.syscalls) do
    if type(call[2]) ~= "table" or call[2][1] ~= nil then return false end
  end
  return true
end

--- Every vat's, again and again, until in a whole round none says anything.
---@return integer cranks
function M.collect_all(k)
  local before = k.cranks
  for _ = 1, ROUNDS do
    local quiet = true
    host.collect(k)
    reap_each(k, table.move(k.living, 1, #k.living, 1, {}), function(record)
      quiet = quiet and is_quiet(record)
    end)
    while M.collect(k) do end
    if quiet then break end
  end
  return k.cranks - before
end

return M
