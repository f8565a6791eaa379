--- One table of what all benches measured, from the file that LETHE_FIGURES named: a line for each
-- figure, its fields separated by tabs.
--
--   bench, name, median, least, most, rounds, "<=" or ">=" or "-", target, rounds thrown away
--
-- A round is thrown away where the machine was not calm; see pair.h. A figure of no round at all
-- was not measured, and falls short of any target.

local json = require "lethe.json"

local M = {}

local FIELDS <const> = { "bench", "name", "median", "least", "most", "rounds", "relation", "target",
  "thrown_away" }
local TEXTS <const> = { bench = true, name = true, relation = true }
local RELATIONS <const> = { ["<="] = true, [">="] = true, ["-"] = true }

local function reached(figure)
  if figure.rounds == 0 then return figure.relation == "-" and nil end -- no round was calm
  if figure.relation == "<=" then return figure.median <= figure.target end
  if figure.relation == ">=" then return figure.median >= figure.target end
  return nil
end

local function read_line(line, number)
  local figure, i = {}, 0
  for text in (line .. "\t"):gmatch("([^\t]*)\t") do
    i = i + 1
    local field = FIELDS[i]
    if field then figure[field] = TEXTS[field] and text or tonumber(text) end
  end
  for _, field in ipairs(FIELDS) do
    if figure[field] == nil or i ~= #FIELDS then
      error(("figures, line %d: no figure: %s"):format(number, line), 0)
    end
  end
  if not RELATIONS[figure.relation] then
    error(("figures, line %d: no relation: %s"):format(number, figure.relation), 0)
  end
  figure.reached = reached(figure)
  if figure.relation == "-" then figure.relation, figure.target = nil, nil end
  return figure
end

--- Figures from the text of such a file; raises for a line that is none.
---@param text string
---@return table[]
function M.read(text)
  local figures = {}
  for line in text:gmatch("[^\n]+") do
    figures[#figures + 1] = read_line(line, #figures + 1)
  end
  return figures
end

--- How many figures there are, how many have a target, how many fall short of it, and how many
--- rounds were thrown away.
---@param figures table[]
---@return integer figures
---@return integer with_target
---@return integer short
---@return integer thrown_away
function M.sums(figures)
  local with, short, thrown = 0, 0, 0
  for _, figure in ipairs(figures) do
    if figure.target then with = with + 1 end
    if figure.reached == false then short = short + 1 end
    thrown = thrown + figure.thrown_away
  end
  return #figures, with, short, math.tointeger(thrown)
end

local function number(n)
  return ("%.4g"):format(n)
end

local function row(figure)
  local spread = figure.rounds > 1 and number(figure.least) .. " .. " .. number(figure.most) or ""
  local target = figure.target and figure.relation .. " " .. number(figure.target) or ""
  local median = figure.rounds > 0 and number(figure.median) or "not calm"
  local thrown = figure.thrown_away > 0 and figure.thrown_away .. " thrown away" or ""
  local line = ("  %-66s %10s  %-20s %-10s %-5s %s"):format(figure.name, median, spread, target,
    figure.reached == false and "SHORT" or "", thrown)
  return (line:gsub(" +$", ""))
end

--- The table as text: for each bench its figures with median, spread and target, and SHORT behind
--- those that fall short of it.
---@param figures table[]
---@return string
function M.text(figures)
  local lines, bench = {}, nil
  for _, figure in ipairs(figures) do
    if figure.bench ~= bench then
      bench = figure.bench
      lines[#lines + 1] = bench
    end
    lines[#lines + 1] = row(figure)
  end
  lines[#lines + 1] = ("%d figures, %d with a target, %d of them short; %d rounds thrown away")
    :format(M.sums(figures))
  return table.concat(lines, "\n") .. "\n"
end

--- The same as JSON.
---@param figures table[]
---@return string
function M.json(figures)
  local _, with, short, thrown = M.sums(figures)
  return json.encode{ figures = json.array(figures), with_target = with, short = short,
    thrown_away = thrown } .. "\n"
end

return M
