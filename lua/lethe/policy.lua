--- Policies as values: who may stay in a cache, who gives memory back.
--
-- A policy is a name, a table or a function, or a text: a file that returns a table or a function.
-- A text runs in a Lua state of its own, one for each use, under an instruction budget and a memory
-- limit, with a library that reaches nothing outside. That is where a policy that nobody vouches
-- for belongs. `load` reads the text once; a path in its place is read at each use.
--
--   local mine = assert(policy.load("mine.lua"))
--   print(policy.check(mine))
--   local tracker = quota.new{ max = "64M", policy = mine }
--
-- Eviction policies come in three forms, cheapest first.
--
--   { score = "L + freq * cost / size" }              the lowest leaves first; or a function of
--                                                     freq, age, since, size, cost, L
--   { score = ..., index = "heap" }                   the default: scored at each access;
--                                                     "sample:16": 16 entries are drawn and scored
--                                                     at eviction; "cells:16": likewise, but what
--                                                     came last hides some of what is older
--   { queues = { small = 0.1, main = 0.9 }, ghost = { small = 0.9 }, rules = {
--       insert = "ghost and main or small",
--       on_evict = { small = "freq >= 2 and move(main, freq = 0) or drop(ghost)",
--                    main = "freq >= 1 and reinsert(freq = min(freq, 3) - 1) or drop" } } }
--   { on_evict = function(c) return c:queue("main"):back() end }
--
-- The rules of queues; QUEUE is one of their names, and a condition a score's expression that may
-- not have `and` and `or` outside of parentheses, in insert with ghost as a name:
--
--   rule      = choice { "or" choice }               the first whose conditions hold decides
--   choice    = { condition "and" } outcome          else insert does not store, on_hit leaves the
--   outcome   = action | "(" rule ")"                entry where it is, on_evict drops it
--   action    = QUEUE                                of insert: to the front of that queue
--             | "move" "(" QUEUE [ "," freq ] ")"    of on_hit and on_evict: likewise
--             | "reinsert" [ "(" [ freq ] ")" ]      to the front of the queue where it is
--             | "drop" [ "(" [ "ghost" ] ")" ]       likewise: it leaves, remembered or not
--   freq      = "freq" "=" expression                it counts as hit that often from now on
--
-- Hooks are init, on_insert, on_hit, on_evict, on_remove, admit, export, import, and full(c):
-- whether a victim must leave though what is asked for would fit. full is asked before an entry
-- comes, and after an on_hit that returned true. What admit returns second is c:found() in the
-- hooks about that request. Each built-in policy is also a script, in lua/lethe/policy/.
--
-- `replay` tries a policy on requests, one by one: a cache that holds nothing and counts what a
-- real one would have found. Whole traces are lethe.sim's.

local base = require "lethe.core.base"
local core = require "lethe.core.policy"
local evict = require "lethe.core.evict"
local check = require "lethe.evict.check"
local make = require "lethe.evict.make"

---@class lethe.policy
local M = {}

--- Reads a policy's file, and runs it once to see that it returns a function or a table. Whether
--- that serves a cache or a tracker is found where it is used.
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
---@param options { policy: any, limit: integer?, bytes: lethe.Size?, seed: integer? }
---@return lethe.policy.Replay?
---@return string? message
---@return string? code "bad_policy"
function M.replay(options)
  base.options(options, { "policy", "limit", "bytes", "seed" }, 2)
  local seed = options.seed
  if seed ~= nil and math.type(seed) ~= "integer" then
    error(("seed must be an integer (got %s)"):format(tostring(seed)), 2)
  end
  local limit, unit = replay_limit(options, 2)
  if options.policy == "belady" then return evict.replay("belady", limit, unit, seed) end
  local made, message, code = make.make(options.policy, limit, seed or 1, false, 2)
  if not made then return nil, message, code end
  return evict.replay(made, limit, unit, seed)
end

--- Tries a policy: true, or a list of what is wrong with it. It may be one that evicts, tried by a
--- short replay, or one that reclaims. Functions of a table are called.
---@param policy string|table|function|lethe.policy.Text
---@return true|string[]
function M.check(policy)
  local kind = type(policy)
  if kind ~= "string" and kind ~= "table" and kind ~= "function" and base.type(policy) == nil then
    error(("bad argument #1 to 'check' (a policy expected, got %s)"):format(kind), 2)
  end
  local problems = check.problems(policy)
  return #problems == 0 or problems
end

return M
