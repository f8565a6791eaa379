-- What a test run consists of, for spec/tools/suite.lua: a list of parts, each a list of steps,
-- or of lists of steps that run beside each other.
--
-- To add an engine, add a row to SUBJECTS: its part then runs the specs, C tests and scripts of
-- spec/data/oom whose file names contain one of its words. What no row claims runs in the first; a
-- row that has nothing makes no part.

local sources = require "spec.tools.sources"

local SUBJECTS <const> = {
  { name = "quota, loop and registry", words = {} },
  { name = "epoch and workers", words = { "epoch", "shared", "worker" } },
  { name = "weak maps and vats", words = { "weak", "vat", "slots", "kernel" } },
  { name = "cache and simulator", words = { "cache", "backend", "evict", "sim_", "trace" } },
}

local MAKE <const> = ("env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL '%s' --no-print-directory -j%s ")
  :format(os.getenv("MAKE") or "make", os.getenv("JOBS") or "2")
local LIMIT <const> = "timeout -k 10 " -- then seconds and the command

-- ---- what belongs to whom ---------------------------------------------------------------------

local function claims(subject, path)
  for _, word in ipairs(subject.words) do
    if path:find(word, 1, true) then return true end
  end
  return false
end

local function owner(path)
  for _, subject in ipairs(SUBJECTS) do
    if claims(subject, path:match("[^/]+$")) then return subject end
  end
  return SUBJECTS[1]
end

-- Shares out the files that `find` finds: into the field `kind` of their subjects, by name or path.
local function share(kind, find, by_name)
  for _, subject in ipairs(SUBJECTS) do
    subject[kind] = {}
  end
  for _, path in ipairs(sources.lines("find " .. find .. " 2>/dev/null | sort")) do
    table.insert(owner(path)[kind], by_name and path:match("([^/]+)%.%w+$") or path)
  end
end

share("specs", "spec -path spec/data -prune -o -name '*_spec.lua' -print")
share("c_tests", "spec/c -name 'test_*.c'", true)
share("oom", "spec/data/oom -name '*.lua'")
share("benches", "spec/bench -maxdepth 1 -name '*.c' -o -name '*.lua'")
for _, subject in ipairs(SUBJECTS) do
  if #subject.oom > 0 and subject ~= SUBJECTS[1] then
    table.insert(subject.c_tests, "test_oom_lua")
  end
end
share("fuzzers", "spec/fuzz -name '*.c'", true)
share("mutants", "spec/mutants -name '*.lua'", true)

-- ---- variants ---------------------------------------------------------------------------------

-- ThreadSanitizer wants the address space where it expects it.
local STILL <const> = os.execute("setarch -R true 2>/dev/null") and "setarch -R " or ""

local VARIANTS <const> = {
  plain = { name = "plain", build = "build", san = "", env = "" },
  address = {
    name = "address",
    build = "build/address",
    san = "SAN=address ",
    env = "UBSAN_OPTIONS=print_stacktrace=1 ",
  },
  thread = {
    name = "thread",
    build = "build/thread",
    san = "SAN=thread ",
    env = "TSAN_OPTIONS=second_deadlock_stack=1 " .. STILL,
  },
  cover = { name = "cover", build = "build/cover", san = "SAN=cover ", env = "" },
}

-- ---- steps ------------------------------------------------------------------------------------

