-- `lethe sim`: replays a trace through policies.
local base = require "lethe.core.base"
local options = require "lethe.cli.options"
local formats = require "lethe.sim.formats"

local M = {}

M.summary = "replay a trace through eviction policies"

local OPTIONS <const> = {
  { name = "policy", short = "p", value = "LIST", many = true,
    help = "names and files, comma between; belady too (all built-in)" },
  { name = "size", short = "s", value = "LIST", many = true,
    help = "bytes, 64M, or fractions of the footprint: 0.1, 10%" },
  { name = "unit", short = "u", help = "sizes are entries: every object counts as 1" },
  { name = "jobs", short = "j", value = "N", read = options.positive,
    help = "threads (as many as there are processors)" },
  { name = "csv", value = "FILE", help = "write the results as CSV too" },
  { name = "html", value = "FILE", help = "write a page with curves and tables too" },
  { name = "format", value = "FORMAT",
    help = "oraclegeneral, csv, vscsi, plain or recorded" },
  { name = "columns", value = "LIST",
    help = "of csv: time=1,id=2,size=3,cost=4, or their names" },
  { name = "seed", value = "N", read = options.integer, help = "of policies that draw (1)" },
  { name = "help", short = "h", help = "this text" },
}

---@return string
function M.help()
  return "usage: lethe sim [options] TRACE\n\n"
    .. "Replays a trace through each policy at each size and prints what a cache would have\n"
    .. "missed. A policy that fails has a row that says so; the exit code is 1 if all have.\n\n"
    .. options.describe(OPTIONS)
end

-- ---- what the arguments say ---------------------------------------------------------------------

local function split(lists)
  local items = {}
  for _, list in ipairs(lists) do
    for item in list:gmatch("[^,]+") do
      items[#items + 1] = item
    end
  end
  return items
end

local function known_names()
  local names = require("lethe.policy").names()
  names[#names + 1] = "belady"
  return names
end

-- A name that no policy has is a slip of the fingers: nothing is run then.
local function check_policies(list)
  local names <const>, known = known_names(), {}
  for _, name in ipairs(names) do
    known[name] = true
  end
  for i, name in ipairs(list) do
    if not known[name] and not name:find("/", 1, true) and not name:find("%.lua$") then
      local file <close> = io.open(name)
      if not file then
        return nil, ("unknown policy %q%s"):format(name, base.hint(name, names))
      end
      list[i] = "./" .. name
    end
  end
  return list
end

local function to_size(text)
  local percent = text:match("^(%d+%.?%d*)%%$")
  if percent then return tonumber(percent) / 100 end
  local whole <const> = math.tointeger(tonumber(text))
  if whole and not text:find(".", 1, true) then return whole end
  return tonumber(text) or text
end

local function read_sizes(lists)
  local sizes = split(lists)
  for i, text in ipairs(sizes) do
    sizes[i] = to_size(text)
  end
  return sizes
end

local function read_columns(text)
  local columns = {}
  for item in text:gmatch("[^,]+") do
    local role, column = item:match("^(%a+)=(.+)$")
    if not role then return nil, ("bad column %q (id=2 and the like expected)"):format(item) end
    columns[role] = math.tointeger(tonumber(column)) or column
  end
  return columns
end

-- ---- results ------------------------------------------------------------------------------------

local function print_rows(results)
  local width = 6
  for _, row in ipairs(results) do
    width = math.max(width, utf8.len(row.policy) or #row.policy)
  end
  local line <const> = "%-" .. width .. "s %10s %14s %12s %9s %9s %9s\n"
  io.stdout:write(line:format("policy", "size", "capacity", "misses", "miss", "by bytes", "Mreq/s"))
  for _, row in ipairs(results) do
    if row.failed then
      io.stdout:write(("%-" .. width .. "s %10s %14d failed: %s\n"):format(row.policy, row.size,
        row.capacity, row.failed))
    else
      io.stdout:write(line:format(row.policy, row.size, row.capacity, row.misses,
        ("%.4f"):format(row.miss_ratio), ("%.4f"):format(row.byte_miss_ratio),
        ("%.1f"):format(row.mreq_s)))
    end
  end
end

local function failed(message)
  io.stderr:write("lethe sim: ", message, "\n")
  return 1
end

local function all_failed(results)
  for _, row in ipairs(results) do
    if not row.failed then return false end
  end
  return true
end

local function write_files(given, results, title)
  local sim <const> = require "lethe.sim"
  if given.csv then
    local ok, message = sim.csv(results, given.csv)
    if not ok then return failed(message) end
  end
  if given.html then
    local ok, message = sim.report(results, given.html, { title = title })
    if not ok then return failed(message) end
  end
  return all_failed(results) and 1 or 0
end

local function plain(message)
  return (message:gsub("^[^:]*%.lua:%d+: ", ""))
end

---@param args string[]
---@return integer exit code
function M.main(args)
  local given, rest = options.parse(args, OPTIONS)
  local usage_error = require("lethe.cli").usage_error
  if given == nil then
    return usage_error(rest .. "; see lethe sim --help")
  elseif given.help then
    io.stdout:write(M.help())
    return 0
  elseif #rest ~= 1 then
    return usage_error("sim takes one trace; see lethe sim --help")
  end
  local sim <const> = require "lethe.sim"
  local policies, columns, message
  if given.policy then
    policies, message = check_policies(split(given.policy))
    if not policies then return usage_error(message) end
  end
  if given.format then
    message = formats.unknown(given.format)
    if message then return usage_error(message) end
  end
  if given.columns then
    columns, message = read_columns(given.columns)
    if not columns then return usage_error(message) end
  end
  local ok, trace, why = pcall(sim.open, rest[1], { format = given.format, columns = columns })
  if not ok then return usage_error(plain(trace)) end
  if not trace then return failed(why) end
  local done, results = pcall(sim.run, { trace = trace, policies = policies, unit = given.unit,
    sizes = given.size and read_sizes(given.size), jobs = given.jobs, seed = given.seed,
    progress = true })
  if not done then return usage_error(plain(results)) end
  print_rows(results)
  return write_files(given, results, rest[1]:match("[^/]+$"))
end

return M
