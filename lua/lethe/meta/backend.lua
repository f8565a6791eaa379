---@meta lethe.backend

--- Backends of a cache: a file of blocks, Redis, memory, and one that makes another fail. Their
--- calls wait. Of a key that is none, or a value that is no string, they raise.

---@class lethe.backend.File: lethe.Object
local File = {}

--- The block's bytes; zeros for what the end of the file cuts off; nil past the end.
---@param k integer
---@return string? value
---@return string? message
---@return string? code "system" | "cancelled"
function File:load(k) end

--- Writes the block.
---@param k integer
---@param v string of as many bytes as a block has
---@return true?
---@return string? message
---@return string? code "invalid" (of another length) | "full" | "system" | "cancelled"
function File:flush(k, v) end

--- Once it answers, everything whose flush was answered before is on the device. After one that
--- failed all others do: the system may have dropped what it could not write.
---@return true?
---@return string? message
---@return string? code "full" | "system" | "cancelled"
function File:barrier() end

--- What is under way ends by itself.
---@return true
function File:close() end

--- One connection for all calls, made again when it was lost. Each call has a timeout of its own; a
--- flush that ran into it may still happen.
---@class lethe.backend.Redis: lethe.Object
local Redis = {}

--- The string that is stored under the key, or nil.
---@param k string|integer
---@return string? value
---@return string? message
---@return string? code "timeout" | "unavailable" | "system" (the server's error) | "cancelled"
function Redis:load(k) end

---@param k string|integer
---@param v string
---@return true?
---@return string? message
---@return string? code "timeout" | "unavailable" | "system" | "cancelled"
function Redis:flush(k, v) end

--- Answers once the servers have answered all that was sent before.
---@return true?
---@return string? message
---@return string? code "timeout" | "unavailable" | "system" | "cancelled"
function Redis:barrier() end

---@class lethe.backend.RedisStats
---@field connections integer that came about
---@field commands integer that were sent
---@field redirects integer MOVED and ASK answers that were followed
---@field timeouts integer
---@field nodes integer of a cluster that it knows

---@return lethe.backend.RedisStats
function Redis:stats() end

--- What is under way ends by itself.
---@return true
function Redis:close() end

---@class lethe.backend.Memory: lethe.Object
local Memory = {}

---@return true
function Memory:close() end

---@class lethe.backend.Record
---@field call integer which one, from 1
---@field op "load"|"flush"|"barrier"
---@field key string|integer|nil
---@field value any what was to be flushed
---@field action "pass"|"fail"|"tear"|"cancel"|"crash"|number
---@field begun integer a moment: begins and ends are counted together
---@field ended integer|false false while it is under way
---@field ok boolean
---@field message string?

---@class lethe.backend.Faulty: lethe.Object
local Faulty = {}

---@return true
function Faulty:close() end

--- As the inner backend's, or what the plan says; waits.
---@param k string|integer
---@return any value
---@return string? message
---@return string? code "faulty" | "cancelled" | the inner backend's
function Faulty:load(k) end

--- As the inner backend's, or what the plan says; waits.
---@param k string|integer
---@param v any
---@return true?
---@return string? message
---@return string? code
function Faulty:flush(k, v) end

--- As the inner backend's, or what the plan says; waits.
---@return true?
---@return string? message
---@return string? code
function Faulty:barrier() end
