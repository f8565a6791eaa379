-- Puts deliberate bugs into a copy of the sources, one at a time, and sees that tests catch them:
--
--   build/lethe spec/tools/mutants.lua [N [FIRST]]     every N-th of spec/mutants/slots.lua, from
--                                                      the FIRST on; all by default
--
-- A bug is caught by the C tests, by the rules' specs, or by scripts under one engine; one that
-- lies below the engines must be caught under both. Ends with code 1 if one was not.
package.path = "./?.lua;" .. package.path
local function number(text)
  return math.max(math.tointeger(tonumber(text or "1")) or 1, 1)
end

local EVERY <const>, FIRST <const> = number(arg[1]), number(arg[2])
local SCRATCH <const> = "build/mutants"
local MAKE <const> = "env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s "

local function run(command)
  return (os.execute(command))
end

-- In the copy; its output is of no interest but to who looks for it.
local function inside(command)
  return run(("cd %s && LUA_PATH='lua/?.lua;lua/?/init.lua;./?.lua;;' timeout -k 5 120 %s "
    .. ">mutant.log 2>&1"):format(SCRATCH, command))
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

-- A copy whose objects are as new as its sources: only what a bug changes is compiled.
local function copy()
  local command <const> = "rm -rf @ && mkdir -p @/build && cp -a Makefile runtime bindings lua "
    .. "spec @ && cp -a build/o build/files build/embed.c build/liblethe.a build/lethe @/build"
  assert(run((command:gsub("@", SCRATCH))))
end

-- The text with one substitution; raises where it has no place, or several.
local function substitute(text, old, new, what)
  local from, to = text:find(old, 1, true)
  assert(from, ("%s: this text is not there: %s"):format(what, old))
  assert(not text:find(old, to + 1, true), ("%s: this text is there twice: %s"):format(what, old))
  return text:sub(1, from - 1) .. new .. text:sub(to + 1)
end

-- Applies a bug: the files that were changed, as they were.
local function apply(mutant)
  local before = {}
  for _, each in ipairs(mutant) do
    if type(each) == "table" then
      local path = SCRATCH .. "/" .. each[1]
      local text = read(path)
      before[path] = before[path] or text
      write(path, substitute(text, each[2], each[3], mutant[1]))
    end
  end
  return before
end

local TESTS <const> = "build/t/test_slots build/t/test_slots_model"

local function tests()
  for test in TESTS:gmatch("%S+") do
    if not inside("env LETHE_WORK=0.1 " .. test) then return true end
  end
  return false
end

local function engine(name)
  return not inside("build/lethe spec/tools/mutants_engine.lua " .. name)
end

local RULES <const> = { "spec/slots_names_spec.lua", "spec/slots_imports_spec.lua",
  "spec/slots_exports_spec.lua", "spec/slots_boyd_spec.lua", "spec/slots_spec.lua" }

local function rules()
  return not inside("build/lethe spec " .. table.concat(RULES, " "))
end

-- Who catches it: a list of names.
local function caught(mutant)
  local by = {}
  if not run(("cd %s && %s build/lethe %s >mutant.log 2>&1"):format(SCRATCH, MAKE, TESTS)) then
    error(("%s: it does not compile; see %s/mutant.log"):format(mutant[1], SCRATCH), 0)
  end
  by[#by + 1] = engine("lua") and "lua" or nil
  by[#by + 1] = engine("manual") and "manual" or nil
  local both = #by == 2
  if not both or #by == 0 then
    by[#by + 1] = rules() and "rules" or nil
    by[#by + 1] = tests() and "C tests" or nil
  end
  return by, both
end

copy()
local list = dofile("spec/mutants/slots.lua")
assert(run(("cd %s && %s build/lethe %s >mutant.log"):format(SCRATCH, MAKE, TESTS)))
local sound = not (engine("lua") or engine("manual") or rules() or tests())
if not sound then
  print("the tests fail without any bug: see " .. SCRATCH .. "/mutant.log")
  os.exit(1)
end
local missed, tried = 0, 0
for i = FIRST, #list, EVERY do
  local mutant = list[i]
  local before = apply(mutant)
  local by, both = caught(mutant)
  for path, text in pairs(before) do
    write(path, text)
  end
  local good = #by > 0 and (both or not mutant.both)
  tried, missed = tried + 1, missed + (good and 0 or 1)
  print(("%s %d - %s: %s"):format(good and "ok" or "not ok", i, mutant[1],
    #by > 0 and "caught by " .. table.concat(by, ", ") or "not caught"))
end
run("rm -rf " .. SCRATCH)
print(("%d bugs, %d caught"):format(tried, tried - missed))
os.exit(missed == 0, true)
