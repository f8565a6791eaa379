-- The metered queue: a bounded or unbounded queue whose contents are claimed under an account.
--
-- Sending claims what the value costs, receiving releases it. The queue is a participant of its
-- own: its oldest data is the value at its head, and when a pass takes it, it collapses: everything
-- in it goes at once, both ends hear of it through their next call, and hooks are called.
--
--   local tx, rx = quota.queue{ account = account, capacity = 9, cost = function(v) return #v end }
--   tx:send("hello")   print(rx:recv())
--
-- The caller keeps the account: the queue holds it weakly. Stamps, and with them ages, are of the
-- queue's loop, which is its tracker's unless told otherwise.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.quota"
local loop = require "lethe.loop"
local participant = require "lethe.quota.participant"

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
  return nil, MESSAGES[code], code
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

-- A hook is a task: it may wait without holding anybody up.
local function call_hook(queue, hook, reason)
  loop.start(queue.loop, function()
    local ok, message = xpcall(hook, base.traceback, reason)
    if not ok then base.report(message, { callback = "on_collapse" }) end
  end)
end

-- The queue is over, for this reason. Hooks hear of the first one, in the order in which they were
-- set.
local function collapse(queue, reason)
  local first = not queue.collapsed
  queue.collapsed = reason
  local hooks = queue.hooks
  queue.hooks = {}
  for _, hook in ipairs(first and hooks or {}) do
    call_hook(queue, hook, reason)
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

local GONE <const> = {
  account_closed = true,
  participant_shutdown = true,
  tracker_shutdown = true,
}

-- Claims; where the account has ended nothing can be sent any more, and the queue hears of it.
local function claim(queue, cost)
  local ok, message, code = queue.participation:claim(cost)
  if not ok and GONE[code] then
    if not queue.collapsed then collapse(queue, "sender_closed") end
    return answer(send_state(queue))
  end
  if ok == nil then return nil, message, code end
  return ok
end

-- Claims and appends; the value stays the caller's when that fails.
local function push(queue, value, cost)
  local ok, message, code = claim(queue, cost)
  if not ok then return nil, message, code end
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
  if not queue.collapsed then claim(queue, 0) end
  return queue.collapsed and "closed" or "empty"
end

-- The participant. What a pass takes from it is everything: it collapses.
local methods = {}
methods.__index = methods

function methods:get_oldest()
  local head = self.items[self.head]
  return head and head[2]
end

local function reclaimed(queue)
  if queue.collapsed ~= "receiver_closed" then collapse(queue, "reclaimed") end
  drop_all(queue)
end

function methods:reclaim()
  reclaimed(self)
  if base.open(self.participation) then self.participation:destroy() end
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

local function cost_of(queue, value, name)
  if value == nil then
    error(("bad argument #1 to '%s' (a value expected, got nil)"):format(name), 3)
  end
  local cost = queue.cost and queue.cost(value) or 0
  return math.min(base.size(cost, "cost", 3), math.maxinteger - STAMP) + STAMP
end

--- Sends a value; waits while the queue is full.
---@param value any not nil
---@return true?
---@return string? message
---@return string? code "closed" | "reclaimed" | "over_limit" | "cancelled"
function Sender:send(value)
  local queue = sender_of(self).queue
  local cost = cost_of(queue, value, "send")
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
  local cost = cost_of(queue, value, "try_send")
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

--- Calls `fn(reason)` once the queue has collapsed: "reclaimed", "sender_closed" or
--- "receiver_closed"; at once if it has already.
---@param fn fun(reason: string)
function Receiver:on_collapse(fn)
  local queue = receiver_of(self).queue
  check.argument(1, "on_collapse", fn, "function", 2)
  if queue.collapsed then
    call_hook(queue, fn, queue.collapsed)
  else
    queue.hooks[#queue.hooks + 1] = fn
  end
end

--- Values that wait to be received.
function Receiver:__len()
  return count(receiver_of(self).queue)
end

-- The participation is closed with the second of the two.
local function end_one(queue, what, closed, bytes)
  local participation = queue.participation
  if not closed then core.collected(participation, what, bytes) end
  queue.ends = queue.ends - 1
  if queue.ends == 0 then participation:close() end
end

-- The sender is gone: what was sent still arrives.
local function sender_ended(sender, closed)
  local queue = sender.queue
  if not queue.collapsed then collapse(queue, "sender_closed") end
  end_one(queue, "quota.Sender", closed, 0)
end

-- The receiver is gone, and what was sent with it.
local function receiver_ended(receiver, closed)
  local queue = receiver.queue
  local bytes = queue.participation:used()
  if queue.collapsed ~= "reclaimed" then
    queue.participation:destroy()
    collapse(queue, "receiver_closed")
  end
  drop_all(queue)
  end_one(queue, "quota.Receiver", closed, bytes)
end

-- ---- making ------------------------------------------------------------------------------------

local OPTIONS <const> = { "account", "capacity", "cost", "loop" }

local function new_queue(account, options, level)
  return setmetatable({
    capacity = check.positive(options, "capacity", level + 1),
    cost = check.typed(options, "cost", "function", level + 1),
    loop = check.object(options, "loop", "loop.Loop", level + 1)
      or core.loop_of(account)
      or loop.default(),
    items = {},
    head = 1,
    tail = 1,
    hooks = {},
    senders = {},
    receivers = {},
    ends = 2, -- that are not closed
    collapsed = nil, -- the reason
  }, methods)
end

---@class lethe.quota.QueueOptions
---@field account lethe.quota.Account
---@field capacity integer?
---@field cost (fun(v: any): integer)?
---@field loop lethe.loop.Loop?

--- See the module's head. `level` is where misuse is reported.
---@param options lethe.quota.QueueOptions
---@param level integer
---@return lethe.quota.Sender? sender
---@return lethe.quota.Receiver|string receiver or message
---@return string? code
function M.new(options, level)
  base.options(options, OPTIONS, level + 1)
  local account = check.object(options, "account", "quota.Account", level + 1)
  if not account then error("account must be a lethe.quota.Account (got nil)", level + 1) end
  local queue = new_queue(account, options, level + 1)
  local participation, message, code = account:participant(queue)
  if not participation then return nil, message, code end
  queue.participation = participation
  participant.on_collapsed(queue, reclaimed)
  return new_sender({ queue = queue }), new_receiver({ queue = queue })
end

new_sender, sender_of = base.class("quota.Sender", Sender, sender_ended, true)
new_receiver, receiver_of = base.class("quota.Receiver", Receiver, receiver_ended, true)

return M
