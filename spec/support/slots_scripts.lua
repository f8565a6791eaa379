-- Random vat scripts: what a vat's code, its kernel and a collector might do in any order. Only
-- what the kernel may do is done: its view of the vat, the c-list, is the naive model's, which runs
-- along and gives the expected log.
local json = require "lethe.json"
local reference = require "spec.support.slots_reference"

local M = {}

-- splitmix64: the same scripts everywhere.
local function generator(seed)
  local state = seed
  return function(n)
    state = state + 0x9e3779b97f4a7c15
    local z = state
    z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
    z = (z ~ (z >> 27)) * 0x94d049bb133111eb
    return ((z ~ (z >> 31)) >> 1) % n + 1
  end
end

local REGISTERS <const> = 10
local NULL <const> = json.null

local Script = {}
Script.__index = Script

local function pick(self, list)
  if list[1] ~= nil then return list[self.random(#list)] end
end

local function register(self)
  return "r" .. self.random(REGISTERS) - 1
end

-- A register whose object `test` accepts, or nil.
local function holding(self, test)
  local list = {}
  for i = 0, REGISTERS - 1 do
    local object = self.model.registers["r" .. i]
    if object ~= nil and test(object) then list[#list + 1] = "r" .. i end
  end
  return pick(self, list)
end

local function of_kind(...)
  local kinds = {}
  for _, kind in ipairs{ ... } do
    kinds[kind] = true
  end
  return function(object) return kinds[object.kind] end
end

local ANY <const> = of_kind("presence", "local", "promise", "device", "list", "store")
local KEY <const> = of_kind("presence", "local")
local PASSED <const> = of_kind("presence", "local")
local STORED <const> = of_kind("presence", "local", "store")

local function maybe(self, test)
  if self.random(4) == 1 then return nil end
  return holding(self, test)
end

-- Names in the c-list that a pattern and a flag fit, in order.
local function listed(self, pattern, flag)
  local list = {}
  for vref, text in pairs(self.model.clist) do
    if vref:find(pattern) and (not flag or text == flag) then list[#list + 1] = vref end
  end
  table.sort(list)
  return list
end

local function some(self, list, most)
  local taken, out = {}, {}
  for _ = 1, self.random(most) do
    local one = pick(self, list)
    if one and not taken[one] then
      taken[one] = true
      out[#out + 1] = one
    end
  end
  return out
end

local function fresh(self, prefix)
  self.numbers[prefix] = (self.numbers[prefix] or 0) + 1
  return prefix .. self.numbers[prefix]
end

-- ---- operations -------------------------------------------------------------------------------

local make = {}

local function argument(self)
  local dice = self.random(20)
  if dice <= 8 then return fresh(self, "o-") end
  if dice <= 14 then return pick(self, listed(self, "^o%-")) or fresh(self, "o-") end
  if dice <= 16 then return fresh(self, "p-") end
  if dice == 17 then return fresh(self, "d-") end
  if dice == 18 then return pick(self, listed(self, "^o%+", "R")) or fresh(self, "o-") end
  local promises = {}
  for vref in pairs(self.model.imported) do
    promises[#promises + 1] = vref
  end
  for vref in pairs(self.model.exported) do
    promises[#promises + 1] = vref
  end
  table.sort(promises)
  return pick(self, promises) or fresh(self, "o-")
end

function make.deliver(self)
  local op = { op = "deliver", args = {}, into = {} }
  for i = 1, self.random(3) do
    op.args[i] = argument(self)
    op.into[i] = self.random(3) > 1 and register(self) or NULL
  end
  return op
end

function make.send(self)
  local target = holding(self, of_kind("presence"))
  if not target then return nil end
  local op = { op = "send", target = target, args = {} }
  op.into = self.random(2) == 1 and register(self) or NULL
  for i = 1, self.random(4) - 1 do
    op.args[i] = holding(self, ANY)
  end
  return op
end

function make.call(self)
  return { op = "call", value = maybe(self, PASSED) or NULL, result = fresh(self, "p-") }
end

function make.notify(self)
  local waiting, op = {}, { op = "notify", resolutions = {} }
  for vref in pairs(self.model.imported) do
    waiting[#waiting + 1] = vref
  end
  table.sort(waiting)
  for i, vref in ipairs(some(self, waiting, 2)) do
    local slots = {}
    for j = 1, self.random(4) - 1 do
      local name
      repeat name = argument(self) until not name:find("^p")
      slots[j] = name
    end
    op.resolutions[i] = { p = vref, reject = self.random(3) == 1, slots = slots }
  end
  return op.resolutions[1] and op
end

function make.newPromise(self) return { op = "newPromise", into = register(self) } end

function make.settle(self)
  local promise = holding(self, function(object)
    return object.kind == "promise" and not object.state and not self.foreign[object]
      and not (object.vref and self.model.imported[object.vref])
  end)
  if not promise then return nil end
  return { op = "settle", promise = promise, value = maybe(self, PASSED) or NULL,
    reject = self.random(3) == 1 }
end

function make.drop(self)
  local op = { op = "drop", regs = {} }
  for i = 1, self.random(3) do
    op.regs[i] = register(self)
  end
  return op
end

function make.copy(self)
  local from = holding(self, ANY)
  return from and { op = "copy", from = from, to = register(self) }
end

function make.make(self)
  local op = { op = "make", into = register(self), fields = {} }
  for i = 1, self.random(4) - 1 do
    op.fields[i] = holding(self, ANY)
  end
  return op
end

function make.setField(self)
  local object = holding(self, of_kind("local"))
  return object and { op = "setField", obj = object, index = self.random(3) - 1,
    value = maybe(self, ANY) or NULL }
end

function make.getField(self)
  local object = holding(self, of_kind("local"))
  return object and { op = "getField", obj = object, index = self.random(3) - 1,
    into = register(self) }
end

function make.same(self)
  local a, b = holding(self, ANY), holding(self, ANY)
  return a and b and { op = "same", a = a, b = b }
end

function make.newWeak(self)
  local op = { op = self.random(2) == 1 and "newWeakMap" or "newWeakSet", into = register(self) }
  self.maps[op.op] = op.into
  return op
end

local function weak_and_key(self)
  local weak, key = holding(self, of_kind("weak")), holding(self, KEY)
  if weak and key then return weak, key end
end

function make.weakAdd(self)
  local weak, key = weak_and_key(self)
  if not weak then return nil end
  local map = self.is_map[self.model.registers[weak]]
  return { op = "weakAdd", weak = weak, key = key, value = map and maybe(self, ANY) or nil }
end

function make.weakLook(self)
  local weak, key = weak_and_key(self)
  if not weak then return nil end
  local map = self.is_map[self.model.registers[weak]]
  local name = pick(self, { "weakHas", "weakDelete", map and "weakGet" })
  return { op = name, weak = weak, key = key, into = name == "weakGet" and register(self) or nil }
end

local function store(self, weak)
  return holding(self, function(object)
    return object.kind == "store" and self.model.stores[object.vref].weak == weak
  end)
end

function make.newStore(self)
  return { op = self.random(2) == 1 and "newStore" or "newWeakStore", into = register(self) }
end

function make.store(self)
  local name = store(self, false)
  if not name then return nil end
  local op = pick(self, { "storeSet", "storeSet", "storeGet", "storeDelete" })
  return { op = op, store = name, k = "k" .. self.random(3),
    value = op == "storeSet" and (maybe(self, STORED) or NULL) or nil,
    into = op == "storeGet" and register(self) or nil }
end

function make.weakStore(self)
  local name, key = store(self, true), holding(self, KEY)
  if not name or not key then return nil end
  local op = pick(self, { "weakStoreAdd", "weakStoreAdd", "weakStoreHas", "weakStoreDelete" })
  return { op = op, store = name, key = key,
    value = op == "weakStoreAdd" and maybe(self, STORED) or nil }
end

local function names(self, op, pattern, flag)
  local vrefs = some(self, listed(self, pattern, flag), 3)
  return vrefs[1] and { op = op, vrefs = vrefs }
end

function make.dropExports(self) return names(self, "dropExports", "^o%+", "R") end
function make.retireExports(self) return names(self, "retireExports", "^o%+", "S") end
function make.retireImports(self) return names(self, "retireImports", "^o%-", "S") end
function make.bringOutYourDead() return { op = "bringOutYourDead" } end

function make.collect(self)
  local list = self.model:collectable()
  local objs = some(self, list, 3)
  if self.random(3) == 1 then objs[#objs + 1] = pick(self, listed(self, "^o")) end
  return objs[1] and { op = "collect", objs = objs }
end

function make.gc() return { op = "gc" } end

function make.finalize(self)
  if self.random(3) == 1 then return { op = "finalize", n = "all" } end
  return { op = "finalize", n = self.random(3), pick = self.random(4) - 1 }
end

local TIER1 <const> = {
  "deliver", "deliver", "deliver", "deliver", "deliver", "send", "send", "call", "notify", "notify",
  "newPromise", "settle", "drop", "drop", "drop", "drop", "copy", "make", "make", "setField",
  "getField", "same", "newWeak", "newWeak", "weakAdd", "weakAdd", "weakAdd", "weakLook", "weakLook",
  "dropExports", "retireExports", "retireImports", "bringOutYourDead", "bringOutYourDead",
}
local COLLECTOR <const> = { "collect", "collect", "gc", "finalize", "finalize" }
local TIER2 <const> = {
  "newStore", "newStore", "store", "store", "store", "weakStore", "weakStore",
}

-- ---- scripts ----------------------------------------------------------------------------------

-- What the generator wants to know of an operation once the model has done it.
local function remember(self, op)
  local into = type(op.into) == "string" and self.model.registers[op.into]
  if op.op == "newWeakMap" then self.is_map[into] = true end
  if op.op == "send" and into then self.foreign[into] = true end
  for i, vref in ipairs(op.op == "deliver" and op.args or {}) do
    local object = op.into[i] and self.model.registers[op.into[i]]
    if object and vref:find("^p") then self.foreign[object] = true end
  end
end

--- A script of a seed: its header, its operations, and the log that the model expects.
---@param seed integer
---@param options { gc: string, tier: integer, length: integer, collector: boolean? }
function M.generate(seed, options)
  local header = { script = "random " .. seed, gc = options.gc, tier = options.tier,
    firstExportId = 10, firstPromiseId = 5 }
  local self = setmetatable({
    random = generator(seed), numbers = {}, maps = {}, is_map = {}, foreign = {},
    model = reference.new(header),
  }, Script)
  local ops = table.move(TIER1, 1, #TIER1, 1, {})
  if options.collector ~= false then table.move(COLLECTOR, 1, #COLLECTOR, #ops + 1, ops) end
  if options.tier == 2 then table.move(TIER2, 1, #TIER2, #ops + 1, ops) end
  local list, log = {}, {}
  while #list < options.length do
    local op = make[pick(self, ops)](self)
    if op then
      list[#list + 1] = op
      log[#log + 1] = self.model:step(op)
      remember(self, op)
    end
  end
  return header, list, log
end

--- The same deliveries and no collector's operations, or others by a second seed: scripts that must
--- all give one transcript.
---@param list table[]
---@param seed integer? none: no collector's operations
---@param collectable string[] names that may be collected
function M.reschedule(list, seed, collectable)
  local random, out = generator(seed or 1), {}
  for _, op in ipairs(list) do
    local engine = op.op == "collect" or op.op == "gc" or op.op == "finalize"
    for _ = 1, seed and random(3) - 1 or 0 do
      local dice = random(6)
      if dice == 1 then out[#out + 1] = { op = "gc" } end
      if dice == 2 then out[#out + 1] = { op = "finalize", n = random(4), pick = random(5) - 1 } end
      if dice == 3 then out[#out + 1] = { op = "finalize", n = "all" } end
      if dice >= 5 then
        out[#out + 1] = { op = "collect", objs = { collectable[random(#collectable)] } }
      end
    end
    if not engine then out[#out + 1] = op end
  end
  return out
end

return M
