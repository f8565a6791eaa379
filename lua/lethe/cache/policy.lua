-- Which eviction policy a cache is to have.

local core = require "lethe.core.cache"

local M = {}

local names = core.policy_names()

--- The policy as core.new takes it; nil and why there is none.
---@param policy any the option
---@return string? policy
---@return string? message
function M.find(policy)
  if policy == nil then return "lru" end
  for _, name in ipairs(names) do
    if name == policy then return policy end
  end
  local near = core.nearest_policy(tostring(policy))
  if near then
    return nil, ('unknown policy "%s" (did you mean "%s"?)'):format(tostring(policy), near)
  end
  return nil, ('unknown policy "%s" (there are %s)'):format(tostring(policy),
    table.concat(names, " "))
end

return M
