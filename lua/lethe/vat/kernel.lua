-- Kernels: several vats in one process, which hold each other's objects and never wait for each
-- other.
--
-- A vat is a Lua state of its own, or, as a raw vat, a set of callbacks. All that passes between
-- vats goes through the kernel's queue, one delivery (a crank) at a time: the kernel keeps a c-list
-- for each vat, counts who holds what, and tells a vat when nobody reaches one of its objects any
-- more. What a crank asks for is checked before anything of it leaves; a vat that breaks a rule
-- ends, alone. Every crank has a record in the transcript, and the same deliveries give the same
-- transcript.
--
--   local k = require("lethe").vat.kernel{}
--   local bank = k:vat("bank", function() return { open = function() return 100 end } end)
--   print(k:await(k:send(bank, "open")))
--
-- The kernel's own state is one table, `k` in the files beside this one.

local audit = require "lethe.vat.audit"
local base = require "lethe.core.base"
local build = require "lethe.vat.build"
local capdata = require "lethe.vat.capdata"
local core = require "lethe.core.loop"
local crank = require "lethe.vat.crank"
local cycles = require "lethe.vat.cycles"
local figures = require "lethe.vat.figures"
local gc_actions = require "lethe.vat.gc_actions"
local host = require "lethe.vat.host"
local joining = require "lethe.vat.joining"
local loop = require "lethe.loop"
local order = require "lethe.vat.order"
local promises = require "lethe.vat.promises"
local queue = require "lethe.vat.queue"
local raw = require "lethe.vat.raw"
local reaping = require "lethe.vat.reaping"
local refcounts = require "lethe.vat.refcounts"
local schedule = require "lethe.vat.schedule"
local transcript = require "lethe.vat.transcript"
local work = require "lethe.vat.work"

local M = {}

---@class lethe.vat.Kernel
local Kernel = {}
local new_kernel, insides

local OPTIONS <const> = { "transcript", "reap", "reap_at", "loop" }
local BATCH <const> = 64 -- cranks that await runs before the loop's other tasks get their turn

-- ---- arguments --------------------------------------------------------------------------------

local function bad_argument(n, name, expected, value, level)
  local message, got = "bad argument #%d to '%s' (%s expected, got %s)", base.type(value)
  if got and not base.open(value) then got = "a closed lethe." .. got end
  error(message:format(n, name, expected, got or type(value)), level + 1)
end

local function check_string(n, name, value, level)
  if type(value) ~= "string" then bad_argument(n, name, "string", value, level + 1) end
end

local CUT_OFF <const> = "this kernel was cut off in its work and can only be closed: "

-- The kernel's state, for what changes it.
local function sound(k, level)
  if k.broken then error(CUT_OFF .. k.broken, level + 1) end
  return k
end

-- The same, for what must not happen in the midst of a crank.
local function idle(k, name)
  sound(k, 3)
  if k.crank then error(("Kernel:%s cannot be called inside a crank"):format(name), 3) end
  return k
end

-- What is under a closed kernel goes once no crank runs in it.
local function let_go(k)
  for _, vat in ipairs(k.living) do
    vat.driver:close()
  end
  k.living = {}
  k.transcript:close()
end

local function after(k, ok, ...)
  if k.closed then let_go(k) end
  if ok then return ... end
  k.broken, k.crank = tostring((...)), nil
  error((...), 0)
end

-- Work that is done whole or not at all: want of memory in its midst is the end of the kernel,
-- since its books are no longer in step.
local function whole(k, fn, ...)
  return after(k, pcall(fn, k, ...))
end

-- Writes down what the program does, if that is wanted.
local function note(k, name, handle, ...)
  if k.recording then k.recording:call(name, handle, ...) end
end

local function find_vat(k, name, call, level)
  check_string(1, call, name, level + 1)
  local vat = k.vats[name]
  if vat then return vat end
  if k.ended[name] then return nil end
  local hint = base.hint(name, order.keys(k.vats))
  error(("there is no vat %q%s"):format(name, hint), level + 1)
end

-- ---- vats -------------------------------------------------------------------------------------

local function check_name(k, name, call)
  check_string(1, call, name, 3)
  if k.recording then error("what is played has the vats of the builds, and no others", 3) end
  if k.names[name] then error(("the vat name %q is in use"):format(name), 3) end
end

--- A vat of the program's own making, without lethe's books: `setup(syscall)` returns its
--- callbacks.
---@param name string
---@param setup fun(syscall: lethe.vat.Syscalls): lethe.vat.Callbacks
---@return lethe.vat.Presence root
function Kernel:raw_vat(name, setup)
  local k = idle(insides(self), "raw_vat")
  check_name(k, name, "raw_vat")
  if type(setup) ~= "function" then bad_argument(2, "raw_vat", "function", setup, 2) end
  local vat = joining.record(name)
  local driver = raw.new(setup, crank.syscalls(k, vat), 2)
  check_name(idle(insides(self), "raw_vat"), name, "raw_vat") -- setup may have done anything
  return whole(k, joining.join, vat, driver, { name = name })
