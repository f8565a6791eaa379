-- The tables of one vat: which objects it imports and exports, under which names, and what is to
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
-- Here are names and the kernel's deliveries; weak collections, promises, stores, the walk over the
-- heap and bring_out_your_dead have files of their own.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.slots"
local promises = require "lethe.vat.slots_promises"
local stores = require "lethe.vat.slots_stores"
local walk = require "lethe.vat.slots_walk"
local weak = require "lethe.vat.slots_weak"
require "lethe.vat.slots_boyd"

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
  local of = core.of(self)
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
    next_export = check.positive(options, "first_export", 2) or 10,
    next_promise = check.positive(options, "first_promise", 2) or 5,
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
  core.of(self)
  local root = self:val("o+0")
  if object == nil then return root end
  if root ~= nil then error("the vat has a root already", 2) end
  if self:slot(object) then error("the root must be an object of its own", 2) end
  core.hold(self, "o+0", object)
  return object
end

-- ---- names ------------------------------------------------------------------------------------

local function check_vref(vref, what)
  if type(vref) ~= "string" then
    error(("bad argument #1 to '%s' (vref expected, got %s)"):format(what, type(vref)), 3)
  elseif not core.parse(vref) then
    error(("bad argument #1 to '%s' (\"%s\" is no vref)"):format(what, vref), 3)
  end
end

--- The name of an object or promise of the vat's own, or of something that it imported; a new one
--- if it has none. Nothing leaves by that: what does is pinned by `export` and `send`.
---@param object any
---@return string vref
function Slots:name(object)
  local of = core.of(self)
  if not COLLECTABLE[type(object)] then
    error(("bad argument #1 to 'name' (an object expected, got %s)"):format(type(object)), 2)
  end
  local vref = self:slot(object)
  if vref then return vref end
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
  core.of(self)
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
  local of = core.of(self)
  check_vref(vref, "state")
  local slot = core.find(self, vref)
  if not slot then return "UNKNOWN" end
  local state = core.look(self, slot)
  local _, sees = core.engine(self)
  if state == "REACHABLE" and sees and not walk.reached(self, of)[slot] then
    return "UNREACHABLE"
  end
  return state
end

-- ---- the kernel's deliveries ------------------------------------------------------------------

-- All or nothing: the names are checked before the first is touched.
local function check_vrefs(self, vrefs, what, complaint)
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
    local wrong = complaint(kind == "o" and own, kind == "o" and not own, reachable, recognizable)
    if wrong or seen[vref] then
      error(("%s: %s %s"):format(what, vref, wrong or "is named twice"), 3)
    end
    seen[vref] = i
  end
end

--- The kernel reaches these exports no more; it still knows their names.
---@param vrefs string[]
function Slots:drop_exports(vrefs)
  core.of(self)
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
  core.of(self)
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
  local of = core.of(self)
  check_vrefs(self, vrefs, "retire_imports", function(_, import, reachable, recognizable)
    return not import and "is no import" or reachable and "was not dropped"
      or not recognizable and "is not known to the kernel"
  end)
  for _, vref in ipairs(vrefs) do
    local slot = core.find(self, vref)
    core.retire_import(self, vref)
    weak.forget(self, of, slot)
    stores.forget(self, of, slot)
  end
end

-- ---- looking ----------------------------------------------------------------------------------

--- What keeps a name: a path from a root, the last step first; nil if nothing does.
---@param vref string
---@return string[]?
function Slots:why(vref)
  local of = core.of(self)
  check_vref(vref, "why")
  return walk.why(self, of, vref)
end

--- Which imports hang on which of the exports that the kernel reaches, and which on anything else:
--- what cycles across vats are found by. Nothing of userspace may run meanwhile.
---@return { roots: string[], exports: table<string, string[]> }
function Slots:edges()
  return walk.edges(self, core.of(self))
end

---@return table
function Slots:stats()
  core.of(self)
  return core.stats(self)
end

return M
