-- The test run: `suite.lua test`, and `variant address`, `torture`, `fuzz`.
-- Goes through the parts that spec/tools/parts.lua lists, or those whose names contain PART, runs
-- their steps, shows what failed, and ends with one line that sums up every runner and check. The
-- exit status is 0 only if something ran and nothing failed. What is random follows SEED; while
-- SECONDS last, not counting what is built first, it all runs again with the next one, and nothing
-- is begun when they are over.
--
-- A step is a shell command. What it counts for is read from its output: the closing line of a
-- spec runner, the TAP lines of C tests, or nothing, and then the step is one check. A command that
-- fails without having counted a failure counts as one.

package.path = "./?.lua;" .. package.path
local parts = require "spec.tools.parts"

local function now()
  local file <close> = assert(io.open("/proc/uptime"))
  return file:read("n")
end

-- ---- counting ---------------------------------------------------------------------------------

-- The sum of lines such as "12 passed, 0 failed, 1 skipped", behind what `before` matches.
local function count_lines(text, before)
  local counts = { passed = 0, failed = 0, skipped = 0 }
  for line in text:gmatch("[^\n]+") do
    local passed, failed, rest = line:match("^" .. before .. "(%d+) passed, (%d+) failed(.*)$")
    if passed then
      counts.passed = counts.passed + math.tointeger(passed)
      counts.failed = counts.failed + math.tointeger(failed)
      counts.skipped = counts.skipped + math.tointeger(rest:match("^, (%d+) skipped") or 0)
    end
  end
  return counts
end


-- The last of them, since what a sanitizer says at exit comes behind it.
local function closing_line(text)
  local last = ""
  for line in text:gmatch("[^\n]+") do
    if line:find("^%d+ passed, %d+ failed") then last = line end
  end
  return count_lines(last, "")
end

local function a_line_per_runner(text)
  return count_lines(text, "%a[%a ]*: +")
end

local function tap_lines(text)
  local counts = { passed = 0, failed = 0, skipped = 0 }
  for line in text:gmatch("[^\n]+") do
    if line:find("^ok %d+.*# [Ss][Kk][Ii][Pp]") then
      counts.skipped = counts.skipped + 1
    elseif line:find("^ok %d+") then
      counts.passed = counts.passed + 1
    elseif line:find("^not ok ") then
      counts.failed = counts.failed + 1
    end
  end
  return counts
end

local READERS <const> = { specs = closing_line, runners = a_line_per_runner, tap = tap_lines }

local function count(step, ok, text)
  if not step.counts then
    return { passed = ok and 1 or 0, failed = ok and 0 or 1, skipped = 0 }
  end
  local counts = READERS[step.counts](text)
  local ran = counts.passed + counts.failed + counts.skipped
  if (not ok and counts.failed == 0) or ran == 0 then counts.failed = counts.failed + 1 end
  return counts
end

-- ---- running ----------------------------------------------------------------------------------

-- Starts a step; its output goes to a file of its own, so that two may run beside each other.
local LOGS <const> = ("build/log/%.0f"):format(now() * 100)
os.execute("mkdir -p " .. LOGS)
local started = 0
local seed = math.tointeger(tonumber(os.getenv("SEED"))) -- of all that is random

local function start(step)
  started = started + 1
  local log = ("%s/%d.txt"):format(LOGS, started)
  local command = ("{ %s%s ; } </dev/null >%s 2>&1; code=$?; cat /proc/uptime; exit $code"):format(
    seed and ("export SEED=%d; "):format(seed) or "", step.run, log)
  return { step = step, log = log, began = now(), pipe = assert(io.popen(command)) }
end

-- What is shown of a step's output: all but what went well if it failed, else what it left out.
local function shown(good, text)
  local list, seen = {}, {}
  for line in text:gmatch("[^\n]+") do
    local left_out = line:find("^skipped: ")
    if good and left_out and not seen[line] or not good and not line:find("^ok ") then
      list[#list + 1] = "    " .. line .. "\n"
    end
    seen[line] = true
  end
  return table.concat(list)
end

local function finish(job, total)
  local ended = job.pipe:read("n") or now()
  local ok = job.pipe:close() == true
  local file <close> = assert(io.open(job.log, "rb"))
  local text = file:read("a")
  os.remove(job.log)
  local counts = count(job.step, ok, text)
  local good = counts.failed == 0
  io.write(("  %-6s %-58s %5d  %6.1f s\n"):format(good and "ok" or "FAILED", job.step.name,
    counts.passed, ended - job.began))
  if not good then io.write("    $ ", job.step.run, "\n") end
  io.write(shown(good, text))
  for kind, n in pairs(counts) do
    total[kind] = total[kind] + n
  end
  io.stdout:flush()
  return good
end

-- An item of a part is a step, or a list of steps that run beside each other.
local function run_item(item, total)
  local steps = item.run and { item } or item
  local jobs = {}
  for i, step in ipairs(steps) do
    jobs[i] = start(step)
  end
  local good = true
  for _, job in ipairs(jobs) do
    good = finish(job, total) and good
  end
  return good
end

local deadline -- moves on while something is built

local function run_part(part, total)
  local before, began = total.passed + total.failed + total.skipped, now()
  io.write(part.name, "\n")
  for i, item in ipairs(part) do
    if deadline and now() >= deadline and not item.needed then
      io.write(("  the time is over: %d of %d steps were not begun\n"):format(#part - i + 1, #part))
      break
    end
    local start_of_item <const> = now()
    local good <const> = run_item(item, total)
    if deadline and item.needed then deadline = deadline + now() - start_of_item end
    if not good and item.needed then
      io.write("  the rest of this part needs that\n")
      total.failed = total.failed + 1
      break
    end
  end
  io.write(("part %q: %.1f seconds, %d tests and checks\n\n"):format(part.name, now() - began,
    total.passed + total.failed + total.skipped - before))
end

local total = { passed = 0, failed = 0, skipped = 0 }
local began = now()
local only <const> = os.getenv("PART") or ""
local seconds <const> = arg[1] == "torture" and tonumber(os.getenv("SECONDS"))
deadline = seconds and began + seconds

-- With what this run can be had again.
local function again()
  local words = { "make " .. arg[1], ("SEED=%d"):format(seed) }
  for _, knob in ipairs{ "WORK", "THREADS", "SECONDS" } do
    local value = os.getenv(knob == "WORK" and "LETHE_WORK" or knob) or ""
    if value ~= "" then words[#words + 1] = knob .. "=" .. value end
  end
  return table.concat(words, " ")
end

repeat -- torture may go on with the next seed
  if seed then io.write(again(), "\n\n") end
  for _, part in ipairs(parts(arg[1], arg[2])) do
    if part.name:find(only, 1, true) then run_part(part, total) end
  end
  if not seed or not deadline or total.failed > 0 then break end
  seed = seed + 1
until now() >= deadline
io.write(("all parts: %.1f seconds\n"):format(now() - began))
local skipped = total.skipped > 0 and (", %d skipped"):format(total.skipped) or ""
local summary <const> = ("%d passed, %d failed%s\n"):format(total.passed, total.failed, skipped)
os.execute("rm -rf " .. LOGS)
do
  local file <close> = assert(io.open("build/summary", "w")) -- for .ci/run
  file:write(summary)
end
io.write(summary)
os.exit(total.failed == 0 and total.passed > 0, true)
