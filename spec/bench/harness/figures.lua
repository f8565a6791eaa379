--- What benches in Lua have in common: medians that know between what their values lay, and a line
-- for each figure: its name, what was measured, what was hoped for, and whether it came. If
-- LETHE_FIGURES names a file the figure goes there too, for the table that `make bench` makes of
-- all benches.

local M = {}

local last = { value = nil, low = nil, high = nil, n = 1 } -- the last median

--- The median of some numbers, which stay in their order.
---@param values number[]
---@return number
function M.median(values)
  local sorted <const> = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle <const> = sorted[(#sorted + 1) // 2]
  last = { value = middle, low = sorted[1], high = sorted[#sorted], n = #sorted }
  return middle
end

local function write(name, value, relation, target)
  local path = os.getenv("LETHE_FIGURES")
  local file = path and path ~= "" and io.open(path, "a")
  if not file then return end
  local spread = last.value == value and last or { low = value, high = value, n = 1 }
  file:write(("%s\t%s\t%.9g\t%.9g\t%.9g\t%d\t%s\t%.9g\t0\n"):format(os.getenv("LETHE_BENCH") or "",
    name:match("^%s*(.*)$"), value, spread.low, spread.high, spread.n, relation, target or 0))
  file:close()
end

---@param name string
---@param value number
---@param relation "<="|">="|"-" to the target; "-" where there is none
---@param target number?
---@param unit string? none for a ratio
function M.report(name, value, relation, target, unit)
  if not target then relation = "-" end
  local reached = relation == "<=" and value <= target or relation == ">=" and value >= target
  local verdict = "-"
  if target then
    verdict = ("%s %g  %s"):format(relation, target, reached and "reached" or "missed")
  end
  print(("%-62s %9.3f %-3s %s"):format(name, value, unit or "", verdict))
  write(name, value, relation, target)
end

return M
