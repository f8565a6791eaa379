-- A naive model of one vat's import tracking, to compare the real one with: every table is a plain
-- one, everything is searched from the start, and the collector is a mark over objects that the
-- model itself made. It was written from the rules (their numbers stand beside what they ask for),
-- not from the code; it plays vat scripts and answers with the same log.
local operations = require "spec.support.slots_reference_ops"
local sorted = operations.sorted

local M = {}

local Model = {}
Model.__index = Model

function M.new(header)
  local model = setmetatable({
    forced = header.gc == "forced",
    registers = {},
    entries = {}, -- vref -> { object, dead }: slotToVal
    clist = {}, -- vref -> "R" or "S": imports and exports
    pinned = {}, -- vref -> object: exportedRemotables
    vdata = {}, -- vref -> count
    dead = {}, retired = {}, -- possiblyDeadSet, possiblyRetiredSet
    queue = {}, -- callbacks: names
    imported = {}, exported = {}, -- vref -> promise
    devices = {},
    weaks = {}, -- every weak collection whose end was not noticed, by its name
    stores = {}, -- vref -> data of a store
    next_export = header.firstExportId, next_promise = header.firstPromiseId,
    next_weak = 1, next_store = 4,
    sys = {},
  }, Model)
  return model
end

-- ---- the heap ---------------------------------------------------------------------------------

-- What holds what. An object is { kind =, ... }.
local function children(object, visit)
  if object.kind == "local" then
    for _, field in pairs(object.fields) do visit(field) end
  elseif object.kind == "promise" then
    if object.value then visit(object.value) end
  elseif object.kind == "list" then
    for _, item in pairs(object.items) do visit(item) end
  end
end

-- R51, R53: under a name a value is held as long as the collection's end was not noticed; under an
-- object it is held while both are.
local function ephemerons(self, marked, visit)
  for _, weak in pairs(self.weaks) do
    for _, entry in pairs(weak.by_name) do
      if entry.value then visit(entry.value) end
    end
    for key, entry in pairs(weak.by_object) do
      if marked[weak] and marked[key] and entry.value then visit(entry.value) end
    end
  end
end

function Model:mark()
  local marked, grown = {}, true
  local function visit(object)
    if marked[object] then return end
    marked[object] = true
    grown = true
    children(object, visit)
  end
  for _, set in ipairs{ self.registers, self.pinned, self.imported, self.exported, self.devices } do
    for _, object in pairs(set) do visit(object) end
  end
  for vref, count in pairs(self.vdata) do -- R34: data pins what is local
    local entry = self.entries[vref]
    if count > 0 and entry and not entry.dead and entry.object.kind ~= "presence"
      and entry.object.kind ~= "store" then
      visit(entry.object)
    end
  end
  while grown do
    grown = false
    ephemerons(self, marked, visit)
  end
  return marked
end

-- Names of what could be collected, sorted.
function Model:collectable()
  local marked, set = self:mark(), {}
  for vref, entry in pairs(self.entries) do -- R08: promises, devices and the root never
    if vref:sub(1, 1) == "o" and not entry.dead and not marked[entry.object] then
      set[vref] = true
    end
  end
  for name, weak in pairs(self.weaks) do
    if not weak.dead and not marked[weak] then set[name] = true end
  end
  return sorted(set)
end

