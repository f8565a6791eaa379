-- Collections, the callbacks that follow them, and bringing out the dead.
--
-- A callback only moves a name between sets. Bringing out the dead collects, runs every callback,
-- judges the names, and lets go of what dead objects of the vat's own recognized or stored; since
-- that may be the death of others, it does so until nothing more dies. Then it says what came of
-- it, all at once or so many names at a time: what is left stays as it was judged, but for names
-- that are delivered again meanwhile.

local base = require "lethe.core.base"
local core = require "lethe.core.slots"
local stores = require "lethe.vat.slots_stores"
local walk = require "lethe.vat.slots_walk"
local weak = require "lethe.vat.slots_weak"

---@class lethe.vat.Slots
local Slots = core.Slots

-- ---- collections and callbacks ----------------------------------------------------------------

-- One full collection; how many callbacks wait then.
local function collect(self, of)
  local _, sees = core.engine(self)
  local queued = core.collect(self, sees and walk.unreached(self, of) or nil)
  base.safepoint()
  return queued
end

local function run_one(self, of, i)
  local slot, name = core.peek(self, i)
  weak.release(self, of, slot) -- if it is a collection's
  core.run(self, i)
  return name
end

local function run_all(self, of)
  while core.run_names(self) > 0 do
    run_one(self, of, 0)
  end
end

-- A collection by Lua's collector while all but the listed are held.
local function collect_but(self, of, names)
  local held, listed = {}, {}
  for _, name in ipairs(names or {}) do
    listed[name] = true
  end
  for slot, body in next, names and core.tables(self) or {} do
    if not listed[core.name(self, slot)] then held[slot] = body end
  end
  collect(self, of)
  return held
end

--- Collects now, and runs no callbacks. If a list is given only what is listed and nothing keeps:
--- vrefs, and "w1" ... for weak collections in the order of their making.
---@param names string[]?
---@return string[] collected
function Slots:collect(names)
  local of = core.of(self)
  local _, sees = core.engine(self)
  local before, list = core.queued(self), {}
  if sees then
    core.collect(self, walk.unreached(self, of, names))
  else
    collect_but(self, of, names)
    core.order(self, before)
  end
  for i = before, core.queued(self) - 1 do
    list[#list + 1] = select(2, core.peek(self, i))
  end
  return list
end

--- Runs callbacks that are queued: n of them, or all. `pick` says which in the queue is next, from
--- 0, modulo its length.
---@param n integer|"all"|nil
---@param pick integer?
---@return string[] ran
function Slots:finalize(n, pick)
  local of = core.of(self)
  local ran = {}
  if n == nil or n == "all" then n = math.maxinteger end
  while #ran < n and core.queued(self) > 0 do
    ran[#ran + 1] = run_one(self, of, (pick or 0) % core.queued(self))
  end
  return ran
end

-- ---- bringing out the dead --------------------------------------------------------------------

-- Says what is due. A syscall that raises was said; the others stay due.
local function say_pending(of)
  while of.pending[1] do
    local call = table.remove(of.pending, 1)
    if call[2] then of.syscall[call[1]](call[2]) end
  end
end

-- A dead object of the vat's own lets go of what it recognized or stored.
local function bury(self, of, slot)
  stores.delete(self, of, slot)
  stores.forget(self, of, slot)
  core.bury(self, slot)
end

-- Until nothing more dies: what one death lets go of may be the next.
local function find_dead(self, of)
  repeat
    if of.collects then
      repeat
        local queued = collect(self, of)
        run_all(self, of)
      until queued == 0
    end
    local own = core.judge(self)
    for _, slot in ipairs(own or {}) do
      bury(self, of, slot)
    end
  until not own
end

local function bring_out(self, of, budget)
  say_pending(of)
  if core.backlog(self) == 0 then
    find_dead(self, of)
    core.gather(self)
  end
  local calls = { { "dropImports", false }, { "retireImports", false }, { "retireExports", false } }
  of.pending = calls -- what is taken is due; from here on nothing wants memory
  local drop, retire, retire_own, left = core.take(self, budget)
  calls[1][2], calls[2][2], calls[3][2] = drop[1] and drop, retire[1] and retire,
    retire_own[1] and retire_own
  say_pending(of)
  if left == 0 then core.trim(self) end
  return left == 0
end

--- Says through the syscalls which imports the vat dropped and which names it forgot since the last
--- time. With a budget at most so many names: false then means that there is more to say.
---@param budget integer?
---@return boolean done
function Slots:bring_out_your_dead(budget)
  local of = core.of(self)
  local names = budget == nil and math.maxinteger or
    type(budget) == "number" and math.tointeger(budget)
  if not names or names < 1 then
    error(("bad argument #1 to 'bring_out_your_dead' (a positive integer expected, got %s)")
      :format(tostring(budget)), 2)
  end
  if of.busy then error("bring_out_your_dead is at work already", 2) end
  of.busy = true
  local ok, result = pcall(bring_out, self, of, names)
  of.busy = nil
  if not ok then error(result, 0) end
  return result
end

return Slots
