-- Orders that depend on nothing but what is ordered: strings by bytes, whatever the locale says.
-- Whatever the kernel walks over it walks over in one of these.

local base = require "lethe.core.base"

local M = {}

local less = base.less

--- Sorts a list of strings in place, and returns it.
---@param list string[]
---@return string[]
function M.sort(list)
  if #list > 1 then table.sort(list, less) end
  return list
end

--- The keys of a table, all of them strings, sorted.
---@param set table<string, any>
---@return string[]
function M.keys(set)
  local list = {}
  for key in pairs(set) do
    list[#list + 1] = key
  end
  return M.sort(list)
end

local function number_of(kref)
  return tonumber(kref:match("%d+"))
end

--- Whether kref `a` is older than kref `b`: objects before promises, then by number.
---@param a string
---@param b string
---@return boolean
function M.older(a, b)
  local x, y = a:byte(2), b:byte(2)
  if x ~= y then return x < y end
  return number_of(a) < number_of(b)
end

return M
