-- Runs spec files under `lethe spec` and under busted, and compares what both say:
--
--   build/lethe spec/support/same_counts.lua [files and directories]
--
-- Ends with code 1 when the counts differ, when no test ran, or when one failed.
package.path = "./?.lua;" .. package.path
local counts = require "spec.support.counts"

local function program()
  local i = 0
  while arg[i - 1] do
    i = i - 1
  end
  return os.getenv("LETHE") or arg[i]
end

local function show_failures(name, result)
  local shown = false
  for _, line in ipairs(result.lines) do
    if line:find("^not ok ") then
      shown = true
      print(name .. ": " .. line)
    elseif shown and line:find("^#") then
      print(line)
    else
      shown = false
    end
  end
end

local paths = arg[1] and table.move(arg, 1, #arg, 1, {}) or { "spec" }
local ours, theirs = counts.lethe(program(), paths), counts.busted(paths)
show_failures("lethe spec", ours)
show_failures("busted", theirs)
print("lethe spec: " .. counts.text(ours))
print("busted:     " .. counts.text(theirs))
if not counts.same(ours, theirs) then
  print("the counts of lethe spec and busted differ")
  os.exit(1)
elseif ours.passed == 0 or ours.failed > 0 then
  os.exit(1)
end
print("lethe spec and busted agree")
