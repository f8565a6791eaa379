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
    assert.matches("\n  release +0%.8  0%.7 %.%. 0%.9 +<= 0%.7 +SHORT\n", text)
    assert.matches("\n  rate +0%.96 +>= 0%.95\n", text)
    assert.matches("\n  bytes +1%.235e%+06  1 %.%. 2\n", text)
    assert.matches("^quota%.c\n  claim [^\n]*\n  release [^\n]*\nlua_x%.lua\n", text)
    assert.matches("\n5 figures, 4 with a target, 2 of them short; 5 rounds thrown away\n$", text)
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
    assert.matches("^of rounds +3%.000 +<= 2  missed\nalone", (out:gsub("\n +", "\n")))
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
