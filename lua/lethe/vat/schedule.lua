-- Schedules of collections: when a vat's heap is really collected, and when the notes of its
-- finalizers really arrive. Whatever a schedule does, no transcript may show it.
--
-- Before each crank the schedule is asked, kind by kind, what is to happen in it:
--
--   mode      the collector works in another mode: generational, incremental, or not at all
--   alloc     a full collection in the midst of every k-th allocation of the crank
--   boyd      the same in a bringOutYourDead
--   delay     the notes of what died stay where they are
--   reorder   they arrive in another order
--   partial   only some of them arrive
--
-- A seed draws the answers. A function is called with each of these words, as `fn(point)`, and
-- answers with the word of what is to happen, or nil.

local base = require "lethe.core.base"

local M = {}

local KINDS <const> = { "alloc", "boyd", "mode", "delay", "reorder", "partial" }
M.KINDS = KINDS

local IS_KIND <const> = {}
for _, kind in ipairs(KINDS) do IS_KIND[kind] = true end

local MODES <const> = { "generational", "incremental", "stop" }

-- How often a seed's schedule does each, one in so many cranks.
local ONE_IN <const> = { alloc = 3, boyd = 2, mode = 4, delay = 3, reorder = 2, partial = 3 }

---@class lethe.vat.Plan
---@field mode "generational"|"incremental"|"stop"|nil
---@field alloc integer? collect at each so many allocations of the crank
---@field boyd integer? the same of a bringOutYourDead
---@field delay boolean? no notes arrive
---@field reorder integer? a seed for the order in which they do
---@field partial integer? how many of them arrive

---@class lethe.vat.Schedule
local Schedule = {}
Schedule.__index = Schedule

--- Numbers 1..n that depend on the seed alone.
---@param seed integer
---@return fun(n: integer): integer
function M.generator(seed)
  local state = seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019
  return function(n)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % n + 1
  end
end

local function drawn(random)
  return function(point)
    return random(ONE_IN[point]) == 1 and point or nil
  end
end

--- A schedule. Raises at `level` for what is neither a seed nor a function.
---@param how integer|fun(point: string): string?
---@param level integer
---@return lethe.vat.Schedule
function M.new(how, level)
  local seed = type(how) == "number" and math.tointeger(how)
  if not seed and type(how) ~= "function" then
    local message = "bad argument #1 to 'gc_schedule' (integer or function expected, got %s)"
    error(message:format(type(how)), level + 1)
  end
  local random = M.generator(seed or 1)
  local counts = {}
  for _, kind in ipairs(KINDS) do counts[kind] = 0 end
  return setmetatable({ fn = seed and drawn(random) or how, random = random, counts = counts },
    Schedule)
end

-- What each kind means for the plan of a crank.
local enter = {}

function enter.mode(plan, random) plan.mode = MODES[random(#MODES)] end
function enter.alloc(plan, random) plan.alloc = 1 + random(random(2) == 1 and 1000 or 50) end
function enter.boyd(plan, random) plan.boyd = 1 + random(50) end
function enter.delay(plan) plan.delay = true end
function enter.reorder(plan, random) plan.reorder = random(1 << 20) end
function enter.partial(plan, random) plan.partial = random(3) - 1 end

-- What goes wrong in a program's function is reported once, and nothing happens.
local function ask(self, plan, point)
  local ok, action = pcall(self.fn, point)
  if ok and (action == nil or action == false) then return end
  if ok and IS_KIND[action] then
    self.counts[action] = self.counts[action] + 1
    enter[action](plan, self.random)
  elseif not self.reported then
    self.reported = true
    local message = ok and ("a schedule answers with one of %s (got %s)"):format(
      table.concat(KINDS, ", "), tostring(action)) or action
    base.report(message, { callback = "gc_schedule" })
  end
end

--- What is to happen in the next crank: nothing in it is nothing special.
---@param collects boolean it is a bringOutYourDead
---@return lethe.vat.Plan
function Schedule:plan(collects)
  local plan = {}
  for _, point in ipairs(KINDS) do
    if (point == "boyd") == collects or point == "mode" or point == "reorder" then
      ask(self, plan, point)
    end
  end
  return plan
end

--- How often each kind was asked for; nothing, without a schedule.
---@param self lethe.vat.Schedule?
---@return table<string, integer>
function M.counts(self)
  local counts = {}
  for _, kind in ipairs(KINDS) do counts[kind] = self and self.counts[kind] or 0 end
  return counts
end

return M
