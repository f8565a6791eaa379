-- Promises of a vat, as far as the kernel knows them: who decides them, who has been told.
--
-- A promise is held from the first time that the kernel names it, or is told of it, until it is
-- resolved and its name is given up; what its holders do with it in between makes no difference.
-- One that was resolved and is sent again gets a fresh name, and its outcome is said with it: at
-- once, if this vat told it before.
--
-- What promises are is for the dispatcher to say, in the options of vat.slots:
--
--   promises = { new = fn(vref) -> promise, is = fn(value) -> bool,
--                settle = fn(promise, rejected, value), follow = fn(promise, fn(rejected, value)) }
--   encode = fn(value) -> args      decode = fn(args) -> value      args = { data =, slots = }
--
-- `settle` and `follow` must not call back before they return.

local base = require "lethe.core.base"
local core = require "lethe.core.slots"
local deferred = require "lethe.vat.slots_deferred"

local M = {}

local HOOKS <const> = { "new", "is", "settle", "follow" }

-- A value that has a name, or nil; what a dispatcher of vats encodes is more.
local function encode_plain(self)
  return function(value)
    local kind = type(value)
    if kind == "table" or kind == "userdata" then return { slots = { self:name(value) } } end
    return { data = value, slots = {} }
  end
end

local function decode_plain(self)
  return function(args)
    if args.slots and args.slots[1] then return self:import(args.slots[1]) end
    return args.data
  end
end

--- Prepares a vat's promises; raises for options that are none.
function M.open(self, of, options)
  local hooks = options.promises
  if hooks ~= nil then
    base.options(hooks, HOOKS, 3)
    for _, name in ipairs(HOOKS) do
      if type(hooks[name]) ~= "function" then
        error(("promises.%s must be a function (got %s)"):format(name, type(hooks[name])), 3)
      end
    end
  end
  of.hooks = hooks or deferred.hooks()
  of.is_promise = of.hooks.is
  of.encode = options.encode or encode_plain(self)
  of.decode = options.decode or decode_plain(self)
  of.imported, of.exported = {}, {} -- vref -> true: the kernel decides, the vat decides
  of.known = setmetatable({}, { __mode = "k" }) -- promise -> { rejected, value }
end

local function new_name(of)
  local vref = "p+" .. of.next_promise
  of.next_promise = of.next_promise + 1
  return vref
end

local function release(self, of, vref)
  if not (of.imported[vref] or of.exported[vref]) then return end
  of.imported[vref], of.exported[vref] = nil, nil
  core.release(self, vref)
end

-- ---- what the vat decides ---------------------------------------------------------------------

-- One resolution, and those of the promises in its value whose outcome is known.
local function collect(self, of, list, seen, vref, outcome)
  local args = of.encode(outcome[2])
  seen[vref] = true
  list[#list + 1] = { vref, outcome[1], args }
  M.known_among(self, of, args.slots, list, seen)
end

--- Adds to a list the resolutions of those promises among the names whose outcome is known.
function M.known_among(self, of, vrefs, list, seen)
  for _, vref in ipairs(vrefs) do
    local outcome = of.exported[vref] and of.known[self:val(vref)]
    if outcome and not seen[vref] then collect(self, of, list, seen, vref, outcome) end
  end
end

-- What leaves for the kernel is held for it.
local function pin(self, vrefs)
  for _, vref in ipairs(vrefs) do
    core.deliver(self, vref)
  end
end

local function resolve(self, of, list)
  if not list[1] then return end
  for _, resolution in ipairs(list) do
    pin(self, resolution[3].slots)
  end
  of.syscall.resolve(list)
  for _, resolution in ipairs(list) do
    release(self, of, resolution[1])
  end
end

local function follow(self, of, vref, promise)
  of.hooks.follow(promise, function(rejected, value)
    of.known[promise] = { rejected, value }
    if self:val(vref) ~= promise then return end -- it was said meanwhile
    local list = {}
    collect(self, of, list, {}, vref, of.known[promise])
    resolve(self, of, list)
  end)
end

--- The name of a promise that has none: the vat decides it.
function M.name(self, of, promise)
  local vref = new_name(of)
  of.exported[vref] = false -- what wants memory comes first
  if not of.known[promise] then follow(self, of, vref, promise) end
  core.hold(self, vref, promise)
  of.exported[vref] = true
  return vref
end

-- ---- what the kernel decides ------------------------------------------------------------------

--- A promise that the kernel delivers.
function M.import(self, of, vref)
  local promise = of.hooks.new(vref)
  of.imported[vref] = false
  core.hold(self, vref, promise)
  of.imported[vref] = true
  if of.batch then
    of.batch[#of.batch + 1] = vref
  else
    of.syscall.subscribe(vref)
  end
  return promise
end

---@class lethe.vat.Slots
local Slots = core.Slots

--- Sends a message: syscall.send, then what is known of promises in it, then the subscription to
--- its result.
---@param target string vref
---@param method string
---@param args { data: any, slots: string[] }
---@return any promise
---@return string vref of the promise
function Slots:send(target, method, args)
  local of = core.of(self)
  pin(self, args.slots)
  local result, list = new_name(of), {}
  local promise = of.hooks.new(result)
  of.imported[result] = false
  M.known_among(self, of, args.slots, list, {})
  of.syscall.send(target, method, args, result)
  resolve(self, of, list)
  core.hold(self, result, promise)
  of.imported[result] = true
  of.syscall.subscribe(result)
  return promise, result
end

--- The kernel tells outcomes: { vpid, rejected, args } each. A name that nobody waits for is
--- ignored; promises that are new in them are subscribed to afterwards.
---@param resolutions { [1]: string, [2]: boolean, [3]: { data: any, slots: string[] } }[]
function Slots:notify(resolutions)
  local of = core.of(self)
  of.batch = {}
  for _, one in ipairs(resolutions) do
    local vref, rejected = one[1], one[2] == true
    local promise = of.imported[vref] and self:val(vref)
    if promise then of.hooks.settle(promise, rejected, of.decode(one[3])) end
  end
  for _, one in ipairs(resolutions) do
    if of.imported[one[1]] then release(self, of, one[1]) end
  end
  local batch = of.batch
  of.batch = nil
  table.sort(batch, base.less)
  for _, vref in ipairs(batch) do
    if of.imported[vref] then of.syscall.subscribe(vref) end
  end
end

--- The vat is to decide a promise of the kernel's, the result of a message: `promise` is its
--- outcome.
---@param vref string
---@param promise any
function Slots:decide(vref, promise)
  local of = core.of(self)
  local before = self:val(vref)
  if before == nil then
    core.hold(self, vref, promise)
    of.exported[vref] = true
    follow(self, of, vref, promise)
    return
  end
  of.imported[vref] = nil
  of.exported[vref] = true
  of.hooks.follow(promise, function(rejected, value) of.hooks.settle(before, rejected, value) end)
  follow(self, of, vref, before)
end

--- Whether the kernel decides a promise of this name.
---@param vref string
---@return boolean
function Slots:is_imported(vref)
  return core.of(self).imported[vref] == true
end

--- Names of promises that are not resolved, sorted by bytes.
---@return string[]
function Slots:promises()
  local of = core.of(self)
  local list = {}
  for _, set in ipairs{ of.imported, of.exported } do
    for vref, held in next, set do
      if held then list[#list + 1] = vref end
    end
  end
  table.sort(list, base.less)
  return list
end

return M
