--- Caches: entries that a backend loads and writes back, in an order that survives a power failure.
--
-- What is missing is loaded, once however many tasks ask; what was changed is dirty until it is
-- written, and is written before it leaves. The cache owns its loads and writes: a task that waits
-- for one may be cancelled, and nothing is lost. An entry that is held stays.
--
--   local blocks = cache.new{ limit = 1000, backend = {
--     load = function(_, k) return read(k) end,
--     flush = function(_, k, v) write(k, v) end,
--     barrier = function() sync() end,
--   } }
--   local v = blocks:get(7)
--   blocks:insert(8, "new")        -- dirty now
--   blocks:depend_on(refcounts)    -- which are written, and synced, before anything of blocks is
--   blocks:flush()
--
-- See lua/lethe/meta/cache.lua for every call.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.cache"
local backends = require "lethe.cache.backend"
local policies = require "lethe.cache.policy"
local loop = require "lethe.loop"

---@class lethe.cache
local M = {}

local record <const> = base.shared("record") -- attach: who watches what is made, for lethe record

local Cache = core.Cache

-- ---- waiting ----------------------------------------------------------------------------------

-- The results of a call of core: `first` is false, or a Wait. `level` is that of whoever called the
-- cache, 1 being the caller of this. Never called as a tail call.
local function finish(cache, level, first, ...)
  if not first then return ... end
  local _ <close> = first -- cancels, should the wait end without an answer
  local code, message, reason = loop.wait(core.own(cache).loop, function(wake)
    core.attend(first, wake)
  end, nil, level + 1)
  if code == nil then return nil, message, reason end
  return core.result(first)
end

-- Cache:get of what has to be waited for; called by it, and so one level further from its caller.
local function get(cache, waiting)
  local value, message, code = finish(cache, 3, waiting)
  if value == nil then return nil, message, code end -- no tail call: positions are counted
  return value
end

backends.upcalls.get = get
core.upcalls(backends.upcalls)

--- Holds an entry: it is in use until the Hold is closed, and stays where it is. Waits.
---@param key string|integer
---@return lethe.cache.Hold?
---@return string? message
---@return string? code as of get
function Cache:hold(key)
  base.check(self, "cache.Cache")
  local hold, message, code = finish(self, 2, core.hold(self, key))
  if hold == nil then return nil, message, code end
  return hold
end

--- Puts a value, which becomes dirty. What is there is written first if it is dirty. Waits.
---@param key string|integer
---@param value any not nil
---@return true?
---@return string? message
---@return string? code "in_use", or as of get
function Cache:insert(key, value)
  base.check(self, "cache.Cache")
  local ok, message, code = finish(self, 2, core.insert(self, key, value))
  if ok == nil then return nil, message, code end
  return ok
end

--- Writes every dirty entry, or one; what the cache depends on is written before. Waits.
---@param key (string|integer)?
---@return true?
---@return string? message
---@return string? code "flush_failed" | "closed"
---@return (string|integer)[]? keys that could not be written
function Cache:flush(key)
  base.check(self, "cache.Cache")
  local ok, message, code, keys = finish(self, 2, core.flush(self, key))
  if ok == nil then return nil, message, code, keys end
  return ok
end

--- Nothing of this cache is written any more before `other` is flushed and its barrier has passed;
--- that flush ends it. An edge that would close a cycle first flushes the path. Waits.
---@param other lethe.cache.Cache
---@return true?
---@return string? message
---@return string? code "flush_failed"
function Cache:depend_on(other)
  base.check(self, "cache.Cache")
  if base.type(other) ~= "cache.Cache" then
    error(("bad argument #1 to 'depend_on' (lethe.cache.Cache expected, got %s)")
      :format(check.kind(other)), 2)
  elseif not base.open(other) then
    error("bad argument #1 to 'depend_on' (a closed lethe.cache.Cache)", 2)
  end
  local ok, message, code = finish(self, 2, core.depend_on(self, other))
  if ok == nil then return nil, message, code end
  return ok
end

