-- The table that `make bench` makes of its figures. What is measured is no matter of tests; what is
-- said of it is.
local figures = require "spec.bench.harness.table"
local json = require "lethe.json"
local program = require "spec.support.program"

local LINES <const> = "quota.c\tclaim\t0.5\t0.4\t0.75\t21\t<=\t0.7\t0\n"
  .. "quota.c\trelease\t0.8\t0.7\t0.9\t21\t<=\t0.7\t3\n"
  .. "lua_x.lua\trate\t0.96\t0.96\t0.96\t1\t>=\t0.95\t0\n"
  .. "lua_x.lua\tlow\t0.9\t0.9\t0.9\t1\t>=\t0.95\t2\n"
  .. "lua_x.lua\tbytes\t1234567\t1\t2\t5\t-\t0\t0\n"

describe("the table of figures", function()
  after_each(program.clean)

  it("marks what falls short of its target, in either direction", function()
    local list = figures.read(LINES)
    local reached = {}
    for i, figure in ipairs(list) do reached[i] = tostring(figure.reached) end
    assert.are.same({ "true", "false", "true", "false", "nil" }, reached)
    assert.are.same({ 5, 4, 2, 5 }, { figures.sums(list) })
    local text = figures.text(list)
    assert.matches("\n  release +0%.8  0%.7 %.%. 0%.9 +<= 0%.7 +SHORT 3 thrown away\n", text)
    assert.matches("\n  rate +0%.96 +>= 0%.95\n", text)
    assert.matches("\n  low +0%.9 +>= 0%.95 +SHORT 2 thrown away\n", text)
    assert.matches("\n  bytes +1%.235e%+06  1 %.%. 2\n", text)
    assert.matches("^quota%.c\n  claim [^\n]*\n  release [^\n]*\nlua_x%.lua\n", text)
    assert.matches("\n5 figures, 4 with a target, 2 of them short; 5 rounds thrown away\n$", text)
  end)

  it("shows what had no calm round as not measured, and short of its target", function()
    local list = figures.read("x\ttwo\t0\t0\t0\t0\t>=\t0.9\t75\nx\tone\t0\t0\t0\t0\t-\t0\t75\n")
    assert.are.same({ 2, 1, 1, 150 }, { figures.sums(list) })
    local text = figures.text(list)
    assert.matches("\n  two +not calm +>= 0%.9 +SHORT 75 thrown away\n", text)
    assert.matches("\n  one +not calm +75 thrown away\n", text)
  end)

  it("is JSON as well", function()
    local read = assert(json.decode(figures.json(figures.read(LINES))))
    assert.are.same({ 4, 2, 5, 5 }, { read.with_target, read.short, read.thrown_away,
      #read.figures })
    assert.are.same({
      bench = "quota.c", name = "release", median = 0.8, least = 0.7, most = 0.9, rounds = 21,
      relation = "<=", target = 0.7, thrown_away = 3, reached = false,
    }, read.figures[2])
    assert.is_nil(read.figures[5].target)
    assert.are.equal(0, #json.decode(figures.json{}).figures)
  end)

  it("refuses lines that are no figures", function()
    for _, bad in ipairs{ "x", "a\tb\t1\t1\t1\t1\t<=\t1", "a\tb\tone\t1\t1\t1\t<=\t1\t0",
      "a\tb\t1\t1\t1\t1\t==\t1\t0", "a\tb\t1\t1\t1\t1\t<=\t1\t0\t0" } do
      local ok, message = pcall(figures.read, LINES .. bad)
      assert.is_false(ok)
      assert.matches("^figures, line 6: no ", message)
    end
  end)

  it("has rounds between two runs of a bare pair alone, and counts the others", function()
    local bench = program.file[[
      package.path = "./?.lua;" .. package.path
      local cli = require "lethe.core.cli"
      local now = cli.now
      local step, clock = tonumber(arg[1]), 0
      cli.now = function() -- each run of the pair seems to take longer, or as long
        clock = clock * step + 1
        return clock
      end
      local figures = require "spec.bench.harness.figures"
      figures.pair_counts = 1000
      local ran = 0
      local as, bs = figures.calm_rounds(3, 2, function(i)
        ran = ran + 1
        return 6 * i, 2
      end)
      figures.close()
      cli.now = now
      print(#as, #bs, ran)
      figures.report("of calm rounds", figures.ratio(as, bs), "<=", 6)
      figures.report("of both, less a loop", figures.over(function(a, b) return a - b end, as, bs))
    ]]
    local path = program.file()
    local function run(step)
      local out, err, code = program.run(
        ("env LETHE_WORK=1 LETHE_BENCH=b LETHE_FIGURES=%s lethe %s %s"):format(path, bench, step))
      assert.are.same({ "", 0 }, { err, code })
      return out
    end
    assert.matches("^3\t3\t3\nof calm rounds +6%.000 +<= 6  reached  %(3 %.%. 9%)\n"
      .. "of both, less a loop +10%.000 +%-  %(4 %.%. 16%)\n$", run(1))
    assert.matches("^0\t0\t15\nof calm rounds +no calm round +<= 6  missed  %(15 thrown away%)\n"
      .. "of both, less a loop +no calm round +%-\n$", run(2))
    local list = figures.read(program.read(path))
    assert.are.same({ 6, 3, 9, 3, 0 }, { list[1].median, list[1].least, list[1].most,
      list[1].rounds, list[1].thrown_away })
    assert.are.same({ 0, 0, 15, false }, { list[3].median, list[3].rounds, list[3].thrown_away,
      list[3].reached })
    assert.are.same({ 0, 0 }, { list[4].rounds, list[4].thrown_away })
  end)

  it("is written by benches, and read from there", function()
    local bench = program.file[[
      package.path = "./?.lua;" .. package.path
      local figures = require "spec.bench.harness.figures"
      local list = { 5, 1, 3 }
      figures.report("of rounds", figures.median(list), "<=", 2)
      assert(list[1] == 5)
      figures.report("  alone", 7, "<=", nil, "ns")
    ]]
    local path = program.file()
    local out, err, code = program.run(
      ("env LETHE_BENCH=b LETHE_FIGURES=%s lethe %s"):format(path, bench))
    assert.are.same({ "", 0 }, { err, code })
    assert.matches("^of rounds +3%.000 +<= 2  missed  %(1 %.%. 5%)\nalone",
      (out:gsub("\n +", "\n")))
    local list = figures.read(program.read(path))
    assert.are.same({ "b", "of rounds", 3, 1, 5, 3, "<=", 2, false }, { list[1].bench, list[1].name,
      list[1].median, list[1].least, list[1].most, list[1].rounds, list[1].relation, list[1].target,
      list[1].reached })
    assert.are.same({ "alone", 7, 7, 7, 1 }, { list[2].name, list[2].median, list[2].least,
      list[2].most, list[2].rounds })
    local table_of = program.file()
    out, err, code = program.run(("lethe spec/tools/figures.lua %s %s"):format(path, table_of))
    assert.are.same({ "", 0 }, { err, code })
    assert.are.equal(figures.text(list), out)
    assert.are.equal(out, program.read(table_of .. ".txt"))
    assert.are.equal(figures.json(list), program.read(table_of .. ".json"))
    os.remove(table_of .. ".txt")
    os.remove(table_of .. ".json")
  end)
end)
