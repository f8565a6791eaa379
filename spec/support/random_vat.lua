-- A raw vat that does at random what it may, and keeps books of its own about what that is: if the
-- kernel tells it anything that these do not allow, it raises.
local M = {}

local Vat = {}
Vat.__index = Vat

local function wrong(self, format, ...)
  error(("vat %s: " .. format):format(self.name, ...), 0)
end

-- ---- sets in order ------------------------------------------------------------------------------

-- Names that can be picked at random, in an order that depends on what was done alone.
local Bag = {}
Bag.__index = Bag

local function new_bag()
  return setmetatable({ at = {} }, Bag)
end

function Bag:add(name)
  if self.at[name] then return end
  self[#self + 1] = name
  self.at[name] = #self
end

function Bag:remove(name)
  local i, last = self.at[name], self[#self]
  if not i then return end
  self[i] = last
  self.at[last] = i
  self[#self] = nil
  self.at[name] = nil
end

-- ---- books ------------------------------------------------------------------------------------

local function learn(self, vref)
  local kind = vref:sub(1, 2)
  if kind == "o-" then
    if self.retired[vref] then wrong(self, "%s comes again after its retirement", vref) end
    self.dropped:remove(vref)
    self.imports:add(vref)
  elseif kind == "p-" then
    self.promises:add(vref)
  elseif kind == "o+" then
    if vref ~= "o+0" and not self.exports.at[vref] then
      wrong(self, "%s comes, which is not exported or was dropped", vref)
    end
  elseif not self.promises.at[vref] and not self.decided.at[vref] then
    wrong(self, "%s comes, which is not known", vref)
  end
end

local function learn_all(self, slots)
  for _, vref in ipairs(slots) do
    learn(self, vref)
  end
end

local function forget_promise(self, vpid)
  self.promises:remove(vpid)
  self.decided:remove(vpid)
  self.subscribed[vpid] = nil
end

-- Something leaves: an export is held again.
local function mention(self, vref)
  if self.lost.at[vref] then
    self.lost:remove(vref)
    self.exports:add(vref)
  end
  return vref
end

-- ---- acting -----------------------------------------------------------------------------------

local function pick(self, bag)
  return #bag > 0 and bag[self.random(#bag)] or nil
end

local function new_export(self)
  self.made = self.made + 1
  local vref = "o+" .. self.made
  self.exports:add(vref)
  return vref
end

local function new_promise(self)
  self.made = self.made + 1
  local vpid = "p+" .. self.made
  self.decided:add(vpid)
  return vpid
end

local function slot(self)
  local n = self.random(8)
  if n <= 3 then return pick(self, self.imports) end
  if n == 4 then return new_export(self) end
  if n == 5 then return pick(self, self.exports) end
  if n == 6 then return pick(self, self.lost) end
  if n == 7 then return pick(self, self.promises) or pick(self, self.decided) end
  return self.random(4) == 1 and new_promise(self) or nil
end

local function args(self)
  local slots, seen = {}, {}
  for _ = 1, self.random(4) - 1 do
    local vref = slot(self)
    if vref and not seen[vref] then
      seen[vref] = true
      slots[#slots + 1] = mention(self, vref)
    end
  end
  return { slots = slots }
end

local function send(self)
  local target = self.random(4) > 1 and pick(self, self.imports) or pick(self, self.promises)
  target = target or pick(self, self.imports)
  if not target then return end
  local given = args(self)
  local result
  if self.random(3) == 1 then
    result = pick(self, self.decided)
  elseif self.random(2) == 1 then
    result = new_promise(self)
  end
  self.syscall.send(target, "m", given, result)
  if result then
    self.decided:remove(result)
    self.promises:add(result)
  end
end

local function subscribe(self)
  local vpid = pick(self, self.promises)
  if vpid then self.syscall.subscribe(vpid) end
end

local function resolve(self)
  local list = {}
  for i = 1, self.random(3) do
    local vpid = pick(self, self.known)
    if vpid then
      self.known:remove(vpid)
      list[i] = { vpid, self.random(4) == 1, args(self) }
    end
  end
  self.syscall.resolve(list)
  for _, each in ipairs(list) do
    forget_promise(self, each[1])
  end
end

-- Promises that it decides and that the kernel knows are those that were results, or were sent.
local function known_promises(self)
  local bag = new_bag()
  for _, vpid in ipairs(self.decided) do
    if self.told[vpid] then bag:add(vpid) end
  end
  return bag
end

local function tell(self, slots)
  for _, vref in ipairs(slots or {}) do
    if self.decided.at[vref] then self.told[vref] = true end
  end
end

local ACTS <const> = { send, send, send, subscribe, resolve, resolve }

local function act(self)
  for _ = 1, self.random(4) - 1 do
    self.known = known_promises(self)
    ACTS[self.random(#ACTS)](self)
  end
end

-- ---- callbacks --------------------------------------------------------------------------------

local callbacks = {}

function callbacks.deliver(self, vref, _, given, result)
  learn(self, vref)
  learn_all(self, given.slots)
  if result then
    self.promises:remove(result)
    self.decided:add(result)
    self.told[result] = true
  end
  act(self)
end

function callbacks.notify(self, resolutions)
  local settled = {}
  for _, each in ipairs(resolutions) do
    settled[each[1]] = true
  end
  if not self.promises.at[resolutions[1][1]] then
    wrong(self, "news of %s, which is not known", resolutions[1][1])
  end
  for _, each in ipairs(resolutions) do
    for _, vref in ipairs(each[3].slots) do
      if not settled[vref] then learn(self, vref) end
    end
  end
  for vpid in pairs(settled) do
    forget_promise(self, vpid)
  end
  act(self)
end

function callbacks.drop_exports(self, vrefs)
  for _, vref in ipairs(vrefs) do
    if not self.exports.at[vref] then wrong(self, "dropExports of %s", vref) end
    self.exports:remove(vref)
    self.lost:add(vref)
  end
end

function callbacks.retire_exports(self, vrefs)
  for _, vref in ipairs(vrefs) do
    if not self.lost.at[vref] then wrong(self, "retireExports of %s", vref) end
    self.lost:remove(vref)
  end
end

function callbacks.retire_imports(self, vrefs)
  for _, vref in ipairs(vrefs) do
    if not self.dropped.at[vref] then wrong(self, "retireImports of %s", vref) end
    self.dropped:remove(vref)
    self.retired[vref] = true
  end
end

-- A part of a bag, in an order of its own.
local function part(self, bag)
  local list = {}
  for _ = 1, math.min(#bag, self.random(5) - 1) do
    local name = pick(self, bag)
    bag:remove(name)
    list[#list + 1] = name
  end
  return list
end

function callbacks.bring_out_your_dead(self)
  local drop = part(self, self.imports)
  self.syscall.dropImports(drop)
  for _, vref in ipairs(drop) do
    self.dropped:add(vref)
  end
  local retire = part(self, self.dropped)
  self.syscall.retireImports(retire)
  for _, vref in ipairs(retire) do
    self.retired[vref] = true
  end
  self.syscall.retireExports(part(self, self.lost))
end

-- What it is told of counts as an operation, and so does what it asks for.
local function counted(self, syscall)
  local result = {}
  for name, fn in pairs(syscall) do
    result[name] = function(...)
      self.operations = self.operations + 1
      if name == "send" then tell(self, (select(3, ...)).slots) end
      if name == "resolve" then
        for _, each in ipairs((...)) do tell(self, each[3].slots) end
      end
      return fn(...)
    end
  end
  return result
end

--- A vat of this name, for `raw_vat`; `random(n)` gives 1..n.
function M.setup(name, random)
  local self = setmetatable({
    name = name, random = random, made = 9, operations = 0,
    imports = new_bag(), dropped = new_bag(), retired = {},
    exports = new_bag(), lost = new_bag(), -- lost: dropped by the kernel
    promises = new_bag(), decided = new_bag(), told = {}, subscribed = {},
  }, Vat)
  return function(syscall)
    self.syscall = counted(self, syscall)
    local result = {}
    for each, fn in pairs(callbacks) do
      result[each] = function(...)
        self.operations = self.operations + 1
        return fn(self, ...)
      end
    end
    return result
  end, self
end

return M
