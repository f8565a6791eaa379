-- Numbers and names as a page shows them.

local M = {}

--- "1,234,567"
---@param n integer
---@return string
function M.count(n)
  local text = ("%d"):format(n)
  local digits <const> = text:match("%d+")
  local grouped = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
  return text:sub(1, #text - #digits) .. grouped
end

local UNITS <const> = { "B", "KiB", "MiB", "GiB", "TiB" }

--- "194 MiB"
---@param n integer
---@return string
function M.bytes(n)
  local i = 1
  while n >= 1024 and i < #UNITS do
    n, i = n / 1024, i + 1
  end
  return ("%.3g %s"):format(n, UNITS[i])
end

--- What stands under a size: a fraction as a percentage, else what it comes to.
---@param size number|string
---@param capacity integer
---@param unit boolean
---@return string
function M.size(size, capacity, unit)
  if math.type(size) == "float" and size <= 1 then return ("%.3g%%"):format(size * 100) end
  if type(size) == "string" then return size end
  return unit and M.count(capacity) or M.bytes(capacity)
end

return M
