-- Vat scripts against recorded logs: our own in spec/data/vat, and, where they lie beside the
-- checkout, those recorded from another implementation.
local vat = require "lethe.vat"
local errors = require "spec.support.errors"
local logs = require "spec.support.vat_logs"
local program = require "spec.support.program"

local OURS <const>, THEIRS <const> = "spec/data/vat/", "../shared/data/vat/"

-- Scenarios are compared whole. Where single objects are collected, what Lua's collector did then
-- may leave other names in other states; what was said and answered is the same.
local function level_of(header, engine)
  if engine == "manual" then return "all" end
  return header.script:find("^S%d") and "state" or "answer"
end

local function check(folder, name, options)
  local path = ("%s/scripts/%s.jsonl"):format(folder, name)
  local header = logs.read(path)[1]
  local engine = options and options.engine or header.gc == "manual" and "manual" or "lua"
  local level = options and options.schedule and "answer" or level_of(header, engine)
  local log = assert(vat.run_script(path, options))
  local difference = logs.difference(logs.read(("%s/expected/%s.jsonl"):format(folder, name)), log,
    level)
  if difference then error(("%s: %s"):format(name, difference), 0) end
  return log
end

-- Scripts whose names differ in their endings alone, -base and -v1 ...: of one family.
local function families(folder)
  local list = {}
  for _, name in ipairs(logs.scripts(folder .. "scripts")) do
    local family = name:match("^(.*)%-base$") or name:match("^(.*)%-v%d+$")
    if family then
      list[family] = list[family] or {}
      table.insert(list[family], name)
    end
  end
  return list
end