--- Writes what is dirty, then closes; on a failure it stays open. Waits.
---@return true?
---@return string? message
---@return string? code "flush_failed"
---@return (string|integer)[]? keys that could not be written
function Cache:shutdown()
  base.check(self, "cache.Cache")
  local ok, message, code, keys = finish(self, 2, core.shutdown(self))
  if ok then self:close() end
  if ok == nil then return nil, message, code, keys end
  return ok
end

-- ---- many at once -----------------------------------------------------------------------------

local CLOSED <const> = "the cache was closed" -- as the core says it

-- Waits for the Waits in `pending` by index; stores what they result in. The cache may be closed
-- meanwhile.
local function wait_all(home, pending, store, level)
  for i, waiting in pairs(pending) do
    local _ <close> = waiting
    local code, message, reason = loop.wait(home, function(wake)
      core.attend(waiting, wake)
    end, nil, level + 1)
    if code == nil then
      for _, other in pairs(pending) do
        other:close()
      end
      return nil, message, reason
    end
    store(i, core.result(waiting))
  end
  return true
end

local function begin_get(i, pending, store, first, ...)
  if first then
    pending[i] = first
  else
    store(i, ...)
  end
end

--- The values of many keys, loaded beside each other. Waits.
---@param keys (string|integer)[]
---@return any[]? values in the order of the keys; where there is none, nil
---@return table|string failures by key: { message, code }
---@return string? code "cancelled" | "closed"
function Cache:get_many(keys)
  base.check(self, "cache.Cache")
  check.argument(1, "get_many", keys, "table", 2)
  local values, failures, pending, home = {}, {}, {}, core.own(self).loop
  keys = table.move(keys, 1, #keys, 1, {}) -- the caller's may change during the wait
  local function store(i, value, message, code)
    values[i] = value
    if value == nil then
      failures[keys[i]] = { message, code, message = message, code = code }
    end
  end
  for i = 1, #keys do
    if base.open(self) then
      begin_get(i, pending, store, core.get(self, keys[i]))
    else -- the load of an earlier key has closed it
      store(i, nil, CLOSED, "closed")
    end
  end
  local ok, message, code = wait_all(home, pending, store, 2)
  if not ok then return nil, message, code end
  return values, failures
end

-- ---- the rest ---------------------------------------------------------------------------------

local RESIZE <const> = { "limit", "bytes" }

-- A number of entries, or nil.
local function entries(options, level)
  local value = options.limit
  if value == nil then return nil end
  local n = type(value) == "number" and math.tointeger(value)
  if not n or n < 0 then
    error(("limit must be a number of entries from 0 (got %s)"):format(tostring(value)), level + 1)
  end
  return n
end

--- Other limits. What is too much leaves now, or once it is written, or released.
---@param options { limit: integer?, bytes: integer|string|nil }
---@return true
function Cache:resize(options)
  base.check(self, "cache.Cache")
  base.options(options, RESIZE, 2)
  core.resize(self, entries(options, 2), check.size(options, "bytes", 2))
  return true
end

--- Calls `fn(key, value, reason)` after an entry has left, as a task of its own; reason is
--- "capacity", "ttl", "removed" or "reclaimed". nil: nobody any more.
---@param fn fun(key: string|integer, value: any, reason: string)?
function Cache:on_evict(fn)
  base.check(self, "cache.Cache")
  if fn ~= nil then check.argument(1, "on_evict", fn, "function", 2) end
  core.own(self).on_evict = fn
  core.listen(self, fn ~= nil)
end

-- ---- policies ---------------------------------------------------------------------------------

--- Puts another policy in charge, under load: entries stay, in order where both are scripts of one
--- form, and what `export` returns goes to `import`. On any failure the old one stays.
---@param policy string|table|function|lethe.policy.Text
---@return true?
---@return string? message
---@return string? code "bad_policy"
function Cache:reload(policy)
  base.check(self, "cache.Cache")
  local ok, message, code = policies.reload(self, policy, 2)
  if ok == nil then return nil, message, code end -- no tail call: positions are counted
  return ok
end

--- Runs a candidate beside the policy in charge, on the keys of a sample of all accesses; what it
--- chooses is never used. `stats()` of the Shadow estimates what it would have missed.
---@param policy string|table|function|lethe.policy.Text
---@param options { sample: number? }? the part of all keys, 1/8; more where the cache is small
---@return lethe.cache.Shadow?
---@return string? message
---@return string? code "bad_policy"
function Cache:shadow(policy, options)
  base.check(self, "cache.Cache")
  local shadow, message, code = policies.shadow(self, policy, options, 2)
  if shadow == nil then return nil, message, code end
  return shadow
end

-- ---- making -----------------------------------------------------------------------------------

local NEW <const> = {
  "backend", "limit", "bytes", "policy", "weigh", "account", "ttl", "idle", "error_ttl", "wait",
  "write_depth", "loop", "name",
}
local MOST_WRITES <const> = 65536

-- math.huge: never where nil says so too, else longer than any program runs.
local FOREVER <const> = 1e18

local function seconds(options, name, level, least)
  local value = options[name]
  if value == nil then return nil end
  if type(value) ~= "number" then
    error(("%s must be a number of seconds (got %s)"):format(name, check.kind(value)), level + 1)
  end
  if value == math.huge then return not least and FOREVER or nil end
  if value ~= value or value < 0 or value == least then
    error(("%s must be a number of seconds %s 0 (got %s)"):format(name,
      least and "above" or "from", value), level + 1)
  end
  return value
end

local function depth(options, level)
  local value = options.write_depth
  if value == nil then return nil end
  local n = type(value) == "number" and math.tointeger(value)
  if not n or n < 1 or n > MOST_WRITES then
    error(("write_depth must be an integer from 1 to %d (got %s)"):format(MOST_WRITES,
      tostring(value)), level + 1)
  end
  return n
end

-- What the cache keeps; see bindings/cache.h.
local function new_own(options, level)
  return {
    backend = options.backend,
    limit = entries(options, level + 1),
    bytes = check.size(options, "bytes", level + 1),
    weigh = check.typed(options, "weigh", "function", level + 1),
    ttl = seconds(options, "ttl", level + 1, 0),
    idle = seconds(options, "idle", level + 1, 0),
    error_ttl = seconds(options, "error_ttl", level + 1),
    wait = seconds(options, "wait", level + 1),
    write_depth = depth(options, level + 1),
    name = check.name(options, level + 1),
    loop = check.object(options, "loop", "loop.Loop", level + 1) or loop.default(),
    on_evict = false,
    runners = {}, -- tasks of the backend's calls, while they rest
  }
end

---@class lethe.cache.Options
---@field backend lethe.cache.Backend
---@field limit integer? entries
---@field bytes (integer|string)?
---@field policy string|table|function|lethe.policy.Text|nil "lru"
---@field weigh (fun(key: string|integer, value: any): number)? bytes; strings weigh their length
---@field account lethe.quota.Account? the cache is a participant of it, and keeps it
---@field ttl number? seconds
---@field idle number? seconds since the last access
---@field error_ttl number? seconds that a failure is remembered
---@field wait number? seconds for room when all is in use; 5
---@field write_depth integer? writes under way at once; 32
---@field loop lethe.loop.Loop?
---@field name string?

--- A new cache.
---@param options lethe.cache.Options
---@return lethe.cache.Cache?
---@return string? message
---@return string? code "bad_policy", or an account's
function M.new(options)
  base.options(options, NEW, 2)
  local evicts, bars = backends.check(options.backend, 2)
  local own = new_own(options, 2)
  local policy, why, reason = policies.make(options.policy, own, 2)
  if not policy then return nil, why, reason end
  local _ <close> = policy -- what the cache has not taken
  local account = check.object(options, "account", "quota.Account", 2)
  if account then
    own.holder = require("lethe.cache.account").holder()
    own.account = account -- which would end where nobody keeps it
  end
  local cache, message, code = core.new(own, own.loop, evicts, bars, policy, account)
  if not cache then return nil, message, code end
  if account then own.holder[1].kept.cache = cache end
  if record.attach then record.attach(cache) end
  return cache
end

return M