end

--- A vat: a Lua state of its own, in which `build(vat)` returns the root, a table of methods.
---@param name string
---@param how lethe.vat.Build a function without upvalues, source, { module = } or { file = }
---@param given { account: lethe.quota.Account?, meter: integer?, memory: integer|string|nil }?
---@return lethe.vat.Presence root
function Kernel:vat(name, how, given)
  local k = idle(insides(self), "vat")
  check_name(k, name, "vat")
  local bounds, account = joining.bounds(name, given or {}, 2)
  local vat = joining.record(name)
  local driver = build.driver(how, {
    name = name, meter = bounds.meter, memory = bounds.memory, output = k.output,
    account = account, now = function() return k.loop:now() end,
  }, crank.syscalls(k, vat), 2)
  return whole(k, joining.join, vat, driver, bounds)
end

--- Ends a vat; inside a crank, once this is over.
---@param name string
---@return boolean ended false if it had ended before
function Kernel:terminate(name)
  local k = sound(insides(self), 2)
  local vat = find_vat(k, name, "terminate", 2)
  if not vat then return false end
  note(k, "terminate", nil, name)
  whole(k, crank.doom, vat, "terminated", "ended by the program")
  return true
end

-- ---- messages ---------------------------------------------------------------------------------

--- Sends a message to an object, or to what a promise will be fulfilled with. Values are copied;
--- presences and promises of this kernel go by reference.
---@param target lethe.vat.Presence|lethe.vat.Promise
---@param method string
---@return lethe.vat.Promise
function Kernel:send(target, method, ...)
  local k = sound(insides(self), 2)
  local kref = host.kref(k, target)
  if not kref then bad_argument(1, "send", "presence or promise of this kernel", target, 2) end
  check_string(2, "send", method, 2)
  local ok, data, slots = pcall(host.encode, k, table.pack(...))
  if not ok then error(data, 2) end
  note(k, "send", target, method, ...)
  local result = k.counts:new_promise()
  local handle = host.handle(k, result)
  promises.send(k, {
    target = kref, method = method, args = capdata.new(data, slots), result = result,
  })
  return handle
end

--- The next crank; nil when nothing is left to do.
---@return lethe.vat.Record?
function Kernel:step()
  local k = idle(insides(self), "step")
  note(k, "step")
  local record = whole(k, work.step)
  return record and transcript.copy(record)
end

--- Runs cranks, all that are due or so many.
---@param max_cranks integer?
---@return integer cranks
function Kernel:run(max_cranks)
  local k = idle(insides(self), "run")
  if max_cranks ~= nil then
    local n = type(max_cranks) == "number" and math.tointeger(max_cranks)
    if not n or n < 0 then bad_argument(1, "run", "count of cranks", max_cranks, 2) end
    max_cranks = n
  end
  note(k, "run", nil, max_cranks)
  local n = 0
  while n ~= max_cranks and whole(k, work.step) do
    n = n + 1
  end
  return n
end

-- How a settled promise is answered.
local function answer(k, promise)
  local value = host.value(k, promise.args)
  if promise.state == "fulfilled" then return value end
  return nil, type(value) == "string" and value or tostring(value), "rejected"
end

--- Waits for a promise, running cranks.
---@param promise lethe.vat.Promise
---@return any value
---@return string? message
---@return "rejected"|"stalled"|nil code
function Kernel:await(promise)
  local k = idle(insides(self), "await")
  local kref = host.kref(k, promise, "p")
  if not kref then bad_argument(1, "await", "promise of this kernel", promise, 2) end
  note(k, "await", promise)
  local own, quiet = k.counts.promises[kref], 0
  local it = promises.last(k, own)
  while it.state == "pending" and not k.closed do
    local ran = 0
    while ran < BATCH and it.state == "pending" and whole(k, work.step) do
      ran = ran + 1
    end
    it = promises.last(k, own)
    if it.state == "pending" and not k.closed then
      quiet = ran == 0 and quiet + 1 or 0
      if quiet == 2 then
        return nil, "nothing is left to run that could settle this promise", "stalled"
      end
      local ok, message, code = loop.wait(k.loop, function(wake)
        core.send(k.loop, core.message(function() wake(true) end))
      end)
      if not ok then return nil, message, code end
    end
  end
  if k.closed then return nil, "the kernel was closed", "closed" end
  return answer(k, it)
end

-- ---- collections ------------------------------------------------------------------------------