function Model:collect(names)
  local wanted = {}
  for _, name in ipairs(names or {}) do
    wanted[name] = true
  end
  local list = {}
  for _, name in ipairs(self:collectable()) do
    if not names or wanted[name] then
      list[#list + 1] = name
      local thing = self.weaks[name] or self.entries[name]
      thing.dead = true
    end
  end
  for _, name in ipairs(list) do
    self.queue[#self.queue + 1] = name
  end
  return list
end

-- ---- callbacks --------------------------------------------------------------------------------

function Model:recognized(vref)
  for _, weak in pairs(self.weaks) do
    if weak.by_name[vref] then return true end
  end
  for _, store in pairs(self.stores) do
    if store.weak and store.data[vref] then return true end
  end
  return false
end

-- R22, R24: a name lost a recognizer.
function Model:unrecognized(vref)
  if vref:sub(1, 2) == "o-" and self.clist[vref] and not self:recognized(vref) then
    self.retired[vref] = true
  end
end

-- R12, R14, R52: moves names between sets.
function Model:callback(name)
  local weak = self.weaks[name]
  if weak then
    self.weaks[name] = nil
    for vref in pairs(weak.by_name) do
      self:unrecognized(vref)
    end
    return
  end
  local entry = self.entries[name]
  if entry and entry.dead then
    self.entries[name] = nil
    self.dead[name] = true
  end
end

function Model:finalize(n, pick)
  local ran = {}
  while #self.queue > 0 and #ran < n do
    local name = table.remove(self.queue, (pick or 0) % #self.queue + 1)
    ran[#ran + 1] = name
    self:callback(name)
  end
  return ran
end

-- ---- names ------------------------------------------------------------------------------------

function Model:say(...)
  self.sys[#self.sys + 1] = { ... }
end

function Model:present(vref, object)
  object.vref = vref
  self.entries[vref] = { object = object }
  return object
end

-- R10, R15, R16, R41, R44
function Model:import(vref)
  local kind, own = vref:sub(1, 1), vref:sub(2, 2) == "+"
  if kind == "o" and not own then self.clist[vref] = "R" end
  local entry = self.entries[vref]
  if entry and not entry.dead then
    self.dead[vref] = nil
    return entry.object
  end
  if kind == "p" then
    local promise = self:present(vref, { kind = "promise" })
    self.imported[vref] = promise
    if self.batch then self.batch[vref] = true else self:say("subscribe", vref) end
    return promise
  end
  self.dead[vref] = nil
  if kind == "d" then
    self.devices[vref] = self:present(vref, { kind = "device" })
    return self.devices[vref]
  end
  return self:present(vref, { kind = own and "store" or "presence" })
end

-- R04, R05, R07: the name of something, a new one if need be.
function Model:name(object)
  if object.vref and self.entries[object.vref] then return object.vref end
  if object.kind == "promise" then
    local vref = "p+" .. self.next_promise
    self.next_promise = self.next_promise + 1
    self:present(vref, object)
    self.exported[vref] = object
    if object.state and not object.said then self.later[#self.later + 1] = vref end
    return vref
  end
  local vref = "o+" .. self.next_export
  self.next_export = self.next_export + 1
  self:present(vref, object)
  return vref
end

function Model:serialize(value, list, seen)
  list, seen = list or {}, seen or {}
  if value == nil then return list end
  if value.kind == "list" then
    for i = 1, value.n do
      self:serialize(value.items[i], list, seen)
    end
    return list
  end
  local vref = self:name(value)
  if not seen[vref] then
    seen[vref] = true
    list[#list + 1] = vref
  end
  return list
end

-- R30, R31: what leaves is held until the kernel drops it.
function Model:leave(vrefs)
  for _, vref in ipairs(vrefs) do
    if vref:sub(1, 2) == "o+" then
      self.clist[vref] = "R"
      if not self.stores[vref] then self.pinned[vref] = self.entries[vref].object end
    end
  end
end

-- ---- promises ---------------------------------------------------------------------------------

function Model:forget_promise(vref)
  self.entries[vref].object.vref = nil
  self.entries[vref] = nil
  self.imported[vref], self.exported[vref] = nil, nil
end

-- R42, R43: says the outcome of these names, and of known promises in it.
function Model:resolve(vrefs)
  local list, seen = {}, {}
  local function add(vref)
    local promise = self.entries[vref].object
    seen[vref] = true
    local slots = self:serialize(promise.value)
    list[#list + 1] = { vref, promise.state == "rejected", slots }
    for _, slot in ipairs(slots) do
      local inner = self.exported[slot]
      if inner and inner.said and not seen[slot] then add(slot) end
    end
  end
  for _, vref in ipairs(vrefs) do
    add(vref)
  end
  if not list[1] then return end
  for _, one in ipairs(list) do
    self:leave(one[3])
  end
  self:say("resolve", list)
  for _, one in ipairs(list) do
    self.entries[one[1]].object.said = true
    self:forget_promise(one[1])
  end
end

function Model:settle(promise, rejected, value)
  if promise.state then return end
  promise.state, promise.value = rejected and "rejected" or "fulfilled", value
  if promise.vref and self.exported[promise.vref] then
    self.later[#self.later + 1] = promise.vref
  end
end

-- ---- the log ----------------------------------------------------------------------------------

function Model:state_of(vref, marked)
  local entry = self.entries[vref]
  if not entry then return self.dead[vref] and "FINALIZED" or "UNKNOWN" end
  if entry.dead then return "COLLECTED" end
  return marked[entry.object] and "REACHABLE" or "UNREACHABLE"
end

function Model:state()
  local marked = self:mark()
  local state = { states = {}, pinnedExports = 1 }
  local names = {}
  for _, set_of in ipairs{ self.entries, self.clist, self.dead } do
    for vref in pairs(set_of) do
      if vref:sub(1, 2) == "o-" then names[vref] = true end
    end
  end
  for vref in pairs(names) do
    local text = self:state_of(vref, marked)
    if text ~= "UNKNOWN" or self.clist[vref] then
      state.states[vref] = text .. "/" .. (self.clist[vref] or "-")
    end
  end
  local dead, retired, exports, promises = {}, {}, {}, {}
  for vref in pairs(self.dead) do
    local import = vref:sub(1, 2) == "o-"
    if not self.entries[vref] and not self.stores[vref] and (not import or self.clist[vref]) then
      dead[vref] = true
    end
  end
  for vref in pairs(self.retired) do
    if self.clist[vref] then retired[vref] = true end
  end
  for vref, flag in pairs(self.clist) do
    if vref:sub(1, 2) == "o+" then exports[vref .. "/" .. flag] = true end
  end
  for _, set_of in ipairs{ self.imported, self.exported } do
    for vref in pairs(set_of) do
      promises[vref] = true
    end
  end
  for _ in pairs(self.pinned) do
    state.pinnedExports = state.pinnedExports + 1
  end
  state.dead, state.retired = sorted(dead), sorted(retired)
  state.exports, state.promises = sorted(exports), sorted(promises)
  return state
end

--- One operation: its record, without its number.
function Model:step(op)
  self.sys, self.later = {}, {}
  local record = { op = op, sys = self.sys }
  if operations.engine[op.op] then
    record.engine = operations.engine[op.op](self, op)
  else
    record.answer = operations[op.op](self, op)
  end
  for _, vref in ipairs(self.later) do -- the crank's end
    if self.exported[vref] then self:resolve{ vref } end
  end
  record.state = self:state()
  return record
end

operations.add_to(Model)

return M
