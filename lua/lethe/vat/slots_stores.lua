-- Stores of a vat: collections whose content is data, not objects. What they hold is a list of
-- names, so nothing in them keeps a presence alive in memory; the names they hold are reachable all
-- the same.
--
--   store       a map from strings to values
--   weak store  keyed by objects, whose names it recognizes
--
-- A store is an object with a name of its own, o+v2/N or o+v3/N, and its data lives as long as
-- anything knows that name: an object in memory, the kernel, other stores. The object may be
-- collected and made again.

local base = require "lethe.core.base"
local core = require "lethe.core.slots"

local M = {}

local KIND <const> = { store = 2, weak_store = 3 } -- the numbers in their names
local PLAIN <const> = { string = true, number = true, boolean = true, ["nil"] = true }

local function check(self, s, class, level)
  if not s then error(("a %s expected"):format(class), level + 1) end
  if not base.open(self) then error("attempt to use a closed lethe.vat.Slots", level + 1) end
  return s
end

-- ---- values -----------------------------------------------------------------------------------

-- A value as data: itself, or { slot = number } for what has a name. The name counts as mentioned.
local function to_data(self, value)
  if PLAIN[type(value)] then return value end
  local vref = self:name(value)
  local data = { vref = vref }
  core.store(self, vref)
  return data
end

local function from_data(self, data)
  if type(data) ~= "table" then return data end
  return self:import(data.vref)
end

local function let_go(self, data)
  if type(data) == "table" then core.unstore(self, data.vref) end
end

-- s.data[key] = { data }. What wants memory comes first, so that nothing is mentioned in vain.
local function put(self, s, key, value)
  local before, cell = s.data[key], { false }
  if before == nil then s.data[key] = {} end
  cell[1] = to_data(self, value)
  s.data[key] = cell
  if before then let_go(self, before[1]) end
end

-- ---- strong stores ----------------------------------------------------------------------------

local function open_store(self, of)
  local class <const> = "lethe.vat.Store"
  local mt = core.metatable(self, class, true)
  local Store = {}

  function Store.set(object, key, value)
    local s = check(self, core.insides(object, mt), class, 2)
    if type(key) ~= "string" then
      error(("bad argument #1 to 'set' (string expected, got %s)"):format(type(key)), 2)
    end
    put(self, s, key, value)
  end

  function Store.get(object, key)
    local cell = check(self, core.insides(object, mt), class, 2).data[key]
    return cell and from_data(self, cell[1])
  end

  function Store.delete(object, key)
    local s = check(self, core.insides(object, mt), class, 2)
    local before = s.data[key]
    s.data[key] = nil
    if before then let_go(self, before[1]) end
    return before ~= nil
  end

  mt.__index = Store
  of.store = mt
end

-- ---- weak stores ------------------------------------------------------------------------------

-- of.store_keys[slot] = set of the stores that recognize it
local function put_by_key(self, of, s, slot, value)
  local known = s.data[slot]
  of.store_keys[slot] = of.store_keys[slot] or {}
  of.store_keys[slot][s] = true
  if not known then
    s.data[slot] = {}
    core.recognize(self, slot)
  end
  put(self, s, slot, value)
end

local function remove(self, of, s, slot)
  local before = s.data[slot]
  if before == nil then return false end
  s.data[slot] = nil
  local set = of.store_keys[slot]
  set[s] = nil
  if next(set) == nil then of.store_keys[slot] = nil end
  let_go(self, before[1])
  core.unrecognize(self, slot)
  return true
end

-- The slot of a key: it gets a name if it has none.
local function slot_of(self, key, method, level)
  if PLAIN[type(key)] then
    error(("bad argument #1 to '%s' (an object expected as key, got %s)"):format(method, type(key)),
      level + 1)
  end
  return core.find(self, self:name(key))
end

local function open_weak_store(self, of)
  local class <const> = "lethe.vat.WeakStore"
  local mt = core.metatable(self, class, true)
  local WeakStore = {}

  function WeakStore.set(object, key, value)
    local s = check(self, core.insides(object, mt), class, 2)
    put_by_key(self, of, s, slot_of(self, key, "set", 2), value)
  end

  function WeakStore.get(object, key)
    local s = check(self, core.insides(object, mt), class, 2)
    local data = s.data[slot_of(self, key, "get", 2)]
    return data and from_data(self, data[1])
  end

  function WeakStore.has(object, key)
    local s = check(self, core.insides(object, mt), class, 2)
    return s.data[slot_of(self, key, "has", 2)] ~= nil
  end

  function WeakStore.delete(object, key)
    local s = check(self, core.insides(object, mt), class, 2)
    return remove(self, of, s, slot_of(self, key, "delete", 2))
  end

  mt.__index = WeakStore
  of.weak_store = mt
end

-- ---- their lives ------------------------------------------------------------------------------

--- Makes the tables for a vat's stores.
function M.open(self, of)
  of.stores, of.store_keys = {}, {} -- by slot
  of.next_store = 4 -- a vat's first three collections are its own affair
  open_store(self, of)
  open_weak_store(self, of)
end

-- The object of a store, made anew.
local function embody(self, vref, s)
  local object, slot = core.body(self, vref, s.mt, s)
  s.slot = slot
  return object
end

local function make(self, of, kind)
  local vref = ("o+v%d/%d"):format(KIND[kind], of.next_store)
  of.next_store = of.next_store + 1
  local s = { data = {}, mt = of[kind], weak = kind == "weak_store" }
  local object = embody(self, vref, s)
  of.stores[s.slot] = s
  return object
end

--- The object of a store that is known, or nil.
function M.import(self, of, vref)
  local slot = core.find(self, vref)
  local s = slot and of.stores[slot]
  return s and embody(self, vref, s)
end

--- Nothing knows the store any more: what it held is mentioned by one fewer.
function M.delete(self, of, slot)
  local s = of.stores[slot]
  if not s then return end
  of.stores[slot] = nil
  for key, data in next, s.data do
    if s.weak then
      remove(self, of, s, key)
    else
      let_go(self, data[1])
    end
  end
end

--- Weak stores forget a name.
function M.forget(self, of, slot)
  for s in next, of.store_keys[slot] or {} do
    remove(self, of, s, slot)
  end
end

---@class lethe.vat.Slots
local Slots = core.Slots

--- "store", "weak_store", "weak_map", "weak_set" or nil: what a value of this vat is.
---@param value any
---@return string?
function Slots:kind(value)
  local of = core.of(self)
  for _, kind in ipairs{ "store", "weak_store" } do
    if core.insides(value, of[kind]) then return kind end
  end
  return core.insides(value, of.map) and "weak_map" or core.insides(value, of.set) and "weak_set"
    or nil
end

--- A store: a map from strings to values. Objects in it are kept by name.
---@return lethe.vat.Store
function Slots:store()
  local of = core.of(self)
  return make(self, of, "store")
end

--- A store keyed by objects, whose names it recognizes.
---@return lethe.vat.WeakStore
function Slots:weak_store()
  local of = core.of(self)
  return make(self, of, "weak_store")
end

return M
