-- `lethe sim`, `lethe check` and `lethe record`, as a user meets them.

local program = require "spec.support.program"
local sim = require "lethe.sim"

local run, file, directory = program.run, program.file, program.directory
local SMALL <const> = "spec/data/sqlite.oracleGeneral.bin"

describe("lethe sim", function()
  after_each(program.clean)

  it("prints a row for each policy and size", function()
    local out, err, code = run(("lethe sim %s --policy lru,belady --size 0.1,50 --unit")
      :format(SMALL))
    assert.are.same({ "", 0 }, { err, code })
    local trace <close> = assert(sim.open(SMALL))
    local lines = {}
    for line in out:gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
    assert.are.equal(5, #lines)
    assert.matches("^policy%s+size%s+capacity%s+misses", lines[1])
    local rows <const> = sim.run{ trace = trace, policies = { "lru", "belady" },
      sizes = { 0.1, 50 }, unit = true }
    for i, row in ipairs(rows) do
      assert.matches(("^%s%%s+%s%%s+%d%%s+%d%%s+%.4f%%s+%.4f%%s"):format(row.policy, row.size,
        row.capacity, row.misses, row.miss_ratio, row.byte_miss_ratio), lines[i + 1])
    end
  end)

  it("takes files, units, fractions and percentages", function()
    local dir <const> = directory()
    assert(os.execute(("echo 'return { name = \"mine\", score = \"freq\" }' > %s/a.lua && "
      .. "echo 'return { score = \"freq\" }' > %s/b.lua"):format(dir, dir)))
    local out, _, code = run(("lethe sim -p %s/a.lua -p %s/b.lua -s 64K -s 10%%,0.5 -j 1 %s")
      :format(dir, dir, SMALL))
    assert.are.equal(0, code)
    assert.matches("\nmine%s+64K%s+65536 ", out)
    assert.matches("\nmine%s+0.1%s+627916 ", out)
    assert.matches("\nb.lua%s+0.5%s+3139584 ", out)
  end)

  it("tries all that is built in at eight sizes, where nothing is said", function()
    local csv <const> = file()
    local _, _, code = run(("lethe sim %s --csv %s"):format(SMALL, csv))
    assert.are.equal(0, code)
    assert.are.equal(1 + 14 * 8, select(2, program.read(csv):gsub("\r\n", "")))
  end)

  it("writes CSV and a page beside it", function()
    local csv, html = file(), file()
    local _, err, code = run(("lethe sim %s -p lru -s 0.1 --csv %s --html=%s"):format(SMALL, csv,
      html))
    assert.are.same({ "", 0 }, { err, code })
    assert.matches("^policy,size,capacity,.*\r\nlru,0.1,627916,", program.read(csv))
    assert.matches("<h1>sqlite.oracleGeneral.bin</h1>", program.read(html), 1, true)
    _, err, code = run(("lethe sim %s -p lru -s 0.1 --html /no/such"):format(SMALL))
    assert.are.equal(1, code)
    assert.matches("lethe sim: /no/such", err, 1, true)
  end)

  it("reads CSV by its columns", function()
    local path <const> = file "bytes;key\n10;a\n20;b\n10;a\n"
    local out, _, code = run(("lethe sim --columns id=key,size=1 -u -p lru -s 2 %s"):format(path))
    assert.are.equal(0, code)
    assert.matches("\nlru%s+2%s+2%s+2 ", out)
  end)

  it("goes on past a policy that fails, and says so", function()
    local bad <const> = file "return { score = function() error('no', 0) end }"
    os.rename(bad, bad .. ".lua")
    local out, _, code = run(("lethe sim %s -p %s.lua,lru -s 0.1"):format(SMALL, bad))
    local _, _, all = run(("lethe sim %s -p %s.lua -s 0.1"):format(SMALL, bad))
    os.remove(bad .. ".lua")
    assert.are.same({ 0, 1 }, { code, all })
    assert.matches("%s627916 failed: score: no\n", out)
    assert.matches("\nlru%s+0.1", out)
  end)

  it("refuses what it does not know", function()
    local function refused(arguments, says, wanted)
      local out, err, code = run("lethe sim " .. arguments)
      assert.are.same({ "", wanted or 2 }, { out, code })
      assert.matches(says, err, 1, true)
    end
    refused("", "sim takes one trace")
    refused(SMALL .. " " .. SMALL, "sim takes one trace")
    refused(SMALL .. " --policy lur", 'unknown policy "lur" (did you mean "lru"?)')
    refused(SMALL .. " --polcy lru", 'unknown option "--polcy" (did you mean "--policy"?)')
    refused(SMALL .. " --size 1.5", "got 1.5")
    refused(SMALL .. " --size much", "much")
    refused(SMALL .. " --jobs none", "a number from 1 expected")
    refused(SMALL .. " --format cvs", 'did you mean "csv"?')
    refused(SMALL .. " --columns 7", "bad column")
    refused("/no/such", "/no/such: there is no such file", 1)
    refused(file "prose, and more of it\n", "byte 0", 1)
  end)

  it("has a bar on a terminal only, and never with NO_COLOR", function()
    local command <const> = ("lethe sim %s -p lru,fifo -s 0.1"):format(SMALL)
    local bar <const> = "\r████████████████████████████████████████ 2/2"
    assert.matches(bar, program.terminal("env -u NO_COLOR TERM=xterm " .. command), 1, true)
    assert.is_nil(program.terminal("NO_COLOR=1 TERM=xterm " .. command):find("█", 1, true))
    assert.is_nil(program.terminal("env -u NO_COLOR TERM=dumb " .. command):find("█", 1, true))
    local out, err = run("env -u NO_COLOR TERM=xterm " .. command)
    assert.is_nil((out .. err):find("█", 1, true))
  end)
end)

describe("lethe check", function()
  after_each(program.clean)

  it("has nothing to say against a policy that serves", function()
    local a <const>, b <const> = file "return { score = 'freq' }",
      file "return function(c) return c.used end"
    local out, err, code = run(("lethe check %s %s"):format(a, b))
    assert.are.same({ ("%s: fine\n%s: fine\n"):format(a, b), "", 0 }, { out, err, code })
  end)

  it("names problems, and where they are", function()
    local function found(text, says)
      local path <const> = file(text)
      local out, _, code = run("lethe check " .. path)
      assert.are.equal(1, code)
      assert.are.equal(path .. ":", out:sub(1, #path + 1))
      assert.matches(says, out, 1, true)
    end
    found("return {\n  score = 'freq +' }", "column 7")
    found("return { scroe = 'freq' }", 'unknown option "scroe" (did you mean "score"?)')
    found("return {\n score = function(freq)\n return freq + nothing end }", ":3: ")
    found("return {\n\n", ":3: ")
    found("return 7", "a function or a table")
    found("return { budget = 10000, score = function() while true do end end }", "budget")
  end)

  it("wants files", function()
    assert.are.equal(2, (select(3, run "lethe check")))
    assert.are.equal(2, (select(3, run "lethe check --deep")))
    local out, _, code = run "lethe check /no/such.lua"
    assert.are.equal(1, code)
    assert.matches("cannot read", out, 1, true)
  end)
end)

describe("lethe record", function()
  after_each(program.clean)

  local CACHES <const> = [[
    local lethe = require "lethe"
    local a = lethe.cache.new{ limit = 5, backend = { load = function(_, k) return k end } }
    local b = lethe.cache.new{ limit = 5, backend = { load = function(_, k) return k end } }
    for i = 1, 20 do a:get(i % 7) b:get(i % 7) end
    local tracker = lethe.quota.new{ max = "1M" }
    local p = tracker:account{}:participant{ get_oldest = function() end,
      reclaim = function() end }
    p:claim(4096)
    print(a:stats().misses, ...)
  ]]

  it("writes what caches and trackers see, for lethe sim", function()
    local script, path = file(CACHES), file()
    local out, err, code = run(("lethe record %s -o %s one two"):format(script, path))
    assert.are.same({ "20\tone\ttwo\n", path .. ": 41 requests\n", 0 }, { out, err, code })
    local trace <close> = assert(sim.open(path))
    assert.are.same({ 41, 15 }, { #trace, trace:objects() })
    assert.matches("\nlru%s+20%s+20%s+15 ",
      (run(("lethe sim %s -p lru -s 20 -u"):format(path))))
  end)

  it("ends as the script ends, and the trace is whole", function()
    local function ends(text, wanted, requests)
      local path <const> = file()
      local _, err, code = run(("lethe record -o %s %s"):format(path, file(CACHES .. text)))
      assert.are.equal(wanted, code)
      local trace <close> = assert(sim.open(path))
      local next = select(4, trace:requests()())
      assert.are.same({ requests or 41, 15 }, { #trace, next })
      return err
    end
    assert.matches("oh no", ends("error 'oh no'", 1), 1, true)
    ends("os.exit(7)", 7)
    ends("os.exit(true, true)", 0)
    ends([[require("lethe.loop").default():spawn(function()
      require("lethe.loop").default():sleep(0.001)
      a:get(1)
    end)]], 0, 42)
  end)

  it("wants a script and a file", function()
    local _, err, code = run "lethe record"
    assert.are.equal(2, code)
    assert.matches("record takes a script and -o TRACE", err, 1, true)
    assert.are.equal(2, (select(3, run "lethe record --out x y.lua")))
    assert.are.equal(1, (select(3, run(("lethe record %s -o /no/such/place"):format(file "")))))
    assert.are.equal(1, (select(3, run(("lethe record /no/such.lua -o %s"):format(file())))))
  end)
end)
