-- The driver of a vat that is a Lua state of its own: hands it the kernel's deliveries, and the
-- kernel what it asks for.
--
-- The state, and what is in it, is lethe.vat.inside. A crank is one delivery; the code that it runs
-- is under the vat's meter, and the state under its memory. Where one of the two is spent nothing
-- of the crank has left: what the vat asked for comes out at the crank's end, or not at all.

local core = require "lethe.core.vat"
local marshal = require "lethe.vat.marshal"
local memory = require "lethe.vat.memory"
local output = require "lethe.vat.output"
local source = require "lethe.vat.source"

local M = {}

-- Of a vat that was given none: code that never returns ends all the same, within seconds.
local METER <const> = 1000000000
local MEMORY <const> = 64 << 20

-- What data takes at most while it is taken apart: so many bytes for each of its own, and for each
-- table in it.
local TEXT <const>, TABLE <const> = 5, 150

---@class lethe.vat.StateDriver
local Driver = {}
Driver.__index = Driver

-- Gives the kernel what the vat asked for.
local function emit(self, calls, lines)
  output.add(self.bounds, lines)
  for _, call in ipairs(calls) do
    self.syscall[call[1]](table.unpack(call, 2, call.n + 1))
  end
  return true
end

-- A delivery, outside of the meter, and what follows from it, under it.
local function crank(self, name, ...)
  local ok, message, code = self.state:call(name, nil, ...)
  if not ok then return nil, message, code end
  local ran, calls, lines = self.state:call("run", self.bounds.meter or METER)
  if not ran then return nil, calls, lines end
  return emit(self, calls, lines)
end

-- What is wrong with data of another vat's: taken apart it could fill this one's memory.
local function complaint(self, data)
  if type(data) ~= "string" or #data * (TEXT + TABLE / 3) <= self.most // 2 then return nil end
  local tables = select(2, data:gsub("|", "|")) -- or more: texts may have it too
  if #data * TEXT + tables * TABLE <= self.most // 2 then return nil end
  return ("a message of %d bytes is too large for a vat with %d of memory"):format(#data, self.most)
end

function Driver:deliver(vref, method, args, result)
  local message = complaint(self, args.data)
  if message then return crank(self, "refuse", args.slots, result, message) end
  return crank(self, "deliver", vref, method, args.data, args.slots, result)
end

function Driver:notify(resolutions)
  local list = {}
  for i, each in ipairs(resolutions) do
    local message = complaint(self, each[3].data)
    list[i] = {
      each[1], each[2] or message ~= nil,
      { data = message and marshal.text(message) or each[3].data, slots = each[3].slots },
    }
  end
  return crank(self, "notify", list)
end

for _, name in ipairs{ "drop_exports", "retire_exports", "retire_imports" } do
  Driver[name] = function(self, vrefs)
    local ok, message, code = self.state:call(name, nil, vrefs)
    if not ok then return nil, message, code end
    return true
  end
end

--- No code of the vat's runs in it, and it is not metered.
function Driver:bring_out_your_dead(budget)
  local ok, done, code = self.state:call("bring_out_your_dead", nil, budget)
  if not ok then return nil, done, code end
  local took, calls, lines = self.state:call("take")
  if not took then return nil, calls, lines end
  return emit(self, calls, lines)
end

--- How the vat's heap is to be collected in the next crank. Before it, unless that is to wait, what
--- is dead by now is noted; and of the notes, where they are to come in another order or in part,
--- some or all are let through.
---@param plan lethe.vat.Plan
function Driver:plan(plan)
  if not plan.delay then
    self.state:collect()
    if plan.partial or plan.reorder then
      self.state:call("finalize", nil, plan.partial or "all", plan.reorder)
    end
  end
  self.state:plan(plan.mode, plan.alloc or plan.boyd)
end

--- What the vat holds of whom; see lethe.vat.cycles.
function Driver:edges()
  local ok, edges, code = self.state:call("edges")
  if not ok then return nil, edges, code end
  return edges
end

--- What its state holds, what its last crank took, and how often a plan had it collected.
---@return { bytes: integer, instructions: integer, collections: integer }
function Driver:stats()
  local bytes, instructions, collections = self.state:stats()
  return { bytes = bytes, instructions = instructions, collections = collections }
end

function Driver:close()
  self.state:close()
  if self.memory then self.memory:close() end
end

local function fail(state, name, why, level)
  state:close()
  error(("vat %s: %s"):format(name, why), level + 1)
end

--- A new vat. Raises at `level` for what is no build, and for one that fails.
---@param how any a function, a string, { module = name } or { file = path }
---@param bounds { name: string, meter: integer?, memory: integer?, output: table?,
--- account: lethe.quota.Account?, now: (fun(): number)? }
---@param syscall table<string, function>
---@param level integer
---@return lethe.vat.StateDriver
function M.new(how, bounds, syscall, level)
  local text, chunk_name, mode = source.read(how, bounds.name, level + 1)
  local state, message = core.new(bounds.memory or MEMORY)
  if not state then error(("vat %s: %s"):format(bounds.name, message), level + 1) end
  local ok, pending =
    state:call("build", bounds.meter or METER, bounds.name, text, chunk_name, mode)
  if not ok then fail(state, bounds.name, pending, level + 1) end
  local self = setmetatable({
    state = state, bounds = bounds, syscall = syscall,
    most = bounds.memory or MEMORY,
    pending = pending, -- it asked for something, which leaves with its next crank
  }, Driver)
  if bounds.account then
    self.memory, message = memory.new(bounds.account, state, bounds.now)
    if not self.memory then fail(state, bounds.name, message, level + 1) end
  end
  return self
end

return M
