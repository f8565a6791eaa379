--- Epoch managers: an object is freed only when no reader can still hold it, and no reader that
-- sleeps makes memory grow.
--
-- Readers pin before they look at what is shared and unpin after. A writer takes an object out of
-- the shared structure and retires it; its destructor runs once every reader that may have seen it
-- has unpinned. A reader that stays pinned while too much waits is ejected: it is told so by
-- `unpin`, and the others go on.
--
--   local manager = epoch.new()
--   local handle = manager:register()
--   do
--     local guard <close> = handle:pin()
--     guard:retire(old, function(value) value:close() end)
--   end
--
-- In manual mode nothing happens by itself: `advance` moves the epoch, `reclaim` frees what was
-- retired before the safe epoch less one. See lua/lethe/meta/epoch.lua for every call.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.epoch"
local core_loop = require "lethe.core.loop"
local loop = require "lethe.loop"
local task = require "lethe.loop.task"

---@class lethe.epoch
local M = {}

local Manager, Handle = core.Manager, core.Handle

-- A task that waits while pinned moves to a record of its own.
base.shared("loop").before_wait = core.wait

-- ---- managers ---------------------------------------------------------------------------------

local NEW <const> = { "max_threads", "mode", "bag_size", "max_limbo", "account" }
local MOST <const> = 2 ^ 20 -- threads, and objects of a bag

local function count(options, name, level)
  local value = options[name]
  if value == nil then return 0 end
  local n = type(value) == "number" and math.tointeger(value)
  if not n or n < 1 or n > MOST then
    error(("%s must be an integer from 1 to %d (got %s)"):format(name, MOST, tostring(value)),
      level + 1)
  end
  return n
end

local function mode_of(options, level)
  local mode = options.mode
  if mode ~= nil and mode ~= "auto" and mode ~= "manual" then
    local got = type(mode) == "string" and ("%q"):format(mode) or check.kind(mode)
    error(('mode must be "auto" or "manual" (got %s)'):format(got), level + 1)
  end
  return mode == "manual"
end

--- A new manager. In auto mode bags are sealed, the epoch advances and objects are freed by
--- themselves; in manual mode only `advance`, `reclaim` and the like do that.
---@param options table?
---@return lethe.epoch.Manager?
---@return string? message
---@return string? code of the account: "account_closed" | "tracker_shutdown"
function M.new(options)
  if options == nil then options = {} end
  base.options(options, NEW, 2)
  local manual = mode_of(options, 2)
  local threads, bag = count(options, "max_threads", 2), count(options, "bag_size", 2)
  local limbo = check.size(options, "max_limbo", 2)
  if limbo == 0 then error("max_limbo must be above 0", 2) end
  local account = check.object(options, "account", "quota.Account", 2)
  return core.new(threads, manual, bag, limbo or 0, account)
end

--- A handle for this thread, one per thread and manager.
---@return lethe.epoch.Handle?
---@return string? message
---@return string? code "full" | "already_registered" | "closed"
function Manager:register()
  base.check(self, "epoch.Manager")
  return core.register(self)
end

-- ---- barriers ---------------------------------------------------------------------------------

local SHORTEST <const>, LONGEST <const> = 1e-4, 1e-2 -- between two looks, in seconds

-- Readers unpin without a word, so whoever waits for them has to look. `level` is the caller's.
local function pause(on, seconds, level)
  local timer
  return loop.wait(on, function(wake)
    timer = core_loop.timer(on, seconds, function() wake(true) end)
  end, function()
    if timer then core_loop.stop(timer) end
  end, level + 1)
end

local function check_timeout(timeout, level)
  if timeout == nil then return math.huge end
  if type(timeout) ~= "number" or timeout ~= timeout then
    error(("bad argument #1 to 'barrier' (seconds expected, got %s)")
      :format(type(timeout) == "number" and "nan" or check.kind(timeout)), level + 1)
  end
  return timeout
end

--- Waits until all that was retired before is freed, and its destructors have run, each in its own
--- state at a safe point of that one. Advances by itself, in manual mode too, and ejects nobody.
---@param timeout number? seconds
---@return true?
---@return string? message
---@return string? code "timeout" | "cancelled" | "closed"
function Manager:barrier(timeout)
  base.check(self, "epoch.Manager")
  timeout = check_timeout(timeout, 2)
  if timeout == math.huge and core.holds_back(self) then
    error("a barrier would wait for its caller's own pin: unpin first, or give it a timeout", 2)
  end
  local running = task.current()
  local on = running and core_loop.is_open(running.loop) and running.loop or loop.default()
  local ends = core_loop.now(on) + timeout
  local cookie = Manager.start_poll(self)
  local seconds = SHORTEST
  local freed, home, turn = false, false, 0 -- freed, and then: their destructors have run
  while true do
    local message, code
    if not freed then freed, message, code = core.barrier(self, cookie) end
    if freed then home, turn = core.at_home(self, turn) end
    if not base.open(self) then return nil, "the manager was closed meanwhile", "closed" end
    if freed == nil then return nil, message, code end
    if home then return true end
    local left = ends - core_loop.now(on)
    if left <= 0 then
      return nil, ("not all was freed within %g seconds"):format(timeout), "timeout"
    end
    local slept
    slept, message, code = pause(on, math.min(left, seconds), 2)
    if not slept then return nil, message, code end
    seconds = math.min(seconds * 2, LONGEST)
  end
end

-- ---- reclaiming step by step ------------------------------------------------------------------

---@class lethe.epoch.Reclaim
local Reclaim = {}
---@class lethe.epoch.Loaded
local Loaded = {}
---@class lethe.epoch.Ready
local Ready = {}
local new_reclaim, inside_reclaim, new_loaded, inside_loaded, new_ready, inside_ready

-- Each step is taken once.
local function take(step, what)
  if step.taken then error(("%s was called on this step already"):format(what), 3) end
  if not base.open(step.handle) then
    error("attempt to use a closed lethe.epoch.Handle", 3)
  end
  step.taken = true
end

--- Begins a reclaim whose steps the caller takes: `load_epochs`, `check_safe`, `try_reclaim`.
---@return lethe.epoch.Reclaim
function Handle:reclaim_start()
  base.check(self, "epoch.Handle")
  return new_reclaim{ handle = self }
end

--- Reads the epoch of every pinned thread.
---@return lethe.epoch.Loaded
function Reclaim:load_epochs()
  local step = inside_reclaim(self)
  take(step, "load_epochs")
  return new_loaded{ handle = step.handle, safe = core.safe(step.handle) }
end

--- The least of the epochs that were read, or the manager's.
---@return integer
function Loaded:safe_epoch()
  return inside_loaded(self).safe
end

--- Whether anything can be freed at all.
---@return "ready"|"blocked"
---@return lethe.epoch.Ready?
function Loaded:check_safe()
  local step = inside_loaded(self)
  take(step, "check_safe")
  if step.safe <= 1 then return "blocked", nil end
  return "ready", new_ready{ handle = step.handle, safe = step.safe }
end

--- Frees what this thread retired before the safe epoch less one; how many objects.
---@return integer
function Ready:try_reclaim()
  local step = inside_ready(self)
  take(step, "try_reclaim")
  return core.reclaim_below(step.handle, step.safe)
end

local function nothing() end

new_reclaim, inside_reclaim = base.class("epoch.Reclaim", Reclaim, nothing, false, true)
new_loaded, inside_loaded = base.class("epoch.Loaded", Loaded, nothing, false, true)
new_ready, inside_ready = base.class("epoch.Ready", Ready, nothing, false, true)

return M