local function describe_folder(folder)
  it("give the recorded logs, with the engine that each asks for", function()
    for _, name in ipairs(logs.scripts(folder .. "scripts")) do
      check(folder, name)
    end
  end)

  it("give them with the simulated collector too", function()
    for _, name in ipairs(logs.scripts(folder .. "scripts")) do
      check(folder, name, { engine = "manual" })
    end
  end)

  it("say and answer the same whatever Lua's collector does meanwhile", function()
    for i, name in ipairs(logs.scripts(folder .. "scripts")) do
      check(folder, name, { schedule = i })
    end
  end)

  it("of one family, different schedules of one script, give one transcript", function()
    local count = 0
    for family, names in pairs(families(folder)) do
      local transcripts = {}
      for i, name in ipairs(names) do
        transcripts[i] = logs.transcript(check(folder, name))
        if transcripts[i] ~= transcripts[1] then
          error(("%s and %s differ"):format(names[1], name), 0)
        end
      end
      assert(#names > 1, family)
      count = count + 1
    end
    assert.is_true(count > 0)
  end)
end

describe("vat scripts of our own", function()
  describe_folder(OURS)
end)

if logs.scripts(THEIRS .. "scripts")[1] then
  describe("vat scripts recorded elsewhere", function()
    describe_folder(THEIRS)
  end)
end

describe("vat.run_script", function()
  after_each(program.clean)

  local HEADER <const> = '{"script":"x","gc":"manual","tier":1,"firstExportId":20,'
    .. '"firstPromiseId":7}\n'

  local function run(text, options)
    return vat.run_script(program.file(text), options)
  end

  it("says what is wrong with a file", function()
    local log, message, code = vat.run_script("no/such/file.jsonl")
    assert.are.same({ nil, "cannot open no/such/file.jsonl", "not_found" }, { log, message, code })
    for text, expected in pairs{
      [""] = "the first line is no header",
      ["[1]\n"] = "the first line is no header",
      ['{"script":"x","gc":"often"}'] = 'the header\'s gc must be "manual" or "forced"',
      [HEADER .. "{"] = ":2: ",
      [HEADER .. "3\n"] = "operation 0: an operation expected",
      [HEADER .. '{"op":"gc"}\n{"op":"dance"}'] = 'operation 1: unknown operation "dance"',
    } do
      log, message, code = run(text)
      assert.are.same({ nil, "bad_format" }, { log, code })
      assert.matches(expected, message, 1, true)
    end
  end)

  it("wants what an operation cannot do without", function()
    for op, message in pairs{
      ['{"op":"deliver","args":["o-1"]}'] = "into must be a list",
      ['{"op":"deliver","into":["a"]}'] = "args must be a list",
      ['{"op":"drop","regs":"a"}'] = "regs must be a list",
      ['{"op":"make","into":"a"}'] = "fields must be a list",
      ['{"op":"setField","obj":"a","value":"b"}'] = "index must be a number",
      ['{"op":"getField","obj":"a","index":null,"into":"b"}'] = "index must be a number",
      ['{"op":"send","target":"a"}'] = "args must be a list",
      ['{"op":"call","value":"a"}'] = "result must be a string",
      ['{"op":"notify"}'] = "resolutions must be a list",
      ['{"op":"notify","resolutions":[1]}'] = "a resolution is an object",
      ['{"op":"notify","resolutions":[{"slots":[]}]}'] = "p must be a string",
      ['{"op":"notify","resolutions":[{"p":"p-1"}]}'] = "slots must be a list",
      ['{"op":"dropExports"}'] = "vrefs must be a list",
      ['{"op":"retireExports"}'] = "vrefs must be a list",
      ['{"op":"retireImports","vrefs":"o-1"}'] = "vrefs must be a list",
      ['{"op":"collect"}'] = "objs must be a list",
    } do
      local log, got, code = run(HEADER .. '{"op":"gc"}\n' .. op .. "\n")
      assert.are.same({ nil, "bad_format" }, { log, code })
      assert.matches("operation 1: " .. message, got, 1, true)
    end
  end)

  it("takes the options that there are", function()
    assert.are.equal('unknown option "engin" (did you mean "engine"?)',
      errors.at_its_line(function() vat.run_script("x", { engin = "lua" }) end))
    assert.are.equal('engine must be "lua" or "manual" (got mock)',
      errors.at_its_line(function() vat.run_script("x", { engine = "mock" }) end))
    assert.are.equal("schedule must be an integer (got 1.5)",
      errors.at_its_line(function() vat.run_script("x", { schedule = 1.5 }) end))
    assert.are.equal("bad argument #1 to 'run_script' (path expected, got nil)",
      errors.at_its_line(function() vat.run_script() end))
  end)

  it("numbers what the vat makes as the header says", function()
    local log = run(HEADER .. '{"op":"make","into":"x","fields":[]}\n'
      .. '{"op":"newPromise","into":"p"}\n{"op":"deliver","args":["o-1"],"into":["t"]}\n'
      .. '{"op":"send","target":"t","args":["x","p"]}\n')
    assert.are.same({ { "send", "o-1", "m", { "o+20", "p+7" }, "p+8" }, { "subscribe", "p+8" } },
      log[4].sys)
  end)

  it("lets go of what a retired name kept in a map whose end was not noticed yet", function()
    local log = run(HEADER .. '{"op":"newWeakMap","into":"w"}\n'
      .. '{"op":"deliver","args":["o-1","o-2"],"into":["k","v"]}\n'
      .. '{"op":"weakAdd","weak":"w","key":"k","value":"v"}\n'
      .. '{"op":"drop","regs":["k","v"]}\n{"op":"collect","objs":["o-1"]}\n'
      .. '{"op":"finalize","n":"all"}\n{"op":"bringOutYourDead"}\n'
      .. '{"op":"drop","regs":["w"]}\n{"op":"collect","objs":["w1"]}\n'
      .. '{"op":"collect","objs":["o-2"]}\n{"op":"retireImports","vrefs":["o-1"]}\n'
      .. '{"op":"gc"}\n{"op":"finalize","n":1,"pick":1}\n{"op":"bringOutYourDead"}\n')
    assert.are.same({ { "dropImports", { "o-1" } } }, log[7].sys)
    assert.are.same({ "w1" }, log[9].engine.collected)
    assert.are.same({}, log[10].engine.collected)
    assert.are.equal("REACHABLE/R", log[10].state.states["o-2"])
    assert.are.equal("UNREACHABLE/R", log[11].state.states["o-2"])
    assert.are.same({ "o-2" }, log[12].engine.collected)
    assert.are.same({ { "dropImports", { "o-2" } }, { "retireImports", { "o-2" } } }, log[14].sys)
    assert.is_nil(log[11].violations)
  end)

  it("goes on after an operation that the kernel may not do, and says so", function()
    local log = run(HEADER .. '{"op":"dropExports","vrefs":["o+20"]}\n{"op":"gc"}\n')
    assert.are.equal(2, #log)
    assert.matches("drop_exports: o%+20 is not held by the kernel", log[1].violations[1])
    assert.is_nil(log[2].violations)
  end)

  it("leaves the collector as it was", function()
    local mode = collectgarbage("generational")
    for _, schedule in ipairs{ 1, 2, 3 } do
      run(HEADER .. ('{"op":"gc"}\n'):rep(20), { schedule = schedule })
      assert.are.equal("generational", collectgarbage("generational"))
      assert.is_true(collectgarbage("isrunning"))
    end
    collectgarbage("stop")
    run(HEADER)
    assert.is_false(collectgarbage("isrunning"))
    collectgarbage("restart")
    collectgarbage(mode)
  end)
end)

describe("lethe vat", function()
  after_each(program.clean)

  it("prints the log, a JSON line for each operation", function()
    local out, _, code = program.run("lethe vat spec/data/vat/scripts/cascade.jsonl")
    local file <close> = assert(io.open("spec/data/vat/expected/cascade.jsonl"))
    assert.are.same({ file:read("a"), 0 }, { out, code })
  end)

  it("takes a seed for the collector, and an engine", function()
    local path <const> = "spec/data/vat/scripts/recognized.jsonl"
    local expected = logs.read("spec/data/vat/expected/recognized.jsonl")
    for _, option in ipairs{ "--schedule 5", "--schedule=-3", "--engine manual", "--engine lua" } do
      local out, err, code = program.run(("lethe vat %s %s"):format(path, option))
      assert.are.same({ "", 0 }, { err, code })
      local got = {}
      for line in out:gmatch("[^\n]+") do
        got[#got + 1] = require("lethe.json").decode(line)
      end
      assert.is_nil(logs.difference(expected, got, "answer"))
    end
  end)

  it("says what is wrong with its arguments, and with the script", function()
    for arguments, expected in pairs{
      [""] = { "vat takes one script", 2 }, ["a b"] = { "vat takes one script", 2 },
      ["--schedule x a"] = { 'bad value "x" of option "--schedule" (an integer expected)', 2 },
      ["--engine x a"] = { "(lua or manual expected)", 2 },
      ["no.jsonl"] = { "lethe vat: cannot open no.jsonl", 1 },
      ["spec"] = { "lethe vat: spec: Is a directory", 1 },
      ["--html no/dir/out spec/data/vat/scripts/devices.jsonl"] = { "no/dir/out", 1 },
    } do
      local out, err, code = program.run("lethe vat " .. arguments)
      assert.are.same({ "", expected[2] }, { out, code })
      assert.matches(expected[1], err, 1, true)
    end
    assert.matches("^usage: lethe vat", (program.run("lethe vat --help")))
  end)
end)
