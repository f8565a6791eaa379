-- The kernel's promises: who is to settle one, who wants to hear of it, and what was sent to it
-- meanwhile.
--
-- A message to a promise that is not settled waits in the promise's own queue, and flows on when it
-- is: to the object that it was fulfilled with, while for plain data or a rejection the message's
-- own result is rejected. So a program can send to a result before it is there. A notification
-- brings a vat everything that is settled among what the news mentions, in one batch.

local capdata = require "lethe.vat.capdata"
local marshal = require "lethe.vat.marshal"

local M = {}

local CIRCLE <const> = "promises that stand for each other"

--- Settles a promise. `args` has krefs as slots.
---@param kref string
---@param rejected boolean
---@param args table
function M.settle(k, kref, rejected, args)
  local promise = k.counts.promises[kref]
  promise.state = rejected and "rejected" or "fulfilled"
  promise.decider = nil
  promise.args = args
  k.counts:add_all(args.slots)
  for _, vat in ipairs(promise.subscribers) do
    M.notify(k, vat, kref)
  end
  for _, message in ipairs(promise.queue) do
    k.counts:add(kref)
    message.target = kref
    if message.result then k.counts.promises[message.result].waits = nil end
    k.queue:push(message)
  end
  promise.subscribers, promise.queue = {}, {}
end

--- Rejects for a reason of the kernel's own.
---@param kref string?
---@param text string
function M.reject(k, kref, text)
  local promise = kref and k.counts.promises[kref]
  if not promise or promise.state ~= "pending" then return end
  M.settle(k, kref, true, capdata.new(marshal.text(text), {}))
end

--- Queues a notification.
function M.notify(k, vat, kref)
  k.counts:add(kref)
  k.queue:push{ notify = vat, kref = kref }
end

--- A vat wants to hear of it.
function M.subscribe(k, vat, kref)
  local promise = k.counts.promises[kref]
  if promise.state ~= "pending" then
    M.notify(k, vat, kref)
    return
  end
  for _, each in ipairs(promise.subscribers) do
    if each == vat then return end
  end
  table.insert(promise.subscribers, vat)
end

--- Queues a message: counts what it names.
---@param message { target: string, method: string, args: table, result: string? }
function M.send(k, message)
  k.queue:push(message)
  k.counts:add(message.target)
  k.counts:add_all(message.args.slots)
  if message.result then
    k.counts:add(message.result)
    k.counts.promises[message.result].decider = nil
  end
end

--- A message has left the queue: uncounts what it names.
function M.release(k, message)
  k.counts:sub(message.target)
  k.counts:sub_all(message.args.slots)
  if message.result then k.counts:sub(message.result) end
end

-- Whether the message would wait for its own result, through however many others: only if something
-- waits for that already.
local function waits_for_itself(k, message)
  local kref, result = message.target, message.result
  if kref == result then return true end
  if not result or not k.counts.promises[result].queue[1] then return false end
  while kref and kref ~= result do
    kref = k.counts.promises[kref].waits
  end
  return kref ~= nil
end

local function wait(k, message, promise)
  if message.result then k.counts.promises[message.result].waits = message.target end
  k.counts:sub(message.target)
  message.target = nil
  table.insert(promise.queue, message)
end

-- What is to become of a message to a promise: the object to go to instead; or nil.
local function onward(k, message, promise)
  if promise.state == "pending" and not waits_for_itself(k, message) then
    wait(k, message, promise)
    return nil
  end
  if promise.state == "fulfilled" then
    local slot = marshal.reference(promise.args)
    if slot then
      k.counts:add(slot)
      k.counts:sub(message.target)
      message.target = slot
      return slot
    end
    M.reject(k, message.result, "cannot send to what is no object")
  elseif promise.state == "pending" then
    M.reject(k, message.result, "promises that wait for each other")
  elseif message.result and k.counts.promises[message.result].state == "pending" then
    M.settle(k, message.result, true, promise.args)
  end
  M.release(k, message)
end

--- The vat that a message goes to, following promises. nil: it waits, or came to nothing.
---@return table? vat
function M.route(k, message)
  local target, seen = message.target, {}
  while target do
    local object = k.counts.objects[target]
    if object or seen[target] then
      local vat = object and object.owner and k.vats[object.owner]
      if vat then return vat end
      M.reject(k, message.result, object and "the vat of this object has ended"
        or CIRCLE)
      M.release(k, message)
      return nil
    end
    seen[target] = true
    target = onward(k, message, k.counts.promises[target])
  end
end

local in_circle = { state = "rejected", args = capdata.new(marshal.text(CIRCLE), {}) }

--- The promise that this one stands for, at the end of those that were fulfilled with one another.
---@param promise table
---@return table
function M.last(k, promise)
  local seen = {}
  while promise.state == "fulfilled" do
    local slot = marshal.reference(promise.args)
    local other = slot and k.counts.promises[slot]
    if not other then return promise end
    if seen[other] then return in_circle end
    seen[promise], promise = true, other
  end
  return promise
end

--- The settled promises that news of `kref` brings to a vat: itself, then what it was settled with,
--- and so on. None if the vat has heard, or no longer knows it.
---@return string[] krefs
function M.batch(k, vat, kref)
  local list, seen, waiting = {}, {}, { vat.clist.by_kref[kref] and kref }
  while waiting[1] do
    local each = table.remove(waiting)
    local promise = k.counts.promises[each]
    if promise and promise.state ~= "pending" and not seen[each] then
      seen[each] = true
      list[#list + 1] = each
      local slots = promise.args.slots
      for i = #slots, 1, -1 do
        waiting[#waiting + 1] = slots[i]
      end
    end
  end
  return list
end

return M
