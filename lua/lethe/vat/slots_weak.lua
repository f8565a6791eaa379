-- Weak collections of a vat: maps and sets keyed by objects.
--
-- A presence stands in them under its name: after it was collected and delivered anew it finds its
-- entry again, and no program can tell. The name is recognized, not kept. Other objects stand in
-- them themselves, as ephemerons: an entry goes with its key.
--
-- What a collection holds is held by the collection alone, so it dies with it. Beside that only the
-- names of its keys are known, so that its end, which is noted like any other death, can let go of
-- them.

local base = require "lethe.core.base"
local core = require "lethe.core.slots"

local M = {}

local WEAK_KEYS <const> = { __mode = "k" }
local KEYS <const> = { table = true, userdata = true, ["function"] = true, thread = true }

-- ---- recognizers ------------------------------------------------------------------------------

-- of.keys[collection] = { [slot] = true, or false while it is being added }
-- of.recognizers[slot] = set of collections
local function recognize(self, of, collection, slot, entries, value)
  of.recognizers[slot] = of.recognizers[slot] or {}
  of.recognizers[slot][collection] = true
  of.keys[collection][slot] = false
  entries[slot] = value
  core.recognize(self, slot) -- the last step, which cannot fail
  of.keys[collection][slot] = true
end

local function unrecognize(self, of, collection, slot)
  local recognized = of.keys[collection][slot]
  of.keys[collection][slot] = nil
  local set = of.recognizers[slot]
  if set then
    set[collection] = nil
    if next(set) == nil then of.recognizers[slot] = nil end
  end
  if recognized then core.unrecognize(self, slot) end
end

--- A collection has died, or was closed: its keys' names are recognized by one fewer.
function M.release(self, of, collection)
  local keys = of.keys[collection]
  if not keys then return end
  for slot in next, keys do
    unrecognize(self, of, collection, slot)
  end
  of.keys[collection] = nil
  of.on_release(collection)
end

-- What a collection that is alive holds.
local function entries_of(self, of, collection)
  local values = core.tables(self)
  local body = values[collection]
  return body and (core.insides(body, of.map) or core.insides(body, of.set))
end

--- The kernel retired a name: no collection has an entry under it any more.
function M.forget(self, of, slot)
  for collection in next, of.recognizers[slot] or {} do
    local t = entries_of(self, of, collection)
    if t then t.entries[slot] = nil end
    unrecognize(self, of, collection, slot)
  end
end

-- ---- the objects ------------------------------------------------------------------------------

local function check(self, t, class, level)
  if not t then error(("a %s expected"):format(class), level + 1) end
  if not base.open(self) then error("attempt to use a closed lethe.vat.Slots", level + 1) end
  if t.closed then error(("attempt to use a closed %s"):format(class), level + 1) end
  return t
end

local function check_key(key, method, level)
  if not KEYS[type(key)] then
    error(("bad argument #1 to '%s' (an object expected as key, got %s)"):format(method, type(key)),
      level + 1)
  end
end

local function put(self, of, t, key, value)
  local slot, by_name = core.index(self, key)
  if not by_name then
    t.others[key] = value
  elseif t.entries[slot] == nil then
    recognize(self, of, t.collection, slot, t.entries, value)
  else
    t.entries[slot] = value
  end
end

local function get(self, t, key)
  local slot, by_name = core.index(self, key)
  if by_name then return t.entries[slot] end
  if key == nil then return nil end
  return t.others[key]
end

local function delete(self, of, t, key)
  local slot, by_name = core.index(self, key)
  if by_name then
    if t.entries[slot] == nil then return false end
    t.entries[slot] = nil
    unrecognize(self, of, t.collection, slot)
    return true
  end
  if key == nil or t.others[key] == nil then return false end
  t.others[key] = nil
  return true
end

-- The methods that maps and sets share.
local function methods(self, of, mt, class)
  local M2 = {}
  function M2.has(c, key)
    return get(self, check(self, core.insides(c, mt), class, 2), key) ~= nil
  end
  function M2.delete(c, key)
    return delete(self, of, check(self, core.insides(c, mt), class, 2), key)
  end
  function M2.close(c)
    local t = core.insides(c, mt)
    if not t then error(("a %s expected"):format(class), 2) end
    if not t.closed and base.open(self) then
      t.closed, t.entries, t.others = true, {}, {}
      M.release(self, of, t.collection)
    end
    return true
  end
  mt.__close = M2.close
  return M2
end

local function open_map(self, of)
  local class <const> = "lethe.vat.WeakMap"
  local mt = core.metatable(self, class, true)
  local Map = methods(self, of, mt, class)
  function Map.get(c, key)
    return get(self, check(self, core.insides(c, mt), class, 2), key)
  end
  function Map.set(c, key, value)
    local t = check(self, core.insides(c, mt), class, 2)
    check_key(key, "set", 2)
    if value == nil then
      delete(self, of, t, key)
    else
      put(self, of, t, key, value)
    end
  end
  mt.__index = Map
  return mt
end

local function open_set(self, of)
  local class <const> = "lethe.vat.WeakSet"
  local mt = core.metatable(self, class, true)
  local Set = methods(self, of, mt, class)
  function Set.add(c, key)
    local t = check(self, core.insides(c, mt), class, 2)
    check_key(key, "add", 2)
    put(self, of, t, key, true)
  end
  mt.__index = Set
  return mt
end

--- Makes the tables for a vat's weak collections.
function M.open(self, of)
  of.keys, of.recognizers, of.next_weak = {}, {}, 1
  of.map, of.set = open_map(self, of), open_set(self, of)
end

local function make(self, of, mt)
  local t = { entries = {}, others = setmetatable({}, WEAK_KEYS) }
  local keys = {}
  local number = of.next_weak
  of.next_weak = number + 1
  local collection, slot = core.body(self, number, mt, t)
  t.collection = slot
  of.keys[slot] = keys
  return collection, t, slot
end

--- Whether a value is a weak collection of this vat.
function M.is(of, value)
  return (core.insides(value, of.map) or core.insides(value, of.set)) ~= nil
end

---@class lethe.vat.Slots
local Slots = core.Slots

--- The methods of weak collections, for whoever wants them wrapped.
---@return table<string, function>[]
function Slots:weak_methods()
  local of = core.of(self)
  return { of.map.__index, of.set.__index }
end

--- A map keyed by objects: presences by name, without keeping them.
---@return lethe.vat.WeakMap
function Slots:weak_map()
  local of = core.of(self)
  return (make(self, of, of.map))
end

--- For a script's log: a map, its entries under names, and the number that on_release gets.
function M.map_and_entries(self)
  local of = core.of(self)
  local map, t, collection = make(self, of, of.map)
  return map, t.entries, collection
end

--- A set of objects, likewise.
---@return lethe.vat.WeakSet
function Slots:weak_set()
  local of = core.of(self)
  return (make(self, of, of.set))
end

return M
