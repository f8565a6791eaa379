-- lethe.spec itself: fixtures run through the executable, next to busted where it can tell; and the
-- scenario helpers, which are called here like in any spec.
local counts = require "spec.support.counts"
local program = require "spec.support.program"
local spec = require "lethe.spec"

local run = program.run
local scenario = spec.scenario

local function fixture(name)
  return "spec/data/specs/" .. name .. ".lua"
end

-- Runs `lethe spec` with fixtures named in angle brackets: "-o tap <passing>"; a seed that this run
-- itself has from SEED is not theirs.
local function lethe_spec(arguments)
  return run("unset SEED; lethe spec " .. arguments:gsub("<(%w+)>", fixture))
end

-- What the fixture's tests print, in order.
local function printed(arguments, pattern)
  local out = lethe_spec(arguments)
  local found = {}
  for word in out:gmatch(pattern) do
    found[#found + 1] = word
  end
  return found
end

-- The whole message of the error that fn raises, its position too.
local function raised(fn)
  local ok, err = pcall(fn)
  assert.is_false(ok)
  return tostring(err)
end

describe("lethe spec", function()
  after_each(program.clean)

  it("runs hooks, blocks and assertions as busted does", function()
    local out, err, code = lethe_spec("<passing>")
    assert.are.same({ "", 0 }, { err, code })
    assert.matches("\n14 passed, 0 failed, 3 skipped\n$", out)
  end)

  it("has the same counts as busted", function()
    for _, name in ipairs{ "passing", "failing", "names", "scenario", "waiting", "raising" } do
      local ours = counts.lethe(program.path, { fixture(name) })
      local theirs = counts.busted({ fixture(name) })
      assert.are.equal(counts.text(theirs), counts.text(ours))
    end
  end)

  it("fails when a test does, and says where", function()
    local out, _, code = lethe_spec("<failing>")
    assert.are.equal(1, code)
    assert.matches("\n4 passed, 13 failed, 1 skipped\n$", out)
    local file = "\n    " .. fixture("failing")
    assert.matches("FAILED failing an assertion" .. file .. ":3: Expected", out, 1, true)
    assert.matches("ERROR failing an error" .. file .. ":5: boom\n", out, 1, true)
    assert.matches("failing.lua:8: spoken\n", out, 1, true)
    assert.matches("failing after_each after_each\n    spec/data/specs/failing.lua:%d+: late", out)
    assert.matches("failing setup strict_setup\n", out, 1, true)
  end)

  it("prints the seed of a failure and how to run it again", function()
    local out = lethe_spec("--seed 77 <failing>")
    local again = out:match("seed 77; again: (lethe spec %-%-seed 77 [^\n]* 'failing nil'[^\n]+)")
    assert.is_string(again)
    assert.matches("\n0 passed, 1 failed, 0 skipped\n$", (run(again)))
  end)

  it("fails when no test ran", function()
    local out, _, code = lethe_spec("<empty>")
    assert.are.equal(1, code)
    assert.matches("no test ran\n0 passed, 0 failed, 0 skipped\n$", out)
    assert.are.equal(1, (select(3, lethe_spec("<passing> --filter 'no such test'"))))
  end)

  it("fails when a file does not load", function()
    local out, _, code = lethe_spec("<broken> <waiting>")
    assert.are.equal(1, code)
    assert.matches("broken.lua:2: <name> or '...' expected near <eof>", out, 1, true)
    assert.matches("\n2 passed, 1 failed, 0 skipped\n$", out)
    out, _, code = lethe_spec("<raising>")
    assert.are.equal(1, code)
    assert.matches("\n0 passed, 1 failed, 0 skipped\n$", out)
    assert.matches("raising.lua:2: raised while the file was read", out, 1, true)
  end)

  it("fails when a path leads nowhere", function()
    local out, _, code = lethe_spec("no/such_spec.lua <waiting>")
    assert.are.equal(1, code)
    assert.matches("no/such_spec.lua: No such file or directory", out, 1, true)
    assert.matches("\n2 passed, 1 failed, 0 skipped\n$", out)
  end)

  it("finds the _spec.lua files of a directory, hidden ones aside", function()
    local dir = program.directory()
    assert(os.execute(("cd %s && mkdir sub .hid && echo 'it(\"a\", function() end)' "
      .. "| tee a_spec.lua sub/b_spec.lua .hid/c_spec.lua .d_spec.lua e.lua f_spec.lua.orig "
      .. ">/dev/null"):format(dir)))
    local out, _, code = lethe_spec(dir)
    assert.are.equal(0, code)
    assert.matches(("^ok %s/a_spec.lua: [^\n]*\nok %s/sub/b_spec.lua: "):format(dir, dir), out)
    assert.matches("\n2 passed, 0 failed, 0 skipped\n$", out)
    assert.matches("\n1 passed, 0 failed", (lethe_spec(dir .. " --pattern '^e%.lua$'")))
  end)

  it("refuses global writes, which busted hides", function()
    local out = lethe_spec("<globals>")
    assert.matches('globals.lua:3: a spec must not write the global "leaked"', out, 1, true)
    assert.matches("\n1 passed, 1 failed, 0 skipped\n$", out)
  end)

  it("keeps files apart", function()
    assert.are.equal(0, (select(3, lethe_spec("<leaving> <left>"))))
  end)

  it("does not let a spec end the run", function()
    local out, _, code = lethe_spec("<exiting>")
    assert.are.equal(1, code)
    assert.matches("os.exit called inside a spec", out, 1, true)
    assert.matches("\n1 passed, 1 failed, 0 skipped\n$", out)
  end)

  it("runs bodies outside any task", function()
    assert.are.equal(0, (select(3, lethe_spec("<waiting>"))))
  end)
end)

describe("lethe spec's choice", function()
  after_each(program.clean)

  it("is by name", function()
    local out = lethe_spec("-v <passing> --filter 'assert com' --filter=callable$")
    assert.matches("ok assert compares\n", out, 1, true)
    assert.matches("ok assert is callable\n", out, 1, true)
    assert.matches("\n2 passed, 0 failed, 0 skipped\n$", out)
    out = lethe_spec("<passing> --filter ^assert --filter-out callable")
    assert.matches("\n2 passed, 0 failed, 0 skipped\n$", out)
  end)

  it("is by tag", function()
    assert.matches("\n1 passed, 0 failed, 0 skipped\n$", (lethe_spec("<passing> -t slow")))
    assert.matches("\n13 passed, 0 failed, 3 skipped\n$",
      (lethe_spec("<passing> --exclude-tags slow")))
  end)

  it("leaves out what an excluded block holds", function()
    assert.matches("\n12 passed, 0 failed, 0 skipped\n$",
      (lethe_spec("<passing> --filter-out skips --filter-out '^what setup made'")))
  end)
end)

describe("lethe spec's seed", function()
  after_each(program.clean)

  it("is each test's own", function()
    local numbers = printed("--seed 5 <random>", "number (%d+)")
    assert.are.equal(2, #numbers)
    assert.are.equal(numbers[1], numbers[2])
    assert.are.same(numbers, printed("<random> --seed=5", "number (%d+)"))
    assert.are_not.same(numbers, printed("--seed 6 <random>", "number (%d+)"))
  end)

  it("may come from SEED, and differs from run to run otherwise", function()
    local given = printed("--seed 5 <random>", "number (%d+)")
    local out = run("SEED=5 lethe spec " .. fixture("random"))
    assert.matches("number " .. given[1], out, 1, true)
    assert.are_not.same(printed("<random>", "number (%d+)"), printed("<random>", "number (%d+)"))
  end)

  it("decides the order of --shuffle", function()
    local plain = table.concat(printed("--seed 1 <ordered>", "ran (%d)"))
    local one = table.concat(printed("--seed 1 --shuffle <ordered>", "ran (%d)"))
    local two = table.concat(printed("--seed 2 --shuffle <ordered>", "ran (%d)"))
    assert.are.equal("123456789", plain)
    assert.are_not.equal(plain, one)
    assert.are_not.equal(one, two)
    assert.are.equal(one, table.concat(printed("--shuffle <ordered> --seed 1", "ran (%d)")))
    local digits = {}
    for digit in one:gmatch(".") do
      digits[#digits + 1] = digit
    end
    table.sort(digits)
    assert.are.equal(plain, table.concat(digits))
  end)
end)

describe("lethe spec -o tap", function()
  after_each(program.clean)

  it("numbers every test and has the plan", function()
    local out, _, code = lethe_spec("-o tap <failing>")
    assert.are.equal(1, code)
    local n = 0
    for number in out:gmatch("\n[not ]*ok (%d+) %- ") do
      n = n + 1
      assert.are.equal(n, tonumber(number))
    end
    assert.are.equal(18, n)
    assert.matches("\n1..18\n# 4 passed, 13 failed, 1 skipped\n$", out)
  end)

  it("has nothing but results and comments, whatever names say", function()
    local out = lethe_spec("-o tap <names>")
    for line in out:gsub("^TAP version 13\n", ""):gmatch("[^\n]+") do
      assert.matches("^[no#1]", line)
      assert.is_truthy(line:find("^#") or line:find("^ok %d+ %- ") or line:find("^not ok %d+ %- ")
        or line:find("^1%.%.5$"))
    end
    assert.matches("two lines \\# todo later\n", out, 1, true)
    assert.matches("\nok 5 - [^\n]*skips [^\n]*# SKIP [^\n]*because", out)
    local _, skips = out:gsub("\nok [^\n]* # SKIP", "")
    assert.are.equal(1, skips)
  end)

  it("keeps what specs print out of its output", function()
    local out, err = lethe_spec("-o tap <noisy>")
    assert.not_matches("<%l+>", out)
    for _, word in ipairs{ "<print>", "<write>", "<stdout>", "<child>" } do
      assert.matches(word, err, 1, true)
    end
  end)
end)

describe("lethe spec -o junit", function()
  after_each(program.clean)

  -- What xmllint says of the document, through an XPath expression.
  local function ask(document, path)
    local out, err, code = run(("xmllint --nonet --xpath %s %s"):format(program.quote(path),
      program.file(document)))
    assert.are.same({ "", 0 }, { err, code })
    return (out:gsub("\n$", ""))
  end

  it("is well-formed with its counts", function()
    local out, _, code = lethe_spec("-o junit <failing> <passing>")
    assert.are.equal(1, code)
    assert.are.equal("35", ask(out, "string(/testsuites/@tests)"))
    assert.are.equal("35", ask(out, "count(//testcase)"))
    assert.are.equal("2", ask(out, "count(//failure)"))
    assert.are.equal("11", ask(out, "count(//error)"))
    assert.are.equal("4", ask(out, "count(//skipped)"))
    assert.are.equal("2", ask(out, "count(//testsuite)"))
    assert.are.equal("11", ask(out, "string(//testsuite[1]/@errors)"))
  end)

  it("escapes names and messages", function()
    local out = lethe_spec("-o junit <names>")
    assert.are.equal("5", ask(out, "count(//testcase)"))
    local name = ask(out, "string(//testcase[4]/@name)")
    assert.matches("a <b> & \"c\" 'd' ]]> fails <&>", name, 1, true)
    assert.matches("message <&>\"' ]]> ", ask(out, "string(//error/@message)"), 1, true)
    assert.matches("message <&>\"' ]]> ", ask(out, "string(//error)"), 1, true)
    assert.matches("because <&>\"'", ask(out, "string(//skipped/@message)"), 1, true)
  end)

  it("has standard output for itself", function()
    local out, err = lethe_spec("-o junit <noisy>")
    assert.are.equal("1", ask(out, "count(//testcase)"))
    assert.matches("<print>\n", err, 1, true)
    assert.matches("<child>\n", err, 1, true)
  end)
end)

describe("lethe.spec.run", function()
  it("names a wrong option", function()
    assert.matches('spec_spec.lua:%d+: unknown option "paht" %(did you mean "paths"%?%)',
      raised(function() spec.run{ paht = {} } end))
    assert.matches('spec_spec.lua:%d+: bad option output "xml"',
      raised(function() spec.run{ output = "xml" } end))
    assert.matches("spec_spec.lua:%d+: a table of options expected, got number",
      raised(function() spec.run(1) end))
  end)
end)

describe("same_counts", function()
  after_each(program.clean)

  it("says when lethe spec and busted agree", function()
    local out, _, code = run("lethe spec/support/same_counts.lua " .. fixture("passing"))
    assert.are.equal(0, code)
    assert.matches("lethe spec: 14 passed, 0 failed, 3 skipped\nbusted:     14 passed, 0 failed, 3 "
      .. "skipped\nlethe spec and busted agree\n$", out)
  end)

  it("fails when they do not", function()
    local out, _, code = run("lethe spec/support/same_counts.lua " .. fixture("globals"))
    assert.are.equal(1, code)
    assert.matches("the counts of lethe spec and busted differ\n$", out)
  end)

  it("fails when tests do", function()
    local out, _, code = run("lethe spec/support/same_counts.lua " .. fixture("raising"))
    assert.are.equal(1, code)
    assert.matches("lethe spec: not ok 1 - ", out, 1, true)
  end)
end)

describe("scenario", function()
  it("refuses what is no function", function()
    assert.matches("spec_spec.lua:%d+: bad argument #1", raised(function() scenario(1) end))
  end)

  it("has a virtual loop of its own", scenario(function(s)
    local rang = {}
    s.loop:timer(5, function() rang[#rang + 1] = s.loop:now() end)
    s:advance(4.5)
    assert.are.same({}, rang)
    s:advance(1)
    assert.are.same({ 5 }, rang)
    assert.are.equal(5.5, s.loop:now())
  end))

  it("gives each test a loop that begins anew", scenario(function(s)
    assert.are.equal(0, s.loop:now())
  end))

  it("has a seed, which math.random follows", scenario(function(s)
    local drawn = math.random(1 << 50)
    math.randomseed(s:seed())
    assert.are.equal(math.random(1 << 50), drawn)
  end))

  it("puts the seed into the message of a failure", function()
    local seed
    local message = raised(scenario(function(s)
      seed = s:seed()
      error("boom")
    end))
    assert.matches("spec_spec.lua:%d+: boom %(seed " .. seed .. "%)$", message)
    assert.matches("Expected objects to be the same.*%(seed %d+%)$",
      raised(scenario(function() assert.is_true(false) end)))
  end)

  it("closes what it owns, last first, also when the body fails", function()
    local closed = {}
    local function thing(name)
      return { close = function() closed[#closed + 1] = name end }
    end
    pcall(scenario(function(s)
      assert.are.equal("a", s:own({ name = "a", close = thing("a").close }).name)
      s:own(thing("b"))
      error("boom")
    end))
    assert.are.same({ "b", "a" }, closed)
  end)

  it("reports what could not be closed, after closing the rest", function()
    local closed = false
    local message = raised(scenario(function(s)
      s:own({ close = function() closed = true end })
      s:own({ close = function() error("stuck") end })
    end))
    assert.is_true(closed)
    assert.matches("while closing what the scenario made: .*stuck %(seed %d+%)$", message)
  end)

  it("closes its loop", function()
    local loop
    scenario(function(s) loop = s.loop end)()
    assert.error_matches(function() loop:now() end, "closed lethe.loop.Loop")
  end)

  it("collects through the default registry", scenario(function(s)
    local registry = require "lethe.registry"
    local r <close> = registry.new{}
    r:register({}, "thing")
    s:collect()
    assert.are.same({}, r:dead())
    r:collect()
    assert.are.same({ "thing" }, r:dead())
  end))

  it("says which engine a build does not have", scenario(function(s)
    package.preload["lethe.cache"] = function() error("not here", 0) end
    package.preload["lethe.vat"] = package.preload["lethe.cache"]
    finally(function()
      package.preload["lethe.cache"], package.preload["lethe.vat"] = nil, nil
    end)
    local loaded = { package.loaded["lethe.cache"], package.loaded["lethe.vat"] }
    package.loaded["lethe.cache"], package.loaded["lethe.vat"] = nil, nil
    assert.matches("spec_spec.lua:%d+: s:cache needs lethe.cache, which this build does not have",
      raised(function() s:cache{} end))
    assert.matches("spec_spec.lua:%d+: s:kernel needs lethe.vat",
      raised(function() s:kernel() end))
    package.loaded["lethe.cache"], package.loaded["lethe.vat"] = loaded[1], loaded[2]
  end))
end)

describe("scenario with a tracker", function()
  local MAX <const>, LOW <const> = 1 << 20, 768 << 10

  local function tracker(s, more)
    local options = { max = MAX, low_water = LOW }
    for k, v in pairs(more or {}) do
      options[k] = v
    end
    return assert(s:quota(options))
  end

  -- A participant that holds n bytes and gives all of them back when asked.
  local function holder(s, t, age, n)
    local account = s:own(t:account{ name = "holder" })
    local object = { asked = 0 }
    function object.get_oldest() return age end
    function object:reclaim() self.asked = self.asked + 1 end
    object.participation = s:own(account:participant(object))
    assert(object.participation:claim(n))
    return object
  end

  it("keeps the events, of all types or of one", scenario(function(s)
    local told = {}
    local t = tracker(s, { on_event = function(event) told[#told + 1] = event.type end })
    local victim = holder(s, t, 1, 600 << 10)
    holder(s, t, 2, 500 << 10)
    s:advance(1)
    assert.are.equal(1, victim.asked)
    assert.are.equal(1, #s:events("victim"))
    assert.are.equal("complete", s:events("reclaim_stop")[1].outcome)
    local types = {}
    for i, event in ipairs(s:events()) do
      types[i] = event.type
    end
    assert.are.same(told, types)
    assert.are.same({}, s:events("stuck"))
  end))

  it("answers what quota.new refuses", scenario(function(s)
    local t, _, code = s:quota{ max = MAX, policy = "no such policy" }
    assert.is_nil(t)
    assert.are.equal("bad_policy", code)
  end))

  it("closes its trackers", function()
    local t
    scenario(function(s) t = tracker(s) end)()
    assert.error_matches(function() t:used() end, "closed lethe.quota.Tracker")
  end)

  it("puts a tracker under pressure up to a level", scenario(function(s)
    local t = tracker(s)
    for _, level in ipairs{ "soft", "high", "critical" } do
      local p = s:pressure{ tracker = t, level = level }
      assert.are.equal(level, (select(2, t:pressure())))
      assert.is_true(p:close())
      assert.are.equal("normal", (select(2, t:pressure())))
    end
    assert.are.same({}, s:events("reclaim_start"))
  end))

  it("puts it under pressure up to a number, and lets go of it at the end", function()
    local p
    scenario(function(s)
      local t = tracker(s)
      p = s:pressure{ tracker = t, level = 0.7 }
      local value = t:pressure()
      assert.is_true(value >= 0.7 and value < 0.8)
      assert.is_true(p:held() > LOW)
    end)()
    assert.are.equal(0, p:held())
    assert.is_true(p:close())
  end)

  it("puts it under pressure by bytes, on an account", scenario(function(s)
    local t = tracker(s)
    local account = s:own(t:account{ name = "mine" })
    local p = s:pressure{ account = account, bytes = "256K" }
    assert.are.equal(256 << 10, p:held())
    assert.is_true(account:used() >= 256 << 10)
    p:add(1024):ease(512)
    assert.are.equal((256 << 10) + 512, p:held())
    p:close()
    assert.are.equal(0, t:used())
  end))

  it("lets others go first, and gives back when it is asked", scenario(function(s)
    local t = tracker(s)
    local other = holder(s, t, 5, 100 << 10)
    local p = s:pressure{ tracker = t, level = 1.2 }
    s:advance(1)
    assert.are.equal(1, other.asked)
    assert.are.equal(1, p.asked)
    assert.are.equal(0, p:held())
  end))

  it("may give back only the goal", scenario(function(s)
    local t = tracker(s)
    local p = s:pressure{ tracker = t, level = 1.1, partial = true }
    local before = p:held()
    s:advance(1)
    assert.is_true(p.asked >= 1)
    assert.is_true(p:held() > 0 and p:held() < before)
    assert.is_true(t:used() <= LOW)
  end))

  it("may be firm", scenario(function(s)
    local t = tracker(s)
    local p = s:pressure{ tracker = t, level = "soft", firm = true, age = 0 }
    local other = holder(s, t, 5, 300 << 10)
    s:advance(1)
    assert.are.equal(0, p.asked)
    assert.are.equal(1, other.asked)
  end))

  it("names wrong options", scenario(function(s)
    local t = tracker(s)
    assert.matches('spec_spec.lua:%d+: unknown option "levle" %(did you mean "level"%?%)',
      raised(function() s:pressure{ tracker = t, levle = "high" } end))
    assert.matches("spec_spec.lua:%d+: pressure takes exactly one of",
      raised(function() s:pressure{ tracker = t } end))
    assert.matches("spec_spec.lua:%d+: bad option level",
      raised(function() s:pressure{ tracker = t, level = "hihg" } end))
    assert.matches("spec_spec.lua:%d+: bad option bytes",
      raised(function() s:pressure{ tracker = t, bytes = -1 } end))
    assert.matches("spec_spec.lua:%d+: pressure needs the option tracker or account",
      raised(function() s:pressure{ bytes = 1 } end))
  end))
end)
