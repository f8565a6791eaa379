-- The operations of a vat script, one function each, on a vat of a few registers.
--
-- A register holds what userspace can hold: presences, local objects with fields, promises, weak
-- collections, stores, lists of these, or nothing. Registers are userspace's only roots.
--
-- The functions take the vat, { slots, registers, queue of the crank's jobs ... }, and the
-- operation; what they return is the operation's answer. What a register does not fit does nothing,
-- as an error in a vat's code ends its crank and nothing else.

local core = require "lethe.core.slots"
local deferred = require "lethe.vat.slots_deferred"
local json = require "lethe.json"
local slots_weak = require "lethe.vat.slots_weak"

local M = {}

local ops = {}
M.ops = ops

local function of_null(value)
  if value == json.null then return nil end
  return value
end

local function get(vat, name)
  name = of_null(name)
  if name == nil then return nil end
  return vat.registers[name]
end

local function set(vat, name, value)
  name = of_null(name)
  if name ~= nil then vat.registers[name] = value end
end

-- ---- values -----------------------------------------------------------------------------------

local Object, List = {}, {} -- metatables: local objects, and lists that came as outcomes

local function is(value, mt)
  return type(value) == "table" and getmetatable(value) == mt
end

local function names_of(slots, value, list, seen)
  if is(value, List) then
    for i = 1, value.n do
      names_of(slots, value[i], list, seen)
    end
  elseif value ~= nil then
    local vref = slots:name(value)
    if not seen[vref] then
      seen[vref] = true
      list[#list + 1] = vref
    end
  end
  return list
end

--- What a value says when it leaves: its objects, by first appearance.
---@param slots lethe.vat.Slots
---@return { slots: string[] }
function M.encode(slots, value)
  return { slots = names_of(slots, value, {}, {}) }
end

--- The opposite: nothing, one object, or a list of them.
---@param slots lethe.vat.Slots
---@param args { slots: string[] }
function M.decode(slots, args)
  local n = #args.slots
  local list = setmetatable({ n = n }, List)
  for i, vref in ipairs(args.slots) do
    list[i] = slots:import(vref)
  end
  if n == 0 then return nil end
  return n == 1 and list[1] or list
end

-- ---- messages ---------------------------------------------------------------------------------

function ops.deliver(vat, op)
  local at = op.at and vat.slots:import(op.at)
  local args = {}
  for i, vref in ipairs(op.args) do
    args[i] = vat.slots:import(vref)
  end
  for i = 1, #op.args do
    set(vat, op.into[i], args[i])
  end
  return nil, at
end

local function send(vat, target, method, args, into)
  local promise = vat.slots:send(target, method, args)
  if into then vat.hooks.settle(into, false, promise) end
  return promise
end

-- A message to a promise waits for it, unless the kernel can be asked to.
local function send_later(vat, target, method, args)
  local result = vat.hooks.new()
  vat.hooks.follow(target, function(rejected, value)
    local vref = not rejected and value ~= nil and vat.slots:slot(value)
    if vref and vref:sub(1, 2) == "o-" then
      send(vat, vref, method, M.encode(vat.slots, args), result)
    else
      vat.hooks.settle(result, true)
    end
  end)
  return result
end

function ops.send(vat, op)
  local target, method = get(vat, op.target), of_null(op.method) or "m"
  local args = setmetatable({ n = #op.args }, List)
  for i, name in ipairs(op.args) do
    args[i] = get(vat, name)
  end
  local vref = target ~= nil and vat.slots:slot(target)
  local promise
  if vref and (vref:sub(1, 2) == "o-" or vat.slots:is_imported(vref)) then
    promise = send(vat, vref, method, M.encode(vat.slots, args))
  elseif deferred.is(target) then
    promise = send_later(vat, target, method, args)
  else -- nobody answers there
    promise = vat.hooks.new()
    vat.hooks.settle(promise, not is(target, Object))
  end
  set(vat, op.into, promise)
end

function ops.call(vat, op)
  local result = vat.hooks.new()
  vat.hooks.settle(result, false, get(vat, op.value))
  vat.slots:decide(op.result, result)
end

function ops.newPromise(vat, op)
  local promise = vat.hooks.new()
  vat.own[promise] = true
  set(vat, op.into, promise)
end

function ops.settle(vat, op)
  local promise = get(vat, op.promise)
  if promise == nil or not vat.own[promise] then return end
  vat.hooks.settle(promise, op.reject == true, get(vat, op.value))
end

function ops.notify(vat, op)
  local list = {}
  for i, one in ipairs(op.resolutions) do
    list[i] = { one.p, one.reject == true, { slots = one.slots } }
  end
  vat.slots:notify(list)
end

-- ---- registers and objects --------------------------------------------------------------------

function ops.drop(vat, op)
  for _, name in ipairs(op.regs) do
    set(vat, name, nil)
  end
end

function ops.copy(vat, op)
  set(vat, op.to, get(vat, op.from))
end

function ops.make(vat, op)
  local object = setmetatable({ fields = {} }, Object)
  for i, name in ipairs(op.fields) do
    object.fields[i - 1] = get(vat, name)
  end
  set(vat, op.into, object)
end

function ops.setField(vat, op)
  local object = get(vat, op.obj)
  if is(object, Object) then object.fields[op.index] = get(vat, op.value) end
end

function ops.getField(vat, op)
  local object = get(vat, op.obj)
  if is(object, Object) then
    set(vat, op.into, object.fields[op.index])
  elseif is(object, List) then
    set(vat, op.into, object[op.index + 1])
  end
end

function ops.same(vat, op)
  return rawequal(get(vat, op.a), get(vat, op.b))
end

-- ---- weak collections -------------------------------------------------------------------------

local ABSENT <const> = {} -- what a map holds for a value that is nothing

function ops.newWeakMap(vat, op)
  local map, entries, collection = slots_weak.map_and_entries(vat.slots)
  vat.weak[map] = "map"
  vat.kept[collection] = entries
  set(vat, op.into, map)
end

function ops.newWeakSet(vat, op)
  local weak_set = vat.slots:weak_set()
  vat.weak[weak_set] = "set"
  set(vat, op.into, weak_set)
end

-- The collection, its kind and the key, where there are both.
local function weak_and_key(vat, op)
  local weak, key = get(vat, op.weak), get(vat, op.key)
  local kind = weak ~= nil and vat.weak[weak]
  if kind and key ~= nil then return weak, kind, key end
end

function ops.weakAdd(vat, op)
  local weak, kind, key = weak_and_key(vat, op)
  if kind == "map" then
    local value = get(vat, op.value)
    weak:set(key, value == nil and ABSENT or value)
  elseif kind == "set" then
    weak:add(key)
  end
end

function ops.weakHas(vat, op)
  local weak, _, key = weak_and_key(vat, op)
  return weak ~= nil and weak:has(key)
end

function ops.weakGet(vat, op)
  local weak, kind, key = weak_and_key(vat, op)
  local value
  if kind == "map" then value = weak:get(key) end
  if rawequal(value, ABSENT) then value = nil end
  set(vat, op.into, value)
  return value ~= nil
end

function ops.weakDelete(vat, op)
  local weak, _, key = weak_and_key(vat, op)
  return weak ~= nil and weak:delete(key)
end

-- ---- stores -----------------------------------------------------------------------------------

function ops.newStore(vat, op)
  local store = vat.slots:store()
  vat.stores[store] = true
  set(vat, op.into, store)
end

local function store_of(vat, op, kind)
  local store = get(vat, op.store)
  if store ~= nil and vat.slots:kind(store) == kind then return store end
end

function ops.storeSet(vat, op)
  local store = store_of(vat, op, "store")
  if store then store:set(op.k, get(vat, op.value)) end
end

function ops.storeGet(vat, op)
  local store = store_of(vat, op, "store")
  local value
  if store then value = store:get(op.k) end
  set(vat, op.into, value)
  return value ~= nil
end

function ops.storeDelete(vat, op)
  local store = store_of(vat, op, "store")
  if store then store:delete(op.k) end
end

function ops.newWeakStore(vat, op)
  set(vat, op.into, vat.slots:weak_store())
end

local function weak_store_and_key(vat, op)
  local store, key = store_of(vat, op, "weak_store"), get(vat, op.key)
  if store and key ~= nil then return store, key end
end

function ops.weakStoreAdd(vat, op)
  local store, key = weak_store_and_key(vat, op)
  if store then store:set(key, get(vat, op.value)) end
end

function ops.weakStoreHas(vat, op)
  local store, key = weak_store_and_key(vat, op)
  return store ~= nil and store:has(key)
end

function ops.weakStoreDelete(vat, op)
  local store, key = weak_store_and_key(vat, op)
  if store then store:delete(key) end
end

-- ---- the kernel's, and the engine's -----------------------------------------------------------

function ops.dropExports(vat, op)
  vat.slots:drop_exports(op.vrefs)
end

function ops.retireExports(vat, op)
  vat.slots:retire_exports(op.vrefs)
end

-- A map whose end was not noticed yet forgets these names, too.
function ops.retireImports(vat, op)
  local slots = {}
  for _, vref in ipairs(op.vrefs) do
    slots[#slots + 1] = core.find(vat.slots, vref)
  end
  vat.slots:retire_imports(op.vrefs)
  for _, entries in next, vat.kept do
    for _, slot in ipairs(slots) do
      entries[slot] = nil
    end
  end
end

function ops.bringOutYourDead(vat)
  vat.slots:bring_out_your_dead()
end

M.engine = {}

function M.engine.collect(vat, op)
  return { collected = json.array(vat.slots:collect(op.objs)) }
end

function M.engine.gc(vat)
  return { collected = json.array(vat.slots:collect()) }
end

function M.engine.finalize(vat, op)
  return { ran = json.array(vat.slots:finalize(of_null(op.n), of_null(op.pick))) }
end

return M