--- A bringOutYourDead crank for one vat; or for all, and a collection of the host's own heap, in
--- which handles that it lost let go.
---@param name string?
---@return integer cranks
function Kernel:reap(name)
  local k = idle(insides(self), "reap")
  local one = name ~= nil and { find_vat(k, name, "reap", 2) }
  note(k, "reap", nil, name)
  if one then return whole(k, work.reap, one) end
  return whole(k, work.reap_all)
end

--- Collections everywhere until nothing more is due: of the host's heap, of every vat through
--- bringOutYourDead, and what follows from these. Messages wait.
---@return integer cranks
function Kernel:collect()
  local k = idle(insides(self), "collect")
  note(k, "collect")
  return whole(k, work.collect_all)
end

--- Cycles of objects of several vats that nothing outside them holds; see lethe.vat.cycles.
---@return { kref: string, vat: string, vref: string }[][] cliques
function Kernel:cycles()
  return cycles.find(idle(insides(self), "cycles"))
end

--- Tells the vats that nobody reaches these; they go as the vats bring out their dead, for which
--- each is due.
---@return integer cliques
function Kernel:drop_cycles()
  local k = idle(insides(self), "drop_cycles")
  note(k, "drop_cycles")
  return whole(k, cycles.drop)
end

--- The c-list of a vat, oldest kernel name first; empty once it has ended.
---@param name string
---@return { kref: string, vref: string, reachable: boolean, recognizable: boolean }[]
function Kernel:clist(name)
  local vat = find_vat(insides(self), name, "clist", 2)
  return vat and vat.clist:rows() or {}
end

--- When the vats' heaps are really collected from now on: drawn from a seed, or as a function
--- answers; nil: as Lua sees fit. No transcript shows it. See lethe.vat.schedule.
---@param how integer|fun(point: string): string?
function Kernel:gc_schedule(how)
  local k = idle(insides(self), "gc_schedule")
  k.schedule = how ~= nil and schedule.new(how, 2) or nil
  for _, each in ipairs(k.schedule and {} or k.living) do
    if each.driver.plan then each.driver:plan({}) end
  end
end

-- ---- looking ----------------------------------------------------------------------------------

--- Copies of the transcript's records.
---@return lethe.vat.Record[]
function Kernel:transcript()
  return insides(self).transcript:records()
end

--- Figures.
---@return lethe.vat.KernelStats
function Kernel:stats()
  return figures.of(insides(self))
end

--- Compares the kernel's counts with what there is to be counted, and the rules that hold between
--- two cranks: true, or nil and what is wrong.
---@return true?
---@return string? message
function Kernel:check()
  local message = audit.check(idle(insides(self), "check"))
  if message then return nil, message end
  return true
end

-- ---- making -----------------------------------------------------------------------------------

local function reap_at(given)
  local value = given.reap_at
  if value == nil then return 1000 end
  if type(value) ~= "number" or value ~= value or value <= 0 then
    error(("reap_at must be a number above 0 (got %s)"):format(tostring(value)), 3)
  end
  return value
end

local function loop_option(given)
  local value = given.loop
  if value == nil then return loop.default() end
  if base.type(value) ~= "loop.Loop" or not core.is_open(value) then
    error(("loop must be an open lethe.loop.Loop (got %s)"):format(tostring(value)), 3)
  end
  return value
end

--- A kernel without vats.
---@param given lethe.vat.KernelOptions?
---@return lethe.vat.Kernel?
---@return string? message
---@return "not_writable"|nil code
function M.new(given)
  if given == nil then given = {} end
  base.options(given, OPTIONS, 2)
  local k = {
    counts = refcounts.new(), actions = gc_actions.new(), handles = host.new(),
    queue = queue.new(), reaps = queue.new(),
    vats = {}, living = {}, names = {}, ended = {}, doomed = {}, output = {},
    crank = nil, cranks = 0, closed = false,
    reap = reaping.compile(given.reap == nil and "deliveries + 50*gc_krefs" or given.reap, 2),
    reap_at = reap_at(given),
    loop = loop_option(given),
  }
  if given.transcript ~= nil and type(given.transcript) ~= "string" then
    error(("transcript must be a path (got %s)"):format(type(given.transcript)), 2)
  end
  local message, code
  k.transcript, message, code = transcript.new(given.transcript)
  if not k.transcript then return nil, message, code end
  return new_kernel(k)
end

new_kernel, insides = base.class("vat.Kernel", Kernel, function(k)
  k.closed = true
  k.handles.kept = nil
  if not k.crank then let_go(k) end
end, true, true, true)

--- The state of a kernel, for the files beside this one.
---@param kernel lethe.vat.Kernel
---@return table
function M.state(kernel)
  return insides(kernel)
end

return M
