-- For spec/tools/mutants.lua: scripts with their logs, and random ones against the naive model,
-- under one engine. Ends with code 1 where one differs.
package.path = "./?.lua;" .. package.path
local logs = require "spec.support.vat_logs"
local script = require "lethe.vat.script"
local scripts = require "spec.support.slots_scripts"

local ENGINE <const> = arg[1]
local FOLDER <const> = "spec/data/vat/"

local function level(header)
  return ENGINE == "manual" and "all" or header.gc == "forced" and "answer" or nil
end

local function check(header, list, expected)
  local at <const> = level(header)
  if not at then return end -- a script that is its own collector, under Lua's
  local difference = logs.difference(expected, script.play(header, list, { engine = ENGINE }), at)
  if difference then
    print(header.script, difference)
    os.exit(1)
  end
end

for _, name in ipairs(logs.scripts(FOLDER .. "scripts")) do
  local header, list = script.read(FOLDER .. "scripts/" .. name .. ".jsonl")
  check(header, list, logs.read(FOLDER .. "expected/" .. name .. ".jsonl"))
end
for seed = 1, 40 do
  check(scripts.generate(seed, { gc = "forced", tier = 1 + seed % 2, length = 80 }))
  check(scripts.generate(seed, { gc = "manual", tier = 1 + seed % 2, length = 80 }))
end
