--- What a kernel does next: collections that are due, then bringOutYourDead, then the queue (R72).

local crank = require "lethe.vat.crank"
local gc_actions = require "lethe.vat.gc_actions"
local promises = require "lethe.vat.promises"

local M = {}

--- A crank that tells a vat of collections elsewhere, if one is due.
---@return table? record
function M.collect(k)
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
  while true do
    local record = M.collect(k) or reap(k)
    if record then return record end
    local item = k.queue:pop()
    if not item then return nil end
    record = take(k, item)
    if record then return record end
    gc_actions.settle(k)
  end
end

--- A bringOutYourDead for each of these vats, in turn, the collections that are due before each.
---@param vats table[]
---@return integer cranks of bringOutYourDead
function M.reap(k, vats)
  local n = 0
  for _, vat in ipairs(vats) do
    while M.collect(k) do end
    if not vat.ended then
      crank.bring_out_your_dead(k, vat)
      n = n + 1
    end
  end
  return n
end

return M
