--- What benches in Lua have in common: medians that know between what their values lay, rounds of
-- which those count in which the machine was calm, and a line for each figure: its name, what was
-- measured, what was hoped for, and whether it came. If LETHE_FIGURES names a file the figure goes
-- there too, for the table that `make bench` makes of all benches.

local M = { pair_counts = 5000000 } -- how far each of a bare pair of threads counts

local SHORT <const> = (tonumber(os.getenv("LETHE_WORK")) or 1) < 1
local TRIES <const> = 5 -- for each round that is wanted

local last = { value = nil, low = nil, high = nil, n = 1 } -- the last median
local thrown_away = 0 -- rounds, of the figure that comes next

--- The median of some numbers, which stay in their order; nil of none.
---@param values number[]
---@return number?
function M.median(values)
  local sorted <const> = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle <const> = sorted[(#sorted + 1) // 2]
  last = { value = middle, low = sorted[1], high = sorted[#sorted], n = #sorted }
  return middle
end

--- The median of what `of` makes of the numbers of each round: one of each list.
---@param of fun(...: number): number
---@param ... number[]
---@return number?
function M.over(of, ...)
  local lists <const>, values = { ... }, {}
  for round = 1, #lists[1] do
    local numbers = {}
    for i, list in ipairs(lists) do numbers[i] = list[round] end
    values[round] = of(table.unpack(numbers))
  end
  return M.median(values)
end

--- The median of a over b, round by round; what an empty loop took is taken off both.
---@param as number[]
---@param bs number[]
---@param loops number[]?
---@return number?
function M.ratio(as, bs, loops)
  if not loops then return M.over(function(a, b) return a / b end, as, bs) end
  return M.over(function(a, b, loop) return (a - loop) / math.max(b - loop, 1e-12) end,
    as, bs, loops)
end

-- ---- rounds -----------------------------------------------------------------------------------

local pair -- two workers that count

local function count()
  local parent = require("lethe.worker").parent()
  for n in function() return parent:recv() end do
    for _ = 1, n do end -- luacheck: ignore 542
    parent:send(true)
  end
end

-- Seconds until both have counted, each for itself.
local function bare_pair()
  local worker, now = require "lethe.worker", require("lethe.core.cli").now
  pair = pair or { worker.spawn(count), worker.spawn(count) }
  local began = now()
  for i = 1, 2 do pair[i]:send(M.pair_counts) end
  for i = 1, 2 do assert(pair[i]:recv()) end
  return now() - began
end

--- Rounds of what has two threads: `round(i)` measures one and gives its numbers, and what comes
--- back are these as lists, of n rounds that counted. A round before and after which a bare pair of
--- threads takes times that differ by more than a tenth says more of the machine than of what is
--- measured: it is thrown away, counted, and made again. On a machine that is never calm fewer
--- rounds come back than n, or none.
---@param n integer
---@param numbers integer how many a round gives
---@param round fun(i: integer): ...
---@return number[] ...
function M.calm_rounds(n, numbers, round)
  local lists, counted = {}, 0
  for i = 1, numbers do lists[i] = {} end
  for i = 1, n * TRIES do
    local before <const> = SHORT or bare_pair()
    local values <const> = { round(i) }
    local after <const> = SHORT or bare_pair()
    if SHORT or math.abs(before - after) <= 0.1 * math.min(before, after) then
      counted = counted + 1
      for k = 1, numbers do lists[k][counted] = values[k] end
      if counted == n then break end
    else
      thrown_away = thrown_away + 1
    end
  end
  return table.unpack(lists)
end

--- Ends the threads that calm_rounds keeps.
function M.close()
  for _, each in ipairs(pair or {}) do
    each:cancel()
    each:join()
  end
  pair = nil
end

-- ---- figures ----------------------------------------------------------------------------------

local function write(name, value, relation, target)
  local path = os.getenv("LETHE_FIGURES")
  local file = path and path ~= "" and io.open(path, "a")
  if not file then return end
  local spread = { low = value or 0, high = value or 0, n = value and 1 or 0 }
  if value and last.value == value then spread = last end
  file:write(("%s\t%s\t%.9g\t%.9g\t%.9g\t%d\t%s\t%.9g\t%d\n"):format(
    os.getenv("LETHE_BENCH") or "", name:match("^%s*(.*)$"), value or 0, spread.low, spread.high,
    spread.n, relation, target or 0, thrown_away))
  file:close()
end

-- "0.9 .. 1.2, 3 thrown away"
local function spread_of(value)
  local parts = {}
  if value and last.value == value and last.n > 1 then
    parts[1] = ("%.3g .. %.3g"):format(last.low, last.high)
  end
  if thrown_away > 0 then parts[#parts + 1] = ("%d thrown away"):format(thrown_away) end
  return #parts > 0 and ("  (%s)"):format(table.concat(parts, ", ")) or ""
end

---@param name string
---@param value number? nil where no round counted
---@param relation "<="|">="|"-" to the target; "-" where there is none
---@param target number?
---@param unit string? none for a ratio
function M.report(name, value, relation, target, unit)
  if not target then relation = "-" end
  local reached = value and (relation == "<=" and value <= target
    or relation == ">=" and value >= target)
  local verdict = "-"
  if target then
    verdict = ("%s %g  %s"):format(relation, target, reached and "reached" or "missed")
  end
  local number = value and ("%9.3f"):format(value) or "no calm round"
  print(("%-62s %s %-3s %s%s"):format(name, number, unit or "", verdict, spread_of(value)))
  write(name, value, relation, target)
  thrown_away = 0
end

return M
