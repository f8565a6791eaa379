--- Policies tried on traces: what would a cache of this size have found?
--
--   local trace = assert(sim.open("requests.csv", { columns = { time = 1, id = 2, size = 3 } }))
--   local results = sim.run{ trace = trace, policies = { "lru", "sieve", "mine.lua" },
--                            sizes = { 0.01, 0.1 } }
--   print(results[1].policy, results[1].miss_ratio)
--   sim.report(results, "results.html")
--
-- A trace is a list of requests, read from a file, made up, or recorded from a live cache. Several
-- policies and sizes are replayed beside each other in workers; functions of the program, which
-- belong to its state, run there. A policy that fails, loops or wants too much memory has rows that
-- say so, and nobody else suffers. Counts are exact: those of the published simulators.
--
-- Sizes are entries with `unit`, where each object counts as one; else bytes. A fraction is one of
-- the trace's footprint, which are its objects, or their sizes when each came first.

local base = require "lethe.core.base"
local check = require "lethe.check"
local core = require "lethe.core.sim"
local formats = require "lethe.sim.formats"
local plans = require "lethe.sim.plan"
local pool = require "lethe.sim.pool"
local progress = require "lethe.sim.progress"

---@class lethe.sim
local M = {}

-- One of several words, or nil.
local function word(options, name, words, level)
  local value = check.typed(options, name, "string", level + 1)
  if value == nil then return nil end
  for _, known in ipairs(words) do
    if known == value then return value end
  end
  error(("unknown %s %q%s"):format(name, value, base.hint(value, words)), level + 1)
end

-- ---- traces -----------------------------------------------------------------------------------

local COLUMNS <const> = { "time", "id", "size", "cost" }

local function check_columns(columns, level)
  if columns == nil then return nil end
  if type(columns) ~= "table" then
    error(("columns must be a table (got %s)"):format(check.kind(columns)), level + 1)
  end
  base.options(columns, COLUMNS, level + 1)
  for name, column in pairs(columns) do
    if type(column) ~= "string" and (math.type(column) ~= "integer" or column < 1
        or column > 64) then
      error(("columns.%s must be a column's name or number, 1 to 64 (got %s)"):format(name,
        tostring(column)), level + 1)
    end
  end
  if columns.id == nil then error("columns needs an id", level + 1) end
  return columns
end

---@class lethe.sim.Columns by name, or by number from 1
---@field time string|integer|nil
---@field id string|integer
---@field size string|integer|nil
---@field cost string|integer|nil

---@class lethe.sim.OpenOptions
---@field format "oraclegeneral"|"csv"|"vscsi"|"plain"|"recorded"|nil what it seems to be, without
---@field columns lethe.sim.Columns? of csv

--- Opens a trace.
---@param path string
---@param options lethe.sim.OpenOptions?
---@return lethe.sim.Trace?
---@return string? message
---@return string? code "not_found" | "bad_format"
function M.open(path, options)
  check.argument(1, "open", path, "string", 2)
  if options == nil then options = {} end
  base.options(options, { "format", "columns" }, 2)
  local format = check.typed(options, "format", "string", 2)
  local columns = check_columns(options.columns, 2)
  local unknown <const> = format and formats.unknown(format)
  if unknown then return nil, unknown, "bad_format" end
  if columns and format and format ~= "csv" then
    error(("columns are for csv, not for %s"):format(format), 2)
  end
  local trace, message, code = core.open(path, format, columns)
  if trace == nil then return nil, message, code end
  return trace
end

local KINDS <const> = { "zipf", "scan", "loop", "mixed" }
local MOST_OBJECTS <const> = (1 << 31) - 1

local function integer(options, name, default, least, most, level)
  local value = options[name]
  if value == nil then value = default end
  if math.type(value) ~= "integer" or value < least or value > most then
    error(("%s must be an integer from %d to %d (got %s)"):format(name, least, most,
      tostring(value)), level + 1)
  end
  return value
end

-- A size of all objects, or { least, most }.
local function object_sizes(value, level)
  local least, most = value, value
  if type(value) == "table" then least, most = value[1], value[2] end
  if math.type(least) ~= "integer" or math.type(most) ~= "integer" or least < 1 or most < least
      or most > 1 << 40 then
    error("size must be an integer above 0, or two of them: { least, most }", level + 1)
  end
  return least, most
end

---@class lethe.sim.SyntheticOptions
---@field kind "zipf"|"scan"|"loop"|"mixed"
---@field objects integer?
---@field requests integer?
---@field alpha number? of zipf, 1 unless told
---@field seed integer? 1 unless told
---@field size integer|integer[]|nil of each object, 1 unless told; or { least, most }

--- A trace that is made up; the same options give the same trace, on every machine.
---@param options lethe.sim.SyntheticOptions
---@return lethe.sim.Trace?
---@return string? message
---@return string? code "no_memory"
function M.synthetic(options)
  base.options(options, { "kind", "objects", "requests", "alpha", "seed", "size" }, 2)
  local what = word(options, "kind", KINDS, 2)
  if not what then error('kind must be one of "zipf", "scan", "loop", "mixed"', 2) end
  local objects = integer(options, "objects", 1000, 1, MOST_OBJECTS, 2)
  local requests = integer(options, "requests", 10 * objects, 0, 1 << 40, 2)
  local seed = integer(options, "seed", 1, math.mininteger, math.maxinteger, 2)
  local alpha = options.alpha == nil and 1 or options.alpha
  if type(alpha) ~= "number" or not (alpha >= 0 and alpha <= 8) then
    error(("alpha must be a number from 0 to 8 (got %s)"):format(tostring(alpha)), 2)
  end
  local least, most = object_sizes(options.size or 1, 2)
  local trace, message, code = core.synthetic(what, objects, requests, alpha, least, most, seed)
  if trace == nil then return nil, message, code end
  return trace
