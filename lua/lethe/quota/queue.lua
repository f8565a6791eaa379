--- The metered queue: a bounded or unbounded queue whose contents are claimed under an account.
--
-- Sending claims what the value costs, receiving releases it. The queue is a participant of its own:
-- its oldest data is the value at its head, and when a pass takes it, it collapses: everything in it
-- goes at once, both ends hear of it through their next call, and hooks are called.
--
--   local tx, rx = quota.queue{ account = account, capacity = 100, cost = function(v) return #v end }
--   tx:send("hello")   print(rx:recv())
--
-- The caller keeps the account: the queue holds it weakly.

local base = require "lethe.core.base"
local loop = require "lethe.loop"

local M = {}

-- What an entry costs beside its value: the time it was sent.
local STAMP <const> = 8

---@class lethe.quota.Sender
local Sender = {}
---@class lethe.quota.Receiver
local Receiver = {}
local new_sender, new_receiver, sender_of, receiver_of

local MESSAGES <const> = {
  closed = "the other end is closed",
  reclaimed = "the queue's memory was reclaimed",
  full = "the queue is full",
  empty = "the queue is empty",
}

local function answer(code)
  return nil, MESSAGES[code] or code, code
end

-- ---- the queue itself --------------------------------------------------------------------------

-- A list of waiting calls, served first come, first served: each takes what is there, or goes on
-- waiting.
local function wake_first(waiting)
  local wake = table.remove(waiting, 1)
  if wake then wake() end
end

local function wake_all(waiting)
  while waiting[1] do
    wake_first(waiting)
  end
end

local function count(queue)
  return queue.tail - queue.head
end

local function drop_all(queue)
  queue.items, queue.head, queue.tail = {}, 1, 1
end

-- The queue is over, for this reason: hooks in the order in which they were set, outside everything.
local function collapse(queue, reason)
  if queue.collapsed then return end
  queue.collapsed = reason
  local hooks = queue.hooks
  queue.hooks = {}
  for _, hook in ipairs(hooks) do
    local ok, message = xpcall(hook, debug.traceback, reason)
    if not ok then base.report(message, { callback = "on_collapse" }) end
  end
  wake_all(queue.senders)
  wake_all(queue.receivers)
end

-- What sending would answer now, nil if it may go on.
local function send_state(queue)
  if queue.collapsed == "reclaimed" then return "reclaimed" end
  if queue.collapsed then return "closed" end
  if queue.capacity and count(queue) >= queue.capacity then return "full" end
end

local GONE <const> = { account_closed = true, participant_shutdown = true, tracker_shutdown = true }

-- Claims and appends; the value stays the caller's when that fails.
local function push(queue, value, cost)
  local ok, message, code = queue.participation:claim(cost)
  if not ok then
    if GONE[code] then return answer(queue.collapsed == "reclaimed" and "reclaimed" or "closed") end
    return nil, message, code
  end
  queue.items[queue.tail] = { value, queue.loop:now(), cost }
  queue.tail = queue.tail + 1
  wake_first(queue.receivers)
  return true
end

local function pop(queue)
  local entry = queue.items[queue.head]
  queue.items[queue.head] = nil
  queue.head = queue.head + 1
  queue.participation:release(entry[3])
  wake_first(queue.senders)
  return entry[1]
end

-- What receiving would answer now, nil if there is something.
local function recv_state(queue)
  if queue.collapsed == "reclaimed" then return "reclaimed" end
  if count(queue) > 0 then return nil end
  return queue.collapsed and "closed" or "empty"
end

-- The participant. What a pass takes from it is everything: it collapses.
local methods = {}
methods.__index = methods

function methods:get_oldest()
  local head = self.items[self.head]
  return head and head[2]
end

function methods:reclaim()
  collapse(self, "reclaimed")
  self.participation:destroy()
  drop_all(self)
  return "collapsing"
end

-- Waits for a turn in `waiting`; nil, message, code when the task was cancelled.
local function wait_turn(queue, waiting)
  local mine
  return loop.wait(queue.loop, function(wake)
    mine = function() wake(true) end
    waiting[#waiting + 1] = mine
  end, function()
    for i, wake in ipairs(waiting) do
      if wake == mine then return table.remove(waiting, i) end
    end
  end, 3)
end

-- ---- the ends ----------------------------------------------------------------------------------

local function cost_of(queue, value)
  if value == nil then error("cannot send nil", 3) end
  local cost = queue.cost and queue.cost(value) or 0
  return base.size(cost, "cost", 3) + STAMP
end

--- Sends a value; waits while the queue is full.
---@param value any not nil
---@return true?
---@return string? message
---@return string? code "closed" | "reclaimed" | "over_limit" | "cancelled"
function Sender:send(value)
  local queue = sender_of(self).queue
  local cost = cost_of(queue, value)
  while true do
    local state = send_state(queue)
    if not state then return push(queue, value, cost) end
    if state ~= "full" then return answer(state) end
    local ok, message, code = wait_turn(queue, queue.senders)
    if not ok then return nil, message, code end
  end
end

--- Sends a value if there is room now.
---@param value any not nil
---@return true?
---@return string? message
---@return string? code "full" | "closed" | "reclaimed" | "over_limit"
function Sender:try_send(value)
  local queue = sender_of(self).queue
  local cost = cost_of(queue, value)
  local state = send_state(queue)
  if state then return answer(state) end
  return push(queue, value, cost)
end

--- The next value; waits for one. What was sent before the sender closed still arrives.
---@return any?
---@return string? message
---@return string? code "closed" | "reclaimed" | "cancelled"
function Receiver:recv()
  local queue = receiver_of(self).queue
  while true do
    local state = recv_state(queue)
    if not state then return pop(queue) end
    if state ~= "empty" then return answer(state) end
    local ok, message, code = wait_turn(queue, queue.receivers)
    if not ok then return nil, message, code end
  end
end

--- The next value, if there is one.
---@return any?
---@return string? message
---@return string? code "empty" | "closed" | "reclaimed"
function Receiver:try_recv()
  local queue = receiver_of(self).queue
  local state = recv_state(queue)
  if state then return answer(state) end
  return pop(queue)
end

--- Calls `fn(reason)` once the queue has collapsed: "reclaimed", "sender_closed", "receiver_closed"; at
--- once if it has already.
---@param fn fun(reason: string)
function Receiver:on_collapse(fn)
  local queue = receiver_of(self).queue
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'on_collapse' (function expected, got %s)"):format(type(fn)), 2)
  end
  if queue.collapsed then return fn(queue.collapsed) end
  queue.hooks[#queue.hooks + 1] = fn
end

--- Values that wait to be received.
function Receiver:__len()
  return count(receiver_of(self).queue)
end

-- The sender is gone: what was sent still arrives.
local function sender_ended(sender)
  collapse(sender.queue, "sender_closed")
end

-- The receiver is gone, and what was sent with it.
local function receiver_ended(receiver)
  local queue = receiver.queue
  if not queue.collapsed or queue.collapsed == "sender_closed" then
    queue.participation:destroy()
    local over = queue.collapsed
    collapse(queue, "receiver_closed")
    if over then queue.collapsed = "receiver_closed" end
  end
  drop_all(queue)
  queue.participation:close()
end

-- ---- making ------------------------------------------------------------------------------------

local OPTIONS <const> = { "account", "capacity", "cost", "loop" }

--- See the module's head. `level` is where misuse is reported.
---@param options { account: lethe.quota.Account, capacity: integer?, cost: (fun(v: any): integer)?, loop: lethe.loop.Loop? }
---@param level integer
---@return lethe.quota.Sender? sender
---@return lethe.quota.Receiver|string receiver or message
---@return string? code
function M.new(options, level)
  base.options(options, OPTIONS, level + 1)
  local account, capacity, cost = options.account, options.capacity, options.cost
  if base.type(account) ~= "quota.Account" then
    error(("account must be a lethe.quota.Account (got %s)"):format(base.type(account) or type(account)), level + 1)
  end
  if capacity ~= nil and (math.type(capacity) ~= "integer" or capacity < 1) then
    error(("capacity must be a positive integer (got %s)"):format(tostring(capacity)), level + 1)
  end
  if cost ~= nil and type(cost) ~= "function" then
    error(("cost must be a function (got %s)"):format(type(cost)), level + 1)
  end
  local on = options.loop
  if on ~= nil and base.type(on) ~= "loop.Loop" then
    error(("loop must be a lethe.loop.Loop (got %s)"):format(base.type(on) or type(on)), level + 1)
  end
  local queue = setmetatable({
    capacity = capacity,
    cost = cost,
    loop = on or loop.default(),
    items = {},
    head = 1,
    tail = 1,
    hooks = {},
    senders = {},
    receivers = {},
  }, methods)
  local participation, message, code = account:participant(queue)
  if not participation then return nil, message, code end
  queue.participation = participation
  return new_sender({ queue = queue }), new_receiver({ queue = queue })
end

new_sender, sender_of = base.class("quota.Sender", Sender, sender_ended)
new_receiver, receiver_of = base.class("quota.Receiver", Receiver, receiver_ended)

return M
