--- Policies as values: who may stay in a cache, who gives memory back.
--
-- A policy is a name, a table or a function, or a text: a file that returns a table or a function.
-- A text runs in a Lua state of its own, one for each use, under an instruction budget and a memory
-- limit, with a library that reaches nothing outside. That is where a policy that nobody vouches
-- for belongs. `load` reads the text once; a path in its place is read at each use.
--
--   local mine = assert(policy.load("mine.lua"))
--   local tracker = quota.new{ max = "64M", policy = mine }

local core = require "lethe.core.policy"

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

return M