end

-- ---- runs -------------------------------------------------------------------------------------

---@class lethe.sim.Result
---@field policy string a script's name, else "script n"
---@field size number|string as it was given
---@field capacity integer entries or bytes
---@field requests integer that were replayed
---@field misses integer? nil where it failed, as the next three
---@field miss_ratio number?
---@field byte_misses integer?
---@field byte_miss_ratio number?
---@field seconds number of processor time
---@field mreq_s number million requests a second
---@field failed string? what went wrong

---@class lethe.sim.RunOptions
---@field trace lethe.sim.Trace
---@field policies any[]? names, "belady" too, paths, scripts; the built-in ones unless told
---@field sizes (number|string)[]? eight fractions unless told
---@field unit boolean? every object counts as 1
---@field jobs integer? threads; as many as there are processors
---@field progress boolean? a bar, where standard error is a terminal
---@field seed integer? of policies that draw, 1 unless told

--- Replays the trace through each policy at each size: a list of results, policy by policy. Beside
--- them the list has `unit`, `objects`, `bytes` and `requests` of the trace.
---@param options lethe.sim.RunOptions
---@return lethe.sim.Result[]? results
---@return string? message
---@return string? code "cancelled", of the calling task
function M.run(options)
  local plan <const> = plans.new(options, 2)
  local trace <const> = plan.trace
  local bar <close> = progress.bar(#plan.jobs, plan.progress)
  local results = setmetatable({}, { __index = { unit = plan.unit, objects = trace:objects(),
    bytes = trace:bytes(), requests = trace:len() } })
  for i = 1, #plan.jobs do
    results[i] = false
  end
  local whole = pool.run(plan, function(job, row)
    row.index = job.index
    results[job.number] = row
    bar:step(row.policy)
  end)
  if not whole then return nil, "cancelled", "cancelled" end
  return results
end

-- ---- what becomes of results ------------------------------------------------------------------

local function write(path, text)
  local file, message = io.open(path, "wb")
  if not file then return nil, message, "unwritable" end
  local ok, why = file:write(text)
  local closed, reason = file:close()
  if not ok or not closed then return nil, ("%s: %s"):format(path, why or reason), "unwritable" end
  return true
end

-- Rows may have been put together by hand.
local function check_results(name, results, level)
  check.argument(1, name, results, "table", level + 1)
  for i, row in ipairs(results) do
    if type(row) ~= "table" or row.policy == nil or math.type(row.capacity) ~= "integer" then
      error(("bad argument #1 to '%s' (item %d is no result)"):format(name, i), level + 1)
    end
  end
end

--- Writes results as CSV (RFC 4180), a line for each after one of names.
---@param results lethe.sim.Result[]
---@param path string
---@return true?
---@return string? message
---@return string? code "unwritable"
function M.csv(results, path)
  check_results("csv", results, 2)
  check.argument(2, "csv", path, "string", 2)
  local ok, message, code = write(path, require("lethe.sim.csv").text(results))
  if ok == nil then return nil, message, code end
  return ok
end

--- Writes one HTML page: curves of object and byte miss ratios, tables of both, what failed. It
--- needs nothing but itself.
---@param results lethe.sim.Result[]
---@param path string
---@param options { title: string? }?
---@return true?
---@return string? message
---@return string? code "unwritable"
function M.report(results, path, options)
  check_results("report", results, 2)
  check.argument(2, "report", path, "string", 2)
  if options == nil then options = {} end
  base.options(options, { "title" }, 2)
  local title = options.title
  if title ~= nil and type(title) ~= "string" then
    error(("title must be a string (got %s)"):format(check.kind(title)), 2)
  end
  local ok, message, code = write(path, require("lethe.sim.report").html(results, title))
  if ok == nil then return nil, message, code end
  return ok
end

-- ---- recorders --------------------------------------------------------------------------------

--- Writes down what a live cache is asked for, or what is claimed under a tracker in this state, as
--- a trace. An integer key is the id itself, of a string it is a hash; of a claim the participant's
--- number. Closed, or collected, it ends, and the trace is whole.
---@param object lethe.cache.Cache|lethe.quota.Tracker
---@param path string
---@return lethe.sim.Recorder?
---@return string? message
---@return string? code "unwritable"
function M.recorder(object, path)
  local class <const> = base.type(object)
  if class ~= "cache.Cache" and class ~= "quota.Tracker" then
    error(("bad argument #1 to 'recorder' (a cache or a tracker expected, got %s)")
      :format(check.kind(object)), 2)
  end
  if not base.open(object) then
    error(("bad argument #1 to 'recorder' (a closed lethe.%s)"):format(class), 2)
  end
  check.argument(2, "recorder", path, "string", 2)
  local recorder, message, code = core.record(path)
  if not recorder then return nil, message, code end
  core.watch(recorder, object)
  return recorder
end

return M
