---@meta lethe.cache

--- A call that waits suspends only the task that makes it. It may be cancelled at any point: what
--- the cache loads and writes goes on.

--- What a cache loads from and writes to. All may wait, and are called as tasks of the cache's
--- loop. `load` returns the value; nil alone when there is none. All fail by raising, or by nil and
--- a message.
---@class lethe.cache.Backend
---@field load fun(self: any, key: string|integer): any, string?
---@field flush (fun(self: any, key: string|integer, value: any): any, string?)?
---@field evict fun(self: any, key: string|integer, value: any)? the value has left the cache
---@field barrier (fun(self: any): any, string?)? what was flushed before is durable after

---@class lethe.cache.Cache: lethe.Object
---@operator len: integer
local Cache = {}

--- Ends it at once. What is dirty is dropped, and reported through lethe.on_error.
---@return true
function Cache:close() end

--- The value of a key; loads it if it is not there, once however many ask. Waits.
---@param key string|integer
---@return any
---@return string? message
---@return string? code "load_failed" | "not_found" | "flush_failed" | "all_in_use" | "closed"
function Cache:get(key) end

--- The values of many keys, loaded beside each other. Waits.
---@param keys (string|integer)[]
---@return any[]? values in the order of the keys; nil where there is none
---@return table|string failures by key: { message, code }; or a message
---@return string? code "cancelled" | "closed"
function Cache:get_many(keys) end

--- As get, and the entry is in use until the Hold is closed: it is not evicted, and not dropped.
---@param key string|integer
---@return lethe.cache.Hold?
---@return string? message
---@return string? code as of get
function Cache:hold(key) end

--- Puts a value, which is dirty until it is written. What is there is written first if it is dirty.
--- Waits.
---@param key string|integer
---@param value any not nil
---@return true?
---@return string? message
---@return string? code "in_use", or as of get
function Cache:insert(key, value) end

--- Writes every dirty entry, or one; what the cache depends on, and its barrier, come first. Each
--- is tried, whatever another did. Waits.
---@param key (string|integer)?
---@return true?
---@return string? message
---@return string? code "flush_failed" | "closed"
---@return (string|integer)[]? keys that could not be written
function Cache:flush(key) end

--- Nothing of this cache is written any more before `other` is flushed and its barrier has passed;
--- that flush ends it. What would close a cycle first flushes the path; a cache that depends on
--- itself is flushed. Waits.
---@param other lethe.cache.Cache
---@return true?
---@return string? message
---@return string? code "flush_failed" | "closed"
function Cache:depend_on(other) end

--- Writes what is dirty, then closes; on a failure it stays open. Waits.
---@return true?
---@return string? message
---@return string? code "flush_failed"
---@return (string|integer)[]? keys that could not be written
function Cache:shutdown() end

--- Other limits. What is too much leaves now, or once it is written or released.
---@param options { limit: integer?, bytes: integer|string|nil }
---@return true
function Cache:resize(options) end

--- Calls `fn(key, value, reason)` after an entry has left, in a task of its own; reason is
--- "capacity", "ttl" (or idle), "removed" or "reclaimed". nil: nobody any more.
---@param fn fun(key: string|integer, value: any, reason: string)?
function Cache:on_evict(fn) end

--- The value, if it is there; touches nothing.
---@param key string|integer
---@return any
function Cache:peek(key) end

--- Whether it is there; touches nothing.
---@param key string|integer
---@return boolean
function Cache:contains(key) end

--- Drops an entry without writing it.
---@param key string|integer
---@return true?
---@return string? message
---@return string? code "in_use"
function Cache:remove(key) end

--- Drops all that is not in use, without writing it.
---@return true?
---@return string? message
---@return string? code "in_use"
---@return (string|integer)[]? keys that are in use
function Cache:invalidate() end

--- How many entries there are.
---@return integer
function Cache:len() end

--- Bytes of what is there, as weighed.
---@return integer
function Cache:size() end

---@class lethe.cache.Stats
---@field hits integer
---@field misses integer
---@field loads integer
---@field load_failures integer
---@field evictions integer entries that left without being removed
---@field flushes integer entries that were written
---@field flush_failures integer writes that failed
---@field barriers integer
---@field dirty integer entries now, as the rest
---@field in_use integer
---@field entries integer
---@field bytes integer

---@return lethe.cache.Stats
function Cache:stats() end

--- Puts another policy in charge, under load: entries stay, and where both are scripts of one form
--- they stay in order, and what `export` returns goes to `import`. On any failure the old one
--- stays.
---@param policy string|table|function|lethe.policy.Text
---@return true?
---@return string? message
---@return string? code "bad_policy"
function Cache:reload(policy) end

--- Runs a candidate beside the policy in charge, on the keys of a sample of all accesses; what it
--- chooses is never used.
---@param policy string|table|function|lethe.policy.Text
---@param options? { sample: number? } the part of all keys, 1/8; more where the cache is small
---@return lethe.cache.Shadow?
---@return string? message
---@return string? code "bad_policy"
function Cache:shadow(policy, options) end

---@class lethe.cache.Shadow: lethe.Object
local Shadow = {}

--- It watches no more.
---@return true
function Shadow:close() end

---@class lethe.cache.Shadow.Stats
---@field hits integer of all accesses since it began, estimated; so are the misses
---@field misses integer
---@field miss_ratio number
---@field error_bound number what the ratio of a whole run may differ by
---@field sampled integer accesses of sampled keys
---@field sample number the part of all keys
---@field strikes integer failures of the policy

---@return lethe.cache.Shadow.Stats
function Shadow:stats() end

---@class lethe.cache.Hold: lethe.Object
---@field value any what the entry has now
local Hold = {}

--- The entry is free again.
---@return true
function Hold:close() end

--- The value was changed in place.
---@return true?
---@return string? message
---@return string? code "closed"
function Hold:mark_dirty() end

--- Another value, dirty.
---@param value any not nil
---@return true?
---@return string? message
---@return string? code "closed"
function Hold:set(value) end
