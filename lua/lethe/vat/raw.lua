-- Raw vats: the callbacks of a vat that keeps its own books, called as every vat is.
--
-- The callbacks run in the host's state, each in a coroutine of its own: one that raises, or tries
-- to wait, fails, and the vat ends. They get copies, which they may change.

local base = require "lethe.core.base"
local capdata = require "lethe.vat.capdata"

local M = {}

local CALLBACKS <const> = {
  "deliver", "notify", "drop_exports", "retire_exports", "retire_imports", "bring_out_your_dead",
  "edges",
}

---@class lethe.vat.Driver
local Driver = {}
Driver.__index = Driver

-- true and what it returned, or nil, message, code.
local function call(fn, ...)
  if not fn then return true end
  local co = coroutine.create(fn)
  local ok, value = coroutine.resume(co, ...)
  if coroutine.status(co) == "suspended" then
    coroutine.close(co)
    return nil, "a raw vat cannot wait", "failed"
  end
  if ok then return true, value end
  local text = type(value) == "string" and value or tostring(value)
  return nil, debug.traceback(co, text), "failed"
end

local function copy_args(args)
  return capdata.with_slots(args, table.move(args.slots, 1, #args.slots, 1, {}))
end

function Driver:deliver(vref, method, args, result)
  return call(self.callbacks.deliver, vref, method, copy_args(args), result)
end

function Driver:notify(resolutions)
  local list = {}
  for i, each in ipairs(resolutions) do
    list[i] = capdata.resolution(each[1], each[2], copy_args(each[3]))
  end
  return call(self.callbacks.notify, list)
end

for _, name in ipairs{ "drop_exports", "retire_exports", "retire_imports" } do
  Driver[name] = function(self, vrefs)
    return call(self.callbacks[name], table.move(vrefs, 1, #vrefs, 1, {}))
  end
end

function Driver:bring_out_your_dead()
  return call(self.callbacks.bring_out_your_dead)
end

--- How the host's heap is to be collected in the next crank: before the callback, or at one of its
--- syscalls. The collector's mode is the host's own business, and notes are the vat's.
---@param plan lethe.vat.Plan
function Driver:plan(plan)
  self.collect_at = plan.boyd and 0 or plan.alloc and plan.alloc % 4 or nil
  M.turn(self)
end

--- A moment of the crank at which the heap may be collected.
function M.turn(self)
  local left = self.collect_at
  if not left then return end
  self.collect_at = left > 0 and left - 1 or nil
  if left == 0 then collectgarbage() end
end

--- What a vat says of who holds what inside it; see lethe.vat.cycles.
function Driver:edges()
  local ok, value, code = call(self.callbacks.edges)
  if not ok then return nil, value, code end
  return value
end

function Driver:close()
  self.callbacks = {}
end

--- The driver of a raw vat: calls `setup(syscall)`. Raises at `level` for callbacks that are none.
---@param setup fun(syscall: table): table
---@param syscall table
---@param level integer
---@return lethe.vat.Driver
function M.new(setup, syscall, level)
  local self = setmetatable({ callbacks = {}, collect_at = nil }, Driver)
  local watched = {}
  for name, fn in pairs(syscall) do
    watched[name] = function(...)
      M.turn(self)
      return fn(...)
    end
  end
  local callbacks = setup(watched)
  if type(callbacks) ~= "table" then
    error(("setup must return a table of callbacks (got %s)"):format(type(callbacks)), level + 1)
  end
  base.options(callbacks, CALLBACKS, level + 1)
  for _, name in ipairs(CALLBACKS) do
    local fn = callbacks[name]
    if fn ~= nil and type(fn) ~= "function" then
      error(("%s must be a function (got %s)"):format(name, type(fn)), level + 1)
    end
  end
  self.callbacks = callbacks
  return self
end

return M
