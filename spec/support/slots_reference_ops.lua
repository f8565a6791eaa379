-- The operations of vat scripts on the naive model of spec/support/slots_reference.lua.

-- ---- order: code units ------------------------------------------------------------------------

local function less(a, b)
  for i = 1, math.min(#a, #b) do
    if a:byte(i) ~= b:byte(i) then return a:byte(i) < b:byte(i) end
  end
  return #a < #b
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do
    list[#list + 1] = name
  end
  table.sort(list, less)
  return list
end

-- ---- operations -------------------------------------------------------------------------------

local ops = {}
local methods = {} -- of the model, which operations alone use

local function set(self, name, value)
  if type(name) == "string" then self.registers[name] = value end
end

local function get(self, name)
  if type(name) == "string" then return self.registers[name] end
end

function ops.deliver(self, op)
  local values = {}
  for i, vref in ipairs(op.args) do
    values[i] = self:import(vref)
  end
  for i = 1, #op.args do
    set(self, op.into[i], values[i])
  end
end

function ops.send(self, op)
  local slots, seen = {}, {}
  for _, name in ipairs(op.args) do
    self:serialize(get(self, name), slots, seen)
  end
  self:leave(slots)
  local result = "p+" .. self.next_promise
  self.next_promise = self.next_promise + 1
  self:say("send", get(self, op.target).vref, "m", slots, result)
  local known = {}
  for _, vref in ipairs(slots) do
    if self.exported[vref] and self.exported[vref].said then known[#known + 1] = vref end
  end
  self:resolve(known)
  self.imported[result] = self:present(result, { kind = "promise" })
  self:say("subscribe", result)
  set(self, op.into, self.imported[result])
end

function ops.call(self, op)
  local promise = self:present(op.result, { kind = "promise" })
  self.exported[op.result] = promise
  self:settle(promise, false, get(self, op.value))
end

function ops.newPromise(self, op) set(self, op.into, { kind = "promise" }) end

function ops.settle(self, op)
  self:settle(get(self, op.promise), op.reject, get(self, op.value))
end

function ops.notify(self, op)
  self.batch = {}
  for _, one in ipairs(op.resolutions) do
    local promise = self.imported[one.p]
    if promise then
      local items = {}
      for i, vref in ipairs(one.slots) do
        items[i] = self:import(vref)
      end
      local value = #items > 1 and { kind = "list", n = #items, items = items } or items[1]
      promise.state, promise.value = one.reject and "rejected" or "fulfilled", value
    end
  end
  for _, one in ipairs(op.resolutions) do
    if self.imported[one.p] then self:forget_promise(one.p) end
    self.batch[one.p] = nil
  end
  for _, vref in ipairs(sorted(self.batch)) do
    self:say("subscribe", vref)
  end
  self.batch = nil
end

function ops.drop(self, op)
  for _, name in ipairs(op.regs) do
    set(self, name, nil)
  end
end

function ops.copy(self, op) set(self, op.to, get(self, op.from)) end

function ops.make(self, op)
  local object = { kind = "local", fields = {} }
  for i, name in ipairs(op.fields) do
    object.fields[i - 1] = get(self, name)
  end
  set(self, op.into, object)
end

function ops.setField(self, op) get(self, op.obj).fields[op.index] = get(self, op.value) end

function ops.getField(self, op) set(self, op.into, get(self, op.obj).fields[op.index]) end

function ops.same(self, op) return get(self, op.a) == get(self, op.b) end

local function new_weak(self, op)
  local weak = { kind = "weak", by_name = {}, by_object = {} }
  self.weaks["w" .. self.next_weak] = weak
  self.next_weak = self.next_weak + 1
  set(self, op.into, weak)
end
ops.newWeakMap, ops.newWeakSet = new_weak, new_weak

-- R50: presences and what is stored by name, the rest by identity.
local function entries_and_key(weak, key)
  local by_name = key.kind == "presence" or key.kind == "store"
  return by_name and weak.by_name or weak.by_object, by_name and key.vref or key
end

function ops.weakAdd(self, op)
  local entries, key = entries_and_key(get(self, op.weak), get(self, op.key))
  entries[key] = { value = get(self, op.value) }
end

function ops.weakHas(self, op)
  local entries, key = entries_and_key(get(self, op.weak), get(self, op.key))
  return entries[key] ~= nil
end

function ops.weakGet(self, op)
  local entries, key = entries_and_key(get(self, op.weak), get(self, op.key))
  local value = entries[key] and entries[key].value
  set(self, op.into, value)
  return value ~= nil
end

function ops.weakDelete(self, op)
  local entries, key = entries_and_key(get(self, op.weak), get(self, op.key))
  local had = entries[key] ~= nil
  entries[key] = nil
  if had and type(key) == "string" then self:unrecognized(key) end
  return had
end

-- ---- stores -----------------------------------------------------------------------------------

local function new_store(self, op, kind, weak)
  local vref = ("o+v%d/%d"):format(kind, self.next_store)
  self.next_store = self.next_store + 1
  self.stores[vref] = { weak = weak, data = {} }
  set(self, op.into, self:present(vref, { kind = "store" }))
end

function ops.newStore(self, op) new_store(self, op, 2, false) end
function ops.newWeakStore(self, op) new_store(self, op, 3, true) end

function methods:mention(vref, by)
  if not vref then return end
  self.vdata[vref] = (self.vdata[vref] or 0) + by
  if self.vdata[vref] == 0 and not self.entries[vref] then self.dead[vref] = true end
end

local function put(self, data, key, value)
  local before = data[key]
  local vref = value and self:name(value)
  self:mention(vref, 1)
  data[key] = { vref = vref }
  if before then self:mention(before.vref, -1) end
end

local function take_out(self, data, key)
  local before = data[key]
  data[key] = nil
  if before then self:mention(before.vref, -1) end
  return before ~= nil
end

local function data_of(self, op) return self.stores[get(self, op.store).vref].data end

function ops.storeSet(self, op) put(self, data_of(self, op), op.k, get(self, op.value)) end

function ops.storeGet(self, op)
  local found = data_of(self, op)[op.k]
  local value = found and found.vref and self:import(found.vref)
  set(self, op.into, value or nil)
  return value ~= nil and value ~= false
end

function ops.storeDelete(self, op) take_out(self, data_of(self, op), op.k) end

function ops.weakStoreAdd(self, op)
  put(self, data_of(self, op), self:name(get(self, op.key)), get(self, op.value))
end

function ops.weakStoreHas(self, op)
  return data_of(self, op)[self:name(get(self, op.key))] ~= nil
end

function ops.weakStoreDelete(self, op)
  local vref = self:name(get(self, op.key))
  if take_out(self, data_of(self, op), vref) then self:unrecognized(vref) end
end

-- ---- the kernel's deliveries ------------------------------------------------------------------

function ops.dropExports(self, op)
  for _, vref in ipairs(op.vrefs) do
    self.clist[vref] = "S"
    self.pinned[vref] = nil
    if self.stores[vref] and not self.entries[vref] then self.dead[vref] = true end
  end
end

function ops.retireExports(self, op)
  for _, vref in ipairs(op.vrefs) do
    self.clist[vref] = nil -- R33
  end
end

function ops.retireImports(self, op)
  for _, vref in ipairs(op.vrefs) do -- R36, R37
    self.clist[vref], self.retired[vref] = nil, nil
    for _, weak in pairs(self.weaks) do
      weak.by_name[vref] = nil
    end
    for _, store in pairs(self.stores) do
      if store.weak then take_out(self, store.data, vref) end
    end
  end
end

-- ---- bringing out the dead --------------------------------------------------------------------

-- R61: the collector and its callbacks, until it finds nothing any more.
function methods:collect_all()
  if not self.forced then return end
  repeat
    local found = #self:collect()
    local ran = #self:finalize(math.huge)
  until found == 0 and ran == 0
end

-- R20, R34: nothing keeps it.
function methods:is_dead(vref)
  if self.entries[vref] or (self.vdata[vref] or 0) > 0 then return false end
  return not (self.stores[vref] and self.clist[vref] == "R")
end

function methods:delete_store(vref)
  local store = self.stores[vref]
  self.stores[vref] = nil
  for key, value in pairs(store.data) do
    self:mention(value.vref, -1)
    if store.weak then self:unrecognized(key) end
  end
end

-- R26: what recognized a dead local object forgets it.
function methods:forget_key(vref)
  for _, store in pairs(self.stores) do
    if store.weak then take_out(self, store.data, vref) end
  end
end

function ops.bringOutYourDead(self)
  local drop, retire, retire_own = {}, {}, {}
  repeat
    self:collect_all()
    local own = false
    for _, vref in ipairs(sorted(self.dead)) do
      self.dead[vref] = nil
      if self:is_dead(vref) then
        if vref:sub(1, 2) == "o-" then
          if self.clist[vref] then drop[vref] = true end
        else
          own = true
          if self.stores[vref] then self:delete_store(vref) end
          self:forget_key(vref)
          if self.clist[vref] then retire_own[vref] = true end
        end
      end
    end
  until not own and next(self.dead) == nil
  for vref in pairs(drop) do
    self.clist[vref] = "S"
    self.retired[vref] = true
  end
  for _, vref in ipairs(sorted(self.retired)) do -- R23, R24, R25
    local up = self.entries[vref] or (self.vdata[vref] or 0) > 0
    if not up and self.clist[vref] == "S" and not self:recognized(vref) then
      retire[vref] = true
      self.clist[vref] = nil
    end
  end
  self.retired = {}
  for vref in pairs(retire_own) do
    self.clist[vref] = nil
  end
  for _, call in ipairs{ { "dropImports", drop }, { "retireImports", retire },
    { "retireExports", retire_own } } do
    if next(call[2]) then self:say(call[1], sorted(call[2])) end
  end
end

-- ---- the collector's ---------------------------------------------------------------------------

ops.engine = {}

function ops.engine.collect(self, op) return { collected = self:collect(op.objs) } end
function ops.engine.gc(self) return { collected = self:collect() } end
function ops.engine.finalize(self, op)
  return { ran = self:finalize(op.n == "all" and math.huge or op.n, op.pick) }
end

ops.sorted = sorted

--- Gives the model's class the methods that are written here.
function ops.add_to(class)
  for name, method in pairs(methods) do
    class[name] = method
  end
end

return ops
