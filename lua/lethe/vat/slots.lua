--- The tables of one vat: which objects it imports and exports, under which names, and what is to
-- be said when they die.
--
-- A name (a vref) such as o-4 is the kernel's word for an object. `import` gives the vat a presence
-- for it, the same one as long as that lives; `export` names an object of the vat's own. The
-- collector may take a presence at any moment, and nobody can tell: only `bring_out_your_dead`
-- looks, and says what it found through the syscalls, sorted by bytes.
--
--   local slots = vat.slots{ syscall = { dropImports = print, retireImports = print } }
--   local alice = slots:import("o-1")
--   alice = nil
--   slots:bring_out_your_dead()
--
-- Beside the calls of lethe/meta/vat.lua there are those for a dispatcher that is built on this:
-- send, notify and decide (slots_promises.lua), and what stores use (slots_stores.lua).

local base = require "lethe.core.base"
local core = require "lethe.core.slots"
local promises = require "lethe.vat.slots_promises"
local stores = require "lethe.vat.slots_stores"
local walk = require "lethe.vat.slots_walk"
local weak = require "lethe.vat.slots_weak"

local M = {}

---@class lethe.vat.Slots
local Slots = core.Slots

local COLLECTABLE <const> = { table = true, userdata = true, ["function"] = true, thread = true }
local OPTIONS <const> = {
  "syscall", "engine", "root", "roots", "forced", "first_export", "first_promise", "promises",
  "encode", "decode", "on_release",
}
local SYSCALLS <const> = {
  "send", "subscribe", "resolve", "dropImports", "retireImports", "retireExports",
}

local function insides(self)
  local _, _, _, of = core.tables(self)
  return of
end

-- ---- making -----------------------------------------------------------------------------------

local function nothing() end

local function check_syscalls(syscall, level)
  if type(syscall) ~= "table" then
    error(("syscall must be a table of functions (got %s)"):format(type(syscall)), level + 1)
  end
  base.options(syscall, SYSCALLS, level + 1)
  local calls = {}
  for _, name in ipairs(SYSCALLS) do
    local fn = syscall[name]
    if fn ~= nil and type(fn) ~= "function" then
      error(("syscall.%s must be a function (got %s)"):format(name, type(fn)), level + 1)
    end
    calls[name] = fn or nothing
  end
  return calls
end

local function first(options, name, default, level)
  local value = options[name]
  if value == nil then return default end
  if math.type(value) ~= "integer" or value < 1 then
    error(("%s must be a positive integer (got %s)"):format(name, tostring(value)), level + 1)
  end
  return value
end

local function engine_of(options, level)
  local engine = options.engine
  if engine == nil then return "lua" end
  if engine ~= "lua" and engine ~= "manual" then
    error(('engine must be "lua" or "manual" (got %s)'):format(
      type(engine) == "string" and ("%q"):format(engine) or type(engine)), level + 1)
  end
  return engine
end

-- What a name that is neither known nor a presence's stands for.
local function import_other(self, vref)
  local kind, own, stored = core.parse(vref)
  local of = insides(self)
  if kind == "p" and not own then return promises.import(self, of, vref) end
  if kind == "d" and not own then
    local device = core.node(of.device)
    core.hold(self, vref, device)
    return device
  end
  local store = stored and stores.import(self, of, vref)
  if store then return store end
  error(("%s is not known to this vat"):format(vref), 3)
end

--- The tables of one vat.
---@param options table?
---@return lethe.vat.Slots
function M.new(options)
  if options == nil then options = {} end
  base.options(options, OPTIONS, 2)
  local engine = engine_of(options, 2)
  local of = {
    syscall = check_syscalls(options.syscall or {}, 2),
    next_export = first(options, "first_export", 10, 2),
    next_promise = first(options, "first_promise", 5, 2),
    collects = engine == "lua" or options.forced == true,
    roots = options.roots,
    on_release = options.on_release or nothing,
    import = import_other,
    pending = {}, -- syscalls that are due: { name, list }
  }
  local self = core.new(engine, of)
  of.device = core.metatable(self, "lethe.vat.Device", false)
  promises.open(self, of, options)
  weak.open(self, of)
  stores.open(self, of)
  if options.root ~= nil then self:root(options.root) end
  return self
end

--- The vat's root object, o+0: held for good.
---@param object table|userdata|function? sets it, once
---@return any
function Slots:root(object)
  local root = self:val("o+0")
  if object == nil then return root end
  if root ~= nil then error("the vat has a root already", 2) end
  if self:slot(object) then error("the root must be an object of its own", 2) end
  core.hold(self, "o+0", object)
  return object
end

-- ---- names ------------------------------------------------------------------------------------

--- The name of an object or promise of the vat's own, or of something that it imported; a new one
--- if it has none. Nothing leaves by that: what does is pinned by `export` and `send`.
---@param object any
---@return string vref
function Slots:name(object)
  local vref = self:slot(object)
  if vref then return vref end
  local of = insides(self)
  if not COLLECTABLE[type(object)] then
    error(("bad argument #1 to 'name' (an object expected, got %s)"):format(type(object)), 2)
  end
  if of.is_promise(object) then return promises.name(self, of, object) end
  if weak.is(of, object) then error("a weak collection cannot leave its vat", 2) end
  vref = "o+" .. of.next_export
  of.next_export = of.next_export + 1
  core.register(self, vref, object)
  return vref
end

--- Names an object that leaves the vat: pinned until the kernel drops it.
---@param object any
---@return string vref
function Slots:export(object)
  if not COLLECTABLE[type(object)] then
    error(("bad argument #1 to 'export' (an object expected, got %s)"):format(type(object)), 2)
  end
  local vref = self:name(object)
  core.deliver(self, vref)
  return vref
