-- lethe.spec: busted-style specs with LuaUnit as the engine, and scenarios, which are tests with a
-- virtual clock in which everything that was made is closed at the end. Spec files run unchanged
-- under `lethe spec` and under busted; there they get `scenario` from here all the same.
local base = require "lethe.core.base"
local scenario = require "lethe.spec.scenario"

local M = {}

local KNOWN <const> = {
  "paths", "pattern", "output", "filter", "filter_out", "tags", "exclude_tags", "seed", "shuffle",
  "verbose", "colour", "progress", "out", "clock",
}

---A seed to begin with: the environment's SEED, else one that differs from run to run.
---@return integer
function M.fresh_seed()
  local given = math.tointeger(tonumber(os.getenv("SEED")))
  if given then
    return given
  end
  local found, core = pcall(require, "lethe.core.cli")
  local ticks = math.floor((found and core.now() or os.clock()) * 1e9)
  return (os.time() * 1000003 + ticks + math.random(0, 0x7fffffff)) % 0x7fffffff
end

---Makes the body of a test: `it("...", scenario(function(s) ... end))`.
---@param fn fun(s: lethe.spec.Scenario)
---@return fun()
function M.scenario(fn)
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'scenario' (function expected, got %s)"):format(type(fn)), 2)
  end
  return scenario.body(fn, M)
end

local function list(value)
  if value == nil then
    return {}
  end
  return type(value) == "table" and value or { value }
end

---@class lethe.spec.Options
---@field paths string[]? files and directories, by default { "spec" }
---@field pattern string? which files of a directory are specs
---@field output "plain"|"tap"|"junit"|nil
---@field filter string|string[]|nil Lua patterns on a test's full name, of which one must match
---@field filter_out string|string[]|nil
---@field tags string|string[]|nil a name has the tag "x" when it contains #x
---@field exclude_tags string|string[]|nil
---@field seed integer?
---@field shuffle boolean?
---@field verbose boolean?
---@field colour boolean?
---@field progress file*? a terminal for the progress line
---@field out file*?
---@field clock (fun(): number)?

---Runs spec files.
---@param given lethe.spec.Options
---@return boolean good some test ran and none failed
---@return lethe.spec.Counts counts
function M.run(given)
  base.options(given, KNOWN, 2)
  local output = given.output or "plain"
  if output ~= "plain" and output ~= "tap" and output ~= "junit" then
    error(("bad option output %q (plain, tap or junit expected)"):format(tostring(output)), 2)
  end
  local complete = {
    paths = given.paths or { "spec" },
    pattern = given.pattern or "_spec%.lua$",
    filter = list(given.filter),
    filter_out = list(given.filter_out),
    tags = list(given.tags),
    exclude_tags = list(given.exclude_tags),
    seed = given.seed or M.fresh_seed(),
    shuffle = given.shuffle,
  }
  local report = require("lethe.spec." .. output).new(given.out or io.stdout, {
    seed = complete.seed,
    colour = given.colour,
    progress = given.progress,
    verbose = given.verbose,
  })
  M.seed = complete.seed
  local run = require "lethe.spec.run".run
  local counts = run(complete, report, given.clock or os.clock)
  M.seed = nil
  return counts.failed == 0 and counts.passed + counts.skipped > 0, counts
end

return M
