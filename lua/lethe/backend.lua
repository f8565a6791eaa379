--- Backends: where a cache's values come from and go to.
--
-- A backend is any object with `load(self, k)` and, if it can be written, `flush(self, k, v)`,
-- `evict(self, k, v)` and `barrier(self)`; all of them may wait. Those that are made here are a
-- file of blocks, read and written by a pool of threads; a Redis server or cluster; memory; and one
-- that does to another whatever can go wrong, for tests.
--
--   local file = backend.file{ path = "disk.img", block = "4K", create = true }
--   file:flush(7, ("x"):rep(4096))   file:barrier()
--   print(#file:load(7))             --> 4096
--
-- They work without a cache too. See lua/lethe/meta/backend.lua for every call.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.backend"
local default_loop = require "lethe.core.loop".default
local loop = require "lethe.loop"
local task = require "lethe.loop.task"

---@class lethe.backend
local M = {}

local File, Redis = core.File, core.Redis

-- ---- calls that wait --------------------------------------------------------------------------

-- Raises at the caller of the method that calls this.
local function bad_argument(n, name, expected, value)
  local got = base.type(value) or type(value)
  if got == "number" and expected ~= "a string" then got = tostring(value) end
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(n, name, expected, got), 4)
end

-- To be tail-called by the method that waits, so that misuse is reported at its caller.
local function wait_for(call)
  local current = task.current()
  local home = current and current.loop or default_loop()
  local done, message, code = loop.wait(home, function(wake)
    local started = core.start(call, home, function() wake(true) end)
    if not started then wake(nil, "the loop was closed", "closed") end
  end, function() core.forget(call) end)
  if done then return core.finish(call) end
  core.forget(call)
  return nil, message, code
end

local function block_of(name, k)
  local block = math.type(k) == "integer" and k or type(k) == "number" and math.tointeger(k)
  if not block or block < 0 then bad_argument(1, name, "the number of a block", k) end
  return block
end

local function key_of(name, k)
  if math.type(k) == "integer" or type(k) == "string" then return k end
  local whole = type(k) == "number" and math.tointeger(k)
  if not whole then bad_argument(1, name, "a string or an integer", k) end
  return whole
end

local function check_string(name, v)
  if type(v) ~= "string" then bad_argument(2, name, "a string", v) end
end

-- The methods of a backend whose calls the core makes; `key(name, k)` gives what it takes for k.
local function add_calls(Backend, type_name, key)
  function Backend:load(k)
    base.check(self, type_name)
    return wait_for(core.call(self, "load", key("load", k)))
  end

  function Backend:flush(k, v)
    base.check(self, type_name)
    k = key("flush", k)
    check_string("flush", v)
    return wait_for(core.call(self, "flush", k, v))
  end

  function Backend:barrier()
    base.check(self, type_name)
    return wait_for(core.call(self, "barrier"))
  end
end

add_calls(File, "backend.File", block_of)
add_calls(Redis, "backend.Redis", key_of)

-- ---- files ------------------------------------------------------------------------------------

local FILE <const> = { "path", "block", "create", "queue" }
local BLOCK_MAX <const> = 1 << 30

---@class lethe.backend.FileOptions
---@field path string
---@field block integer|string|nil bytes of a block, "4K" by default
---@field create boolean? makes the file if it is not there
---@field queue integer? how many calls may be in the threads at once, 64 by default

--- A file of blocks: keys are their numbers from 0, values strings of `block` bytes. Loading a
--- block past the end finds nothing. Reads, writes and the fdatasync of a barrier run in threads.
---@param options lethe.backend.FileOptions
---@return lethe.backend.File?
---@return string? message
---@return "not_found"|"unwritable"|"system"|nil code
function M.file(options)
  base.options(options, FILE, 2)
  local path = check.typed(options, "path", "string", 2)
  if not path or path == "" or path:find("\0", 1, true) then
    error("path must be the name of a file", 2)
  end
  local block = options.block == nil and 4096 or base.size(options.block, "block", 2)
  if block < 1 or block > BLOCK_MAX then
    error(("block must be from 1 byte to 1G (got %d)"):format(block), 2)
  end
  local queue = options.queue
  if queue ~= nil and (math.type(queue) ~= "integer" or queue < 1 or queue > 1 << 20) then
    error(("queue must be a positive integer (got %s)"):format(tostring(queue)), 2)
  end
  return core.file(path, block, check.typed(options, "create", "boolean", 2) or false, queue or 0)
end

-- ---- Redis ------------------------------------------------------------------------------------

local REDIS <const> = { "host", "port", "prefix", "timeout", "hash_tag" }

---@class lethe.backend.RedisOptions
---@field host string? "127.0.0.1" by default
---@field port integer? 6379 by default
---@field prefix string? a key k is written as prefix .. tostring(k)
---@field hash_tag boolean? as "{" .. prefix .. "}" .. tostring(k): a cluster keeps them together
---@field timeout number? seconds for each single call, 5 by default

--- Connects to a Redis server, or to one node of a cluster; waits.
---@param options lethe.backend.RedisOptions?
---@return lethe.backend.Redis?
---@return string? message
---@return "unavailable"|"cancelled"|nil code
function M.redis(options)
  if options == nil then options = {} end
  base.options(options, REDIS, 2)
  local host = check.typed(options, "host", "string", 2)
  if host and (#host == 0 or #host > 255 or host:find("\0", 1, true)) then
    error("host must be a name or an address", 2)
  end
  local port = options.port == nil and 6379 or options.port
  if math.type(port) ~= "integer" or port < 1 or port > 65535 then
    error(("port must be an integer from 1 to 65535 (got %s)"):format(tostring(port)), 2)
  end
  local timeout = check.typed(options, "timeout", "number", 2) or 5
  if not (timeout > 0 and timeout < math.huge) then
    error(("timeout must be a number of seconds above 0 (got %s)"):format(timeout), 2)
  end
  local prefix = check.typed(options, "prefix", "string", 2) or ""
  local tag = check.typed(options, "hash_tag", "boolean", 2) or false
  if tag and (prefix == "" or prefix:find("}", 1, true)) then
    error("a hash_tag needs a prefix, without a } in it", 2)
  end
  local redis <const> = core.redis(host, port, prefix, tag, timeout)
  local answered, message, code = wait_for(core.call(redis, "barrier"))
  if answered then return redis end
  redis:close()
  return nil, message, code == "cancelled" and code or "unavailable"
end

function Redis:stats()
  base.check(self, "backend.Redis")
  return core.stats(self)
end

-- ---- memory -----------------------------------------------------------------------------------

---@class lethe.backend.Memory
local Memory = {}
local new_memory, inside

--- A table as a backend; values are any. It is `data`, if that is given.
---@param options { data: table? }?
---@return lethe.backend.Memory
function M.memory(options)
  if options == nil then options = {} end
  base.options(options, { "data" }, 2)
  return new_memory({ data = check.typed(options, "data", "table", 2) or {} })
end

---@param k string|integer
---@return any value
function Memory:load(k)
  return inside(self).data[k]
end

---@param k string|integer
---@param v any
---@return true
function Memory:flush(k, v)
  inside(self).data[k] = v
  return true
end

---@return true
function Memory:barrier()
  return inside(self) and true
end

new_memory, inside = base.class("backend.Memory", Memory, function() end, false, true)

-- ---- faults -----------------------------------------------------------------------------------

--- A backend around another, any object with the methods of one: it does to its n-th call what
--- the plan says, and keeps a log of every call.
---@type fun(inner: table|userdata, plan: table<integer, string|number>?): lethe.backend.Faulty
M.faulty = require "lethe.backend.faulty".new

return M
