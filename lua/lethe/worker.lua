--- Workers: OS threads, each with a Lua state and a loop of its own, and channels between them.
--
-- A worker's function runs as a task of its state's default loop. States share nothing of Lua's:
-- what goes from one to another is copied, messages of nil, booleans, numbers, strings and tables
-- of these, with cycles and sharing kept; but for engine handles (a tracker, an account, a
-- channel), which arrive as objects of the same engine.
--
--   local w = worker.spawn(function(n)
--     local parent = require("lethe.worker").parent()
--     return n * parent:recv()
--   end, 6)
--   w:send(7)   print(w:join())   --> 42
--
-- See lua/lethe/meta/worker.lua for every call.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.worker"
local default_loop = require "lethe.core.loop".default
local loop = require "lethe.loop"
local portable = require "lethe.portable"

---@class lethe.worker
local M = {}

---@class lethe.worker.Worker
local Worker = core.Worker
---@class lethe.worker.Parent
local Parent = core.Parent
---@class lethe.worker.Channel
local Channel = core.Channel

-- ---- waiting ----------------------------------------------------------------------------------

-- Until there is an answer: what the wait comes to. To be tail-called by the method that waits, so
-- that misuse is reported at its caller.
local function wait_for(wait)
  local answered, message, code = loop.wait(default_loop(), function(wake)
    if core.arm(wait, function() wake(true) end) then wake(true) end
  end, function() core.disarm(wait) end)
  if answered then return core.finish(wait) end
  core.disarm(wait)
  return nil, message, code
end

local function recv(self)
  local got, value, code = core.recv(self)
  if got then return value end
  if got == false then return wait_for(value) end
  return nil, value, code
end

-- ---- channels ---------------------------------------------------------------------------------

--- A channel, which can be sent to other workers. It holds up to `capacity` messages: any number
--- without one; with 0 a sender waits until its message is taken.
---@param capacity integer?
---@return lethe.worker.Channel
function M.channel(capacity)
  if capacity ~= nil and (math.type(capacity) ~= "integer" or capacity < 0) then
    local got = tostring(capacity)
    error(("bad argument #1 to 'channel' (a capacity expected, got %s)"):format(got), 2)
  end
  return core.channel(capacity)
end

--- Sends a copy; waits while the channel is full.
---@param value any
---@return true? sent
---@return string? message
---@return "closed"|"cancelled"|nil code
function Channel:send(value)
  base.check(self, "worker.Channel")
  local sent, message, code = core.send(self, value)
  if sent == false then return wait_for(message) end
  if sent == nil then return nil, message, code end
  return sent
end

--- The next message; waits for one.
---@return any value
---@return string? message
---@return "closed"|"cancelled"|nil code
function Channel:recv()
  base.check(self, "worker.Channel")
  return recv(self)
end

-- ---- workers ----------------------------------------------------------------------------------

local RUN <const> = { "module", "file" }
local RUNS <const> = "a worker runs a function, { module = name } or { file = path }"

-- What a worker runs, as the kind and text that go there.
local function describe(run, level)
  if type(run) == "function" then
    portable.check(run, "a worker's function", "pass it as an argument", level + 1)
    return "function", string.dump(run)
  end
  if type(run) ~= "table" then
    error(("%s (got %s)"):format(RUNS, base.type(run) or type(run)), level + 1)
  end
  base.options(run, RUN, level + 1)
  local kind = run.module ~= nil and "module" or "file"
  local text = run[kind]
  if type(text) ~= "string" or (run.module ~= nil and run.file ~= nil) then
    error(RUNS, level + 1)
  end
  return kind, text
end

--- Starts a worker that runs `run(...)`.
---@param run function|{ module: string }|{ file: string }
---@return lethe.worker.Worker?
---@return string? message
---@return "no_memory"|"no_thread"|nil code
function M.spawn(run, ...)
  local kind, text = describe(run, 2)
  local worker, message, code = core.start(nil, nil, kind, text, nil, ...)
  if worker == nil then return nil, message, code end
  return worker
end

local NEW <const> = { "run", "args", "account", "memory", "name" }

---@class lethe.worker.NewOptions
---@field run function|{ module: string }|{ file: string }
---@field args any[]? its arguments; a field n counts them, where nils are among them
---@field account lethe.quota.Account? what its memory is claimed under
---@field memory integer|string|nil how much it may use
---@field name string?

--- Starts a worker with a name, a limit of its memory, or an account that its memory is claimed
--- under.
---@param options lethe.worker.NewOptions
---@return lethe.worker.Worker?
---@return string? message
---@return "no_memory"|"no_thread"|nil code
function M.new(options)
  base.options(options, NEW, 2)
  local name = check.name(options, 2)
  local args = check.typed(options, "args", "table", 2) or {}
  local account = check.object(options, "account", "quota.Account", 2)
  local memory = check.size(options, "memory", 2)
  local kind, text = describe(options.run, 2)
  local worker, message, code = core.start(name, memory, kind, text, account,
    table.unpack(args, 1, args.n or #args))
  if worker == nil then return nil, message, code end
  return worker
end

--- What the worker was called when it was made, or nil.
---@return string?
function Worker:name()
  base.check(self, "worker.Worker")
  return core.name(self)
end

--- Sends it a copy of a value; it never waits.
---@param value any
---@return true? sent
---@return string? message
---@return "closed"|nil code
function Worker:send(value)
  base.check(self, "worker.Worker")
  local sent, message, code = core.send(self, value)
  if sent == nil then return nil, message, code end
  return sent
end

--- The next message that it sent; waits for one.
---@return any value
---@return string? message
---@return "closed"|"cancelled"|nil code
function Worker:recv()
  base.check(self, "worker.Worker")
  return recv(self)
end

--- Waits for its end: what its function returned, or nil, message, "failed" | "cancelled".
function Worker:join()
  base.check(self, "worker.Worker")
  local ended, wait = core.ended(self)
  if not ended then
    local _, message, code = wait_for(wait) -- its end, which is "closed"
    if not base.open(self) then return nil, "the worker was closed meanwhile", "cancelled" end
    if not core.ended(self) then return nil, message, code end
  end
  return core.results(self)
end

--- Ends its waits at once, and what it runs at the next instruction, however often that is caught.
function Worker:cancel()
  base.check(self, "worker.Worker")
  core.cancel(self)
end

-- ---- in a worker ------------------------------------------------------------------------------

--- In a worker, the one who made it; elsewhere nil.
---@return lethe.worker.Parent?
function M.parent()
  return core.parent()
end

--- Sends a copy to the maker; it never waits.
---@param value any
---@return true? sent
---@return string? message
---@return "closed"|nil code
function Parent:send(value)
  base.check(self, "worker.Parent")
  local sent, message, code = core.send(self, value)
  if sent == nil then return nil, message, code end
  return sent
end

--- The next message from the maker; waits for one.
---@return any value
---@return string? message
---@return "closed"|"cancelled"|nil code
function Parent:recv()
  base.check(self, "worker.Parent")
  return recv(self)
end

return M
