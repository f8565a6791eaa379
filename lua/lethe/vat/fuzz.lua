-- Fuzzing: the same messages under many schedules of collections must give the same transcript.
--
-- For each seed the program plays once with a kernel, and what it does is recorded; then that is
-- repeated on new kernels of the same builds, each under a schedule of its own. If a transcript
-- differs, calls are left out as long as some schedule difference remains, and what is left is the
-- answer.

local base = require "lethe.core.base"
local check = require "lethe.check"
local build = require "lethe.vat.build"
local order = require "lethe.vat.order"
local recording = require "lethe.vat.recording"
local schedule = require "lethe.vat.schedule"
local transcript = require "lethe.vat.transcript"

local M = {}

local OPTIONS <const> = { "builds", "play", "seeds", "schedules" }
local BUILDS <const> = { ["function"] = true, string = true, table = true }
local TRIES <const> = 400 -- of leaving calls out
local FEW <const> = 8 -- calls: with so few, other schedules are tried beside the one that was found
local OTHERS <const> = 15 -- of these

-- ---- one run ----------------------------------------------------------------------------------

local function new_kernel(builds)
  local kernels = require "lethe.vat.kernel"
  local kernel, roots = kernels.new{}, {}
  for _, name in ipairs(order.keys(builds)) do
    local how = builds[name]
    if build.is_raw(how) then
      roots[name] = kernel:raw_vat(name, how.raw)
    elseif type(how) == "table" and how.build ~= nil then
      roots[name] = kernel:vat(name, how.build, { meter = how.meter, memory = how.memory })
    else
      roots[name] = kernel:vat(name, how)
    end
  end
  return kernel, kernels.state(kernel), roots
end

-- All that is left to do, and two rounds of bringing out the dead.
local function finish(kernel)
  for _ = 1, 2 do
    kernel:run()
    kernel:reap()
  end
  kernel:run()
end

-- The transcript in lines; up to an end for want of memory, which is an input: `cut` is set then.
local function lines_of(kernel)
  local lines = {}
  for i, record in ipairs(kernel:transcript()) do
    lines.cut = record.ended == "memory"
    if lines.cut then break end
    lines[i] = transcript.line(record)
  end
  return lines
end

local function run(builds, record, keep, how)
  local kernel <close>, k, roots = new_kernel(builds)
  if how then kernel:gc_schedule(how) end
  record:repeat_on(kernel, k, roots, keep)
  finish(kernel)
  return lines_of(kernel)
end

-- random(n) for a program.
local function random_of(seed)
  local draw = schedule.generator(seed)
  return function(n)
    local most = type(n) == "number" and math.tointeger(n)
    if not most or most < 1 then
      error(("bad argument #1 to 'random' (positive integer expected, got %s)"):format(
        tostring(n)), 2)
    end
    return (draw(most))
  end
end

local function play(builds, fn, seed)
  local kernel <close>, k, roots = new_kernel(builds)
  local record = recording.start(k, roots)
  fn(kernel, roots, random_of(seed))
  if k.closed then error("play must leave its kernel open", 3) end
  k.recording = nil
  finish(kernel)
  return record, lines_of(kernel)
end

-- The first line in which they differ.
local function first_difference(a, b)
  local n = math.min(#a, #b)
  for i = 1, n do
    if a[i] ~= b[i] then return i end
  end
  return #a ~= #b and not (a.cut or b.cut) and n + 1 or nil
end

-- ---- cutting down -----------------------------------------------------------------------------

local function without(keep, list, first, n)
  local fewer = {}
  for i in pairs(keep) do fewer[i] = true end
  for i = first, math.min(first + n - 1, #list) do fewer[list[i]] = nil end
  return fewer
end

local function listed(keep)
  local list = {}
  for i in pairs(keep) do list[#list + 1] = i end
  table.sort(list)
  return list
end

-- Leaves out what the divergence does not need: halves, quarters, ..., single calls, until no
-- single one can go.
local function shrink(diverges, keep)
  local list, tries = listed(keep), 0
  local size = #list
  while size > 0 and tries < TRIES do
    local first, cut = 1, false
    while first <= #list and tries < TRIES do
      local fewer = without(keep, list, first, size)
      tries = tries + 1
      if diverges(fewer) then
        keep, list, cut = fewer, listed(fewer), true
      else
        first = first + size
      end
    end
    if not (cut and size == 1) then size = size // 2 end
  end
  return list
end

-- A schedule under which these calls diverge: the one that was found, or one of a few others, since
-- with fewer calls it meets them at other moments.
local function diverging(builds, record, keep, how, others)
  local plain = run(builds, record, keep)
  for i = 0, others do
    local other = i == 0 and how or i < how and i or i + 1
    if first_difference(plain, run(builds, record, keep, other)) then return other end
  end
end

local function counterexample(builds, record, seed, how)
  local keep = {}
  for i in ipairs(record.calls) do keep[i] = true end
  local calls = shrink(function(fewer)
    local other = diverging(builds, record, fewer, how, #listed(fewer) <= FEW and OTHERS or 0)
    how = other or how
    return other ~= nil
  end, keep)
  local sends = {}
  for i, call in ipairs(calls) do sends[i] = record:describe(call) end
  return { seed = seed, schedule = how, sends = sends }
end

-- ---- fuzzing ----------------------------------------------------------------------------------

-- Raises at `level` where a vat cannot be built.
local function check_builds(builds, level)
  local ok, kernel = pcall(new_kernel, builds)
  if not ok then
    error(type(kernel) == "string" and kernel:gsub("^[^\n]-:%d+: ", "") or kernel, level + 1)
  end
  kernel:close()
end

--- Plays with new kernels, seed after seed, and repeats each under several schedules.
---@param given lethe.vat.FuzzOptions
---@return true?
---@return string? message
---@return "diverged"|nil code
---@return { seed: integer, schedule: integer, sends: table[] }?
function M.fuzz(given)
  base.options(given, OPTIONS, 2)
  if type(given.builds) ~= "table" then
    error(("builds must be a table (got %s)"):format(type(given.builds)), 2)
  end
  for name, how in pairs(given.builds) do
    if type(name) ~= "string" or not BUILDS[type(how)] then
      error(("builds must be builds by name (got %s under %s)"):format(type(how), name), 2)
    end
  end
  if type(given.play) ~= "function" then
    error(("play must be a function (got %s)"):format(type(given.play)), 2)
  end
  local schedules = check.positive(given, "schedules", 2) or 16
  check_builds(given.builds, 2)
  for seed = 1, check.positive(given, "seeds", 2) or 100 do
    local record, expected = play(given.builds, given.play, seed)
    for number = 1, schedules do
      local at = first_difference(expected, run(given.builds, record, nil, number))
      if at then
        local found = counterexample(given.builds, record, seed, number)
        local message = "seed %d, schedule %d: the transcripts differ at record %d; %d calls do"
        return nil, message:format(seed, found.schedule, at, #found.sends), "diverged", found
      end
    end
  end
  return true
end

return M
