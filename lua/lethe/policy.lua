--- Policies as values: who may stay in a cache, who gives memory back.
--
-- A policy is a name, a table or a function, or a text: a file that returns a table or a function.
-- A text runs in a Lua state of its own, one for each use, under an instruction budget and a memory
-- limit, with a library that reaches nothing outside. That is where a policy that nobody vouches
-- for belongs. `load` reads the text once; a path in its place is read at each use.
--
--   local mine = assert(policy.load("mine.lua"))
--   local tracker = quota.new{ max = "64M", policy = mine }
--
-- `replay` tries a policy on requests, one by one: a cache that holds nothing and counts what a
-- real one would have found. Whole traces are lethe.sim's.

local base = require "lethe.core.base"
local core = require "lethe.core.policy"
local evict = require "lethe.core.evict"

---@class lethe.policy
local M = {}

--- Reads a policy's file. What is in it is looked at where the policy is used.
---@param path string
---@return lethe.policy.Text?
---@return string? message
---@return string? code "bad_policy"
function M.load(path)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'load' (string expected, got %s)"):format(type(path)), 2)
  end
  return core.load(path)
end

--- The policies of caches that are built in.
---@return string[]
function M.names()
  return evict.names()
end

local function replay_limit(options, level)
  local limit, bytes = options.limit, options.bytes
  if (limit == nil) == (bytes == nil) then error("either limit or bytes is needed", level + 1) end
  if bytes ~= nil then return base.size(bytes, "bytes", level + 1), false end
  if math.type(limit) ~= "integer" or limit < 0 then
    error(("limit must be a number of entries (got %s)"):format(tostring(limit)), level + 1)
  end
  return limit, true
end

--- A cache of keys and sizes, to try a policy on. "belady" is there as well.
---@param options { policy: string, limit: integer?, bytes: lethe.Size?, seed: integer? }
---@return lethe.policy.Replay?
---@return string? message
---@return string? code "bad_policy"
function M.replay(options)
  base.options(options, { "policy", "limit", "bytes", "seed" }, 2)
  local name, seed = options.policy, options.seed
  if type(name) ~= "string" then
    error(("policy must be a name (got %s)"):format(type(name)), 2)
  end
  if seed ~= nil and math.type(seed) ~= "integer" then
    error(("seed must be an integer (got %s)"):format(tostring(seed)), 2)
  end
  local limit, unit = replay_limit(options, 2)
  return evict.replay(name, limit, unit, seed)
end

return M