end

--- Where a name stands. Only an engine that sees the heap tells UNREACHABLE.
---@param vref string
---@return "UNKNOWN"|"REACHABLE"|"UNREACHABLE"|"COLLECTED"|"FINALIZED"
function Slots:state(vref)
  local slot = core.find(self, vref)
  if not slot then return "UNKNOWN" end
  local state = core.look(self, slot)
  local _, sees = core.engine(self)
  if state == "REACHABLE" and sees and not walk.reached(self, insides(self))[slot] then
    return "UNREACHABLE"
  end
  return state
end

-- ---- the kernel's deliveries ------------------------------------------------------------------

-- All or nothing: the names are checked before the first is touched.
local function check_vrefs(self, vrefs, what, check)
  if type(vrefs) ~= "table" then
    error(("bad argument #1 to '%s' (list of vrefs expected, got %s)"):format(what, type(vrefs)), 3)
  end
  local seen = {}
  for i, vref in ipairs(vrefs) do
    local kind, own = core.parse(vref)
    if not kind then error(("%s: %s is no vref"):format(what, tostring(vref)), 3) end
    local slot = core.find(self, vref)
    local _, reachable, recognizable
    if slot then _, reachable, recognizable = core.look(self, slot) end
    local wrong = check(kind == "o" and own, kind == "o" and not own, reachable, recognizable)
    if wrong or seen[vref] then
      error(("%s: %s %s"):format(what, vref, wrong or "is named twice"), 3)
    end
    seen[vref] = i
  end
end

--- The kernel reaches these exports no more; it still knows their names.
---@param vrefs string[]
function Slots:drop_exports(vrefs)
  check_vrefs(self, vrefs, "drop_exports", function(export, _, reachable)
    return not export and "is no export" or not reachable and "is not held by the kernel"
  end)
  for _, vref in ipairs(vrefs) do
    core.drop_export(self, vref)
  end
end

--- The kernel has forgotten these exports, which it dropped before.
---@param vrefs string[]
function Slots:retire_exports(vrefs)
  check_vrefs(self, vrefs, "retire_exports", function(export, _, reachable, recognizable)
    return not export and "is no export" or reachable and "was not dropped"
      or not recognizable and "is not known to the kernel"
  end)
  for _, vref in ipairs(vrefs) do
    core.retire_export(self, vref)
  end
end

--- These imports, which the vat dropped, are gone: weak collections forget them.
---@param vrefs string[]
function Slots:retire_imports(vrefs)
  check_vrefs(self, vrefs, "retire_imports", function(_, import, reachable, recognizable)
    return not import and "is no import" or reachable and "was not dropped"
      or not recognizable and "is not known to the kernel"
  end)
  local of = insides(self)
  for _, vref in ipairs(vrefs) do
    local slot = core.find(self, vref)
    core.retire_import(self, vref)
    weak.forget(self, of, slot)
    stores.forget(self, of, slot)
  end
end

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

--- Collects now, and runs no callbacks. With engine "manual" only what is listed, if a list is
--- given and nothing keeps it: vrefs, and "w1" ... for weak collections in the order of their
--- making.
---@param names string[]?
---@return string[] collected
function Slots:collect(names)
  local of = insides(self)
  local _, sees = core.engine(self)
  if not sees then
    if names then error("only the manual engine collects single objects", 2) end
    local before = core.queued(self)
    local list = {}
    for i = before, collect(self, of) - 1 do
      list[#list + 1] = select(2, core.peek(self, i))
    end
    return list
  end
  local slots, list = walk.unreached(self, of, names), {}
  for i, slot in ipairs(slots) do
    list[i] = core.name(self, slot)
  end
  core.collect(self, slots)
  return list
end

--- Runs callbacks that are queued: n of them, or all. `pick` says which in the queue is next, from
--- 0, modulo its length.
---@param n integer|"all"|nil
---@param pick integer?
---@return string[] ran
function Slots:finalize(n, pick)
  local of = insides(self)
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
    of.syscall[call[1]](call[2])
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
  local drop, retire, retire_own, left = core.take(self, budget)
  for i, name in ipairs{ "dropImports", "retireImports", "retireExports" } do
    local list = i == 1 and drop or i == 2 and retire or retire_own
    if list[1] then of.pending[#of.pending + 1] = { name, list } end
  end
  say_pending(of)
  if left == 0 then core.trim(self) end
  return left == 0
end

--- Says through the syscalls which imports the vat dropped and which names it forgot since the last
--- time. With a budget at most so many names: false then means that there is more to say.
---@param budget integer?
---@return boolean done
function Slots:bring_out_your_dead(budget)
  local of = insides(self)
  if budget ~= nil and (math.type(budget) ~= "integer" or budget < 1) then
    error(("bad argument #1 to 'bring_out_your_dead' (a positive integer expected, got %s)")
      :format(tostring(budget)), 2)
  end
  if of.busy then error("bring_out_your_dead is at work already", 2) end
  of.busy = true
  local ok, result = pcall(bring_out, self, of, budget or math.maxinteger)
  of.busy = nil
  if not ok then error(result, 0) end
  return result
end

-- ---- looking ----------------------------------------------------------------------------------

--- What keeps a name: a path from a root, the last step first; nil if nothing does.
---@param vref string
---@return string[]?
function Slots:why(vref)
  return walk.why(self, insides(self), vref)
end

--- Which imports hang on which of the exports that the kernel reaches, and which on anything else:
--- what cycles across vats are found by. Nothing of userspace may run meanwhile.
---@return { roots: string[], exports: table<string, string[]> }
function Slots:edges()
  return walk.edges(self, insides(self))
end

---@return table
function Slots:stats()
  return core.stats(self)
end

return M