-- Appends what is not nil.
local function add(part, ...)
  for i = 1, select("#", ...) do
    local step = select(i, ...)
    if step then part[#part + 1] = step end
  end
  return part
end

local function make(name, target)
  return { name = name, run = MAKE .. target }
end

local function build(variant)
  return {
    name = ("build, %s"):format(variant.name),
    run = MAKE .. variant.san .. "all c-tests",
    needed = true,
  }
end

-- What has threads: C tests that say so in their names, specs that work with workers.
local function threaded(tests)
  local list = {}
  for _, test in ipairs(tests) do
    if test:find("^test_mt_") or test:find("^test_lua_mt_") then list[#list + 1] = test end
  end
  return list
end

local function threaded_specs(files)
  if #files == 0 then return files end
  return sources.lines("grep -lE 'worker|thread pool' " .. table.concat(files, " "))
end

-- `under` goes before each program, such as valgrind. test_oom_lua runs its subject's scripts.
local function c_tests(subject, tests, variant, seconds, under)
  if #tests == 0 then return nil end
  return {
    name = ("C tests, %s"):format(under and under:match("%S+") or variant.name),
    run = ("UNDER='%s' OOM_SCRIPTS='%s' %sspec/tools/c_tests.sh %d %s/t %s"):format(under or "",
      table.concat(subject.oom, " "), variant.env, seconds, variant.build,
      table.concat(tests, " ")),
    counts = "tap",
  }
end

local function specs(files, variant, seconds, under)
  if #files == 0 then return nil end
  local program <const> = variant.build .. "/lethe"
  return {
    name = ("specs, %s"):format(under and under:match("%S+") or variant.name),
    run = ("LETHE=%s %s%s%d %s %s spec %s"):format(program, variant.env, LIMIT, seconds,
      under or "", program, table.concat(files, " ")),
    counts = "specs",
  }
end

-- `lethe spec` and busted on the same files; it fails where their counts differ. Each file has a
-- process of its own: what busted keeps of other files makes a collector that never rests too slow.
local function both_runners(files)
  if #files == 0 then return nil end
  return {
    name = "specs, plain, and under busted with the same counts",
    run = ("code=0; for f in %s; do %s300 build/lethe spec/support/same_counts.lua $f || code=1; "
      .. "done; (exit $code)"):format(table.concat(files, " "), LIMIT),
    counts = "runners",
  }
end

local function benches(files)
  if #files == 0 then return nil end
  return {
    name = "every bench runs",
    run = ("%sall benches && LETHE_WORK=0.01 %s300 spec/tools/bench.sh build %s"):format(MAKE,
      LIMIT, table.concat(files, " ")),
  }
end

-- A fuzzer of texts may have a list of the words that these are made of. Where no seed is given,
-- each run goes its own way.
local function fuzz(name, seconds, seed)
  local corpus <const> = "build/fuzz/corpus/" .. name
  local words <const> = "spec/fuzz/" .. name .. ".dict"
  local file <close> = io.open(words)
  return {
    name = ("fuzz, %s for %s s"):format(name, seconds),
    run = ("mkdir -p %s && build/fuzz/%s -max_total_time=%s -seed=%d -rss_limit_mb=4096 "
      .. "-timeout=20 -artifact_prefix=build/fuzz/ %s %s %s"):format(corpus, name, seconds,
      seed or 0, file and "-dict=" .. words or "", corpus, "spec/fuzz/seeds/" .. name),
  }
end

local function fuzz_steps(part, names, seconds, seed)
  if #names > 0 then add(part, make("build, fuzzers", "fuzzers")) end
  for i = 1, #names, 2 do -- two beside each other
    add(part, add({}, fuzz(names[i], seconds, seed),
      names[i + 1] and fuzz(names[i + 1], seconds, seed)))
  end
  return part
end

-- Deliberate bugs, each of which tests must catch: every n-th.
local function mutants(subject, n)
  if #subject.mutants == 0 then return nil end
  return {
    name = n == 1 and "deliberate bugs are caught" or "some deliberate bugs are caught",
    run = ("%sbuild/lethe build/t/test_slots build/t/test_slots_model && %s1200 build/lethe "
      .. "spec/tools/mutants.lua %d"):format(MAKE, LIMIT, n),
    counts = "tap",
  }
end

-- ---- parts ------------------------------------------------------------------------------------

local function plain_build()
  return add({ name = "plain build" },
    build(VARIANTS.plain),
    make("no warnings from gcc and clang", "strict"),
    make("layers, and planted offenders", "check-layers"),
    make("every __gc only notes, and planted offenders", "check-gc-classes"))
end

-- Two run beside each other where each works on one core for the most part.
local function subject_part(subject)
  local plain <const>, address <const>, thread <const> = VARIANTS.plain, VARIANTS.address,
    VARIANTS.thread
  local part = { name = subject.name }
  add(part, build(plain),
    add({}, c_tests(subject, subject.c_tests, plain, 600), both_runners(subject.specs)),
    benches(subject.benches), mutants(subject, 9), build(address), build(thread),
    add({}, c_tests(subject, subject.c_tests, address, 600),
      specs(subject.specs, address, 600)),
    add({}, c_tests(subject, threaded(subject.c_tests), thread, 600),
      specs(threaded_specs(subject.specs), thread, 600)))
  return fuzz_steps(part, subject.fuzzers, 2, 1) -- the same inputs for everybody
end

local function packaging()
  return add({ name = "packaging and pages" },
    make("luacheck, shellcheck, clang-tidy, cppcheck", "lint"),
    make("the layout of C files", "check-format"),
    make("stubs and annotations", "docscov"),
    make("the README files' code, links and targets", "check-pages"),
    make("install, a stock lua5.4, uninstall", "check-install"),
    make("the LuaRocks package", "check-rock"))
end

-- fn(subject) for each subject that has something to run.
local function each_subject(fn)
  local list = {}
  for _, subject in ipairs(SUBJECTS) do
    if #subject.specs + #subject.c_tests > 0 then list[#list + 1] = fn(subject) end
  end
  return list
end

local function variant_parts(variant)
  return each_subject(function(subject)
    return add({ name = ("%s, %s"):format(subject.name, variant.name) },
      build(VARIANTS.plain), build(variant), -- a stock lua5.4 loads the plain one
      c_tests(subject, subject.c_tests, variant, 600), specs(subject.specs, variant, 600))
  end)
end

local VALGRIND <const> = "valgrind -q --error-exitcode=99 --leak-check=full "
  .. "--errors-for-leak-kinds=definite --fair-sched=yes"
local RESTLESS <const> = 'collectgarbage("incremental", 1, 1000)'
local YOUNG <const> = 'collectgarbage("generational", 1, 1)'

-- What makes everything many times slower gets that much less to do. `init` is run by each program.
local function briefly(step, what, init)
  if not step then return nil end
  if what then step.name = step.name .. ", " .. what end
  step.run = ("LETHE_WORK=0.1 LUA_INIT='%s' %s"):format(init or "", step.run)
  return step
end

-- Here too two run beside each other.
local function torture_part(subject)
  local part = { name = subject.name .. ", torture" }
  local plain <const>, thread <const> = VARIANTS.plain, VARIANTS.thread
  for _, variant in ipairs({ plain, VARIANTS.address }) do
    add(part, build(variant), add({}, c_tests(subject, subject.c_tests, variant, 7200),
      specs(subject.specs, variant, 7200)))
  end
  return add(part, build(thread),
    add({}, c_tests(subject, threaded(subject.c_tests), thread, 7200),
      specs(threaded_specs(subject.specs), thread, 7200)),
    mutants(subject, 1),
    add({}, briefly(c_tests(subject, subject.c_tests, plain, 7200, VALGRIND)),
      briefly(specs(subject.specs, plain, 7200, VALGRIND))),
    add({}, briefly(specs(subject.specs, plain, 7200), "a restless collector", RESTLESS),
      briefly(specs(subject.specs, plain, 7200), "a generational collector", YOUNG)))
end

-- What visits states at random, or every failure in turn: models, schedulers, crashes, collectors'
-- schedules, want of memory, threads. These words are in the names of their files.
local PROOFS <const> = { "_model", "_random", "_reference", "_schedules", "_crash", "_fuzz",
  "_faults", "_oom", "_scripts", "_mt_", "_workers" }

local function proofs(files)
  local list = {}
  for _, file in ipairs(files) do
    for _, word in ipairs(PROOFS) do
      if file:find(word, 1, true) and list[#list] ~= file then list[#list + 1] = file end
    end
  end
  return list
end

-- A step for each program, so that the time at hand is kept to.
local function proof_steps(subject)
  local steps = {}
  local function each(files, variant, step)
    for _, file in ipairs(files) do
      local one = step(file, variant)
      one.name = ("%s, %s"):format(file, variant.name)
      steps[#steps + 1] = one
    end
  end
  local function c_test(name, variant) return c_tests(subject, { name }, variant, 7200) end
  local function spec(file, variant) return specs({ file }, variant, 7200) end
  local programs <const>, files <const> = proofs(subject.c_tests), proofs(subject.specs)
  each(programs, VARIANTS.address, c_test)
  each(threaded(programs), VARIANTS.thread, c_test)
  each(files, VARIANTS.address, spec)
  each(threaded_specs(files), VARIANTS.thread, spec)
  return steps
end

-- The engines take turns: whatever time there is, each has its share of it.
local function proofs_part()
  local part, lists = { name = "proofs under sanitizers" }, each_subject(proof_steps)
  add(part, build(VARIANTS.address), build(VARIANTS.thread))
  local most = 0
  for _, steps in ipairs(lists) do
    most = math.max(most, #steps)
  end
  for i = 1, most do
    for _, steps in ipairs(lists) do
      add(part, steps[i])
    end
  end
  return part
end

local function fuzz_part(seconds)
  local part = { name = "fuzzers" }
  for _, subject in ipairs(SUBJECTS) do
    fuzz_steps(part, subject.fuzzers, seconds)
  end
  return part
end

---@param mode "test"|"variant"|"torture"|"fuzz"
---@param san "address"|"thread"|"cover"|nil
return function(mode, san)
  if mode == "variant" then return variant_parts(assert(VARIANTS[san], "no such variant")) end
  if mode == "torture" then
    if (os.getenv("SECONDS") or "") ~= "" then return { proofs_part() } end
    return each_subject(torture_part)
  end
  if mode == "fuzz" then return { fuzz_part(os.getenv("FUZZ_SECONDS") or "60") } end
  assert(mode == "test", "test, variant, torture or fuzz expected")
  local list = each_subject(subject_part)
  table.insert(list, 1, plain_build())
  table.insert(list, packaging())
  return list
end
