-- Traces from Lua: the formats, what is refused and where, made-up ones, saving, other states.

local program = require "spec.support.program"
local sim = require "lethe.sim"
local worker = require "lethe.worker"

local file = program.file
local SMALL <const> = "spec/data/sqlite.oracleGeneral.bin"

local function record(time, id, size, next)
  return string.pack("<I4 I8 I4 i8", time, id, size, next)
end

-- All requests as text.
local function shown(trace)
  local parts = {}
  for time, id, size, next, cost in trace:requests() do
    parts[#parts + 1] = ("%g:%d:%d:%d:%g"):format(time, id, size, next, cost)
  end
  return table.concat(parts, " ")
end

local function opened(text, options)
  local trace <close> = assert(sim.open(file(text), options))
  assert.are.equal(trace:len(), #trace)
  return shown(trace), trace:stats().format
end

describe("sim.open", function()
  after_each(program.clean)

  it("reads a trace of the repository", function()
    local trace <close> = assert(sim.open(SMALL))
    assert.are.equal("sim.Trace", require("lethe").type(trace))
    assert.are.same({ requests = 6689, objects = 1533, bytes = 6279168, requested = 27398144,
      skipped = 0, format = "oraclegeneral" }, trace:stats())
    assert.are.same({ 6689, 1533, 6279168 }, { trace:len(), trace:objects(), trace:bytes() })
  end)

  it("knows a format by what is in the file", function()
    local times <const> = "1:5:10:3:1 2:6:20:-1:1 3:5:10:-1:1"
    local oracle <const> = record(1, 5, 10, 3) .. record(2, 6, 20, -1) .. record(3, 5, 10, -1)
    assert.are.same({ times, "oraclegeneral" }, { opened(oracle) })
    assert.are.same({ times, "csv" }, { opened "time,id,size\n1,5,10\n2,6,20\n3,5,10\n" })
    assert.are.same({ times, "csv" }, { opened "1\t5\t10\r\n2\t6\t20\r\n3\t5\t10" })
    assert.are.same({ "0:5:1:3:1 1:6:1:-1:1 2:5:1:-1:1", "plain" }, { opened "5\n6\n5\n" })
    local scsi = string.pack("<I4I4I4I2I2I8I8", 1, 512, 1, 40, 0x100, 5, 1500000)
    assert.are.same({ "1.5:5:512:-1:1", "vscsi" }, { opened(scsi) })
  end)

  it("takes columns by name or number, a cost among them", function()
    local text <const> = "bytes|key|seconds|price\n10|a|0.5|2\n20|b|1.5|0.25\n"
    local by_name = opened(text, { columns = { id = "key", size = "bytes", time = "seconds",
      cost = "price" } })
    assert.are.equal(by_name, (opened(text, { format = "csv", columns = { id = 2, size = 1,
      time = 3, cost = 4 } })))
    assert.matches("^0.5:%-?%d+:10:%-1:2 1.5:%-?%d+:20:%-1:0.25$", by_name)
  end)

  it("hashes ids that are no numbers, the same in every format", function()
    local a <const> = opened("a\nb\na\n", { format = "plain" })
    local first <const> = a:match("^0:(%-?%d+):1:3")
    local b <const> = opened("x,a\n", { columns = { id = 2 } })
    assert.are.equal(first, b:match("^0:(%-?%d+):"))
  end)

  it("finds what comes next where nobody says it", function()
    local unknown <const> = record(1, 5, 10, 0) .. record(2, 6, 20, 0) .. record(3, 5, 10, 0)
    assert.are.equal("1:5:10:3:1 2:6:20:-1:1 3:5:10:-1:1", (opened(unknown)))
    assert.are.equal("1:5:10:3:1 2:6:20:-1:1 3:5:10:-1:1",
      (opened(unknown, { format = "recorded" })))
  end)

  it("finds it too where a file says of what comes again that it never does", function()
    local none <const> = record(1, 5, 10, -1) .. record(2, 6, 20, -1) .. record(3, 5, 10, -1)
    assert.are.equal("1:5:10:3:1 2:6:20:-1:1 3:5:10:-1:1", (opened(none)))
    local part <const> = record(1, 5, 10, 3) .. record(2, 6, 20, 9) .. record(3, 5, 10, -1)
    assert.are.equal("1:5:10:3:1 2:6:20:9:1 3:5:10:-1:1", (opened(part)))
    local text <const> = {}
    for i = 1, 60 do
      text[i] = record(i, i % 3, 1, -1)
    end
    local trace <close> = assert(sim.open(file(table.concat(text))))
    local results <const> = sim.run{ trace = trace, policies = { "belady", "lru" }, sizes = { 2 } }
    assert.is_true(results[1].misses < results[2].misses)
  end)

  it("skips records of size 0", function()
    local trace <close> = assert(sim.open(file(record(1, 5, 0, 3) .. record(2, 6, 20, -1)
      .. record(3, 5, 10, -1))))
    assert.are.same({ 2, 2, 30, 1 }, { trace:len(), trace:objects(), trace:bytes(),
      trace:stats().skipped })
  end)

  it("counts an object's size as it came first", function()
    local trace <close> = assert(sim.open(file "1,7,100\n2,7,300\n3,8,50\n"))
    assert.are.same({ 150, 450 }, { trace:bytes(), trace:stats().requested })
  end)

  it("says where a file is cut off, or is something else", function()
    local function refused(text, says, options)
      local trace, message, code = sim.open(file(text), options)
      assert.are.same({ nil, "bad_format" }, { trace, code })
      assert.matches(says, message, 1, true)
    end
    refused(record(1, 5, 10, -1) .. ("x"):rep(7), "byte 24: cut off: 7 bytes are left")
    refused(record(1, 5, 10, -1) .. record(1, 5, 10, 1), "byte 40: no oracleGeneral trace")
    refused("This is a letter, and no trace.\n", "byte 0")
    refused("a letter\n", "line 1, byte 0")
    refused("{\"id\": 1}\n", "line 1, byte 0")
    refused("\127ELF\2\1\1" .. ("\0"):rep(9) .. "\62\0\3\0\1\0\0\255", "byte 16")
    refused("1,2,3\n4,x,y\n", "line 2, byte 10: a size expected (got \"y\")", { format = "csv" })
    refused("1,2,3\n", "byte 0: cut off", { format = "oraclegeneral" })
    refused(("7"):rep(40), "version 55", { format = "vscsi" })
    refused("1,2,3\n", 'unknown format "cvs" (did you mean "csv"?)', { format = "cvs" })
    refused("1,2,3\n", 'unknown format ""', { format = "" })
    refused("id;size\n1;2\n", 'no column "ids" (did you mean "id"?)', { columns = { id = "ids" } })
  end)

  it("says what is not there", function()
    local trace, message, code = sim.open("/no/such/trace")
    assert.are.same({ nil, "/no/such/trace: there is no such file", "not_found" },
      { trace, message, code })
    assert.are.same({ nil, "bad_format" }, { sim.open("spec"), select(3, sim.open("spec")) })
  end)

  it("opens an empty file, as a trace of no requests", function()
    local trace <close> = assert(sim.open(file ""))
    local rows = sim.run{ trace = trace, policies = { "lru" }, sizes = { 0.5, 10 } }
    assert.are.same({ 0, 0, 0, 0 }, { trace:len(), rows[1].misses, rows[1].miss_ratio,
      rows[2].byte_miss_ratio })
  end)

  it("raises for what cannot be meant", function()
    local function fails(message, ...)
      local args <const> = table.pack(...)
      local ok, why = pcall(function() sim.open(table.unpack(args, 1, args.n)) end)
      assert.is_false(ok)
      assert.matches("sim_trace_spec.lua:%d+: ", why)
      assert.matches(message, why, 1, true)
    end
    fails("bad argument #1 to 'open' (string expected, got nil)")
    fails('unknown option "formt" (did you mean "format"?)', SMALL, { formt = "csv" })
    fails("format must be a string (got number)", SMALL, { format = 1 })
    fails('unknown option "sise" (did you mean "size"?)', SMALL, { columns = { sise = 1, id = 2 } })
    fails("columns.id must be a column's name or number", SMALL, { columns = { id = 0 } })
    fails("columns needs an id", SMALL, { columns = { size = 1 } })
    fails("columns are for csv", SMALL, { format = "plain", columns = { id = 1 } })
  end)
end)

describe("a trace", function()
  after_each(program.clean)

  it("is the same after it was saved", function()
    local trace <close> = assert(sim.open(SMALL))
    local path <const> = file()
    assert.is_true(trace:save(path))
    assert.are.equal(program.read(SMALL), program.read(path))
    local made <close> = assert(sim.synthetic{ kind = "mixed", objects = 50, requests = 700,
      size = { 1, 9 } })
    assert.is_true(made:save(path))
    local again <close> = assert(sim.open(path))
    assert.are.equal(shown(made), shown(again))
    assert.are.same({ nil, "unwritable" }, { trace:save("/no/such/place"),
      select(3, trace:save("/no/such/place")) })
  end)

  it("goes to workers", function()
    local trace <close> = assert(sim.open(SMALL))
    local w = worker.spawn(function(t)
      local sum = 0
      for _, _, size in t:requests() do
        sum = sum + size
      end
      return t:len(), sum, #t
    end, trace)
    assert.are.same({ trace:len(), trace:stats().requested, trace:len() }, { w:join() })
    w:close()
  end)

  it("is walked by several at once, and by none once it is closed", function()
    local trace = assert(sim.synthetic{ kind = "loop", objects = 3, requests = 3000 })
    local a, b = trace:requests(), trace:requests()
    a()
    assert.are.same({ 0.0, 1, 1 }, { table.unpack({ b() }, 1, 3) })
    assert.are.same({ 0.0, 2, 1 }, { table.unpack({ a() }, 1, 3) })
    assert.matches("^lethe.sim.Trace: ", tostring(trace))
    assert.is_true(trace:close())
    assert.is_true(trace:close())
    assert.are.equal("lethe.sim.Trace (closed)", tostring(trace))
    for _, method in ipairs{ "len", "objects", "bytes", "stats", "requests", "save" } do
      assert.has_error(function() trace[method](trace, "x") end)
    end
    local ok, message = pcall(function()
      for _ = 1, 3000 do a() end
    end)
    assert.is_false(ok)
    assert.matches("^[^ ]+: attempt to use a closed lethe%.sim%.Trace$", message)
  end)
end)

describe("sim.synthetic", function()
  after_each(program.clean)

  it("gives the same bytes for the same seed, 1 unless told", function()
    local function bytes(options)
      local trace <close> = assert(sim.synthetic(options))
      local path <const> = file()
      assert(trace:save(path))
      return program.read(path)
    end
    for _, kind in ipairs{ "zipf", "scan", "loop", "mixed" } do
      local function with(seed)
        return bytes{ kind = kind, objects = 300, requests = 2000, seed = seed }
      end
      assert.are.equal(2000 * 24, #with(1))
      assert.is_true(with(1) == with(nil))
      assert.are.equal(kind == "loop", with(1) == with(2))
    end
  end)

  it("makes loops that lru never hits, and fits whole caches", function()
    local trace <close> = assert(sim.synthetic{ kind = "loop", objects = 100, requests = 1000 })
    local rows = sim.run{ trace = trace, policies = { "lru", "belady" }, sizes = { 99, 100 } }
    assert.are.same({ 1000, 100 }, { rows[1].misses, rows[2].misses })
    assert.is_true(rows[3].misses < 300)
    assert.are.equal(100, trace:objects())
  end)

  it("draws popular objects more often, the more so the larger alpha is", function()
    local function most(alpha)
      local trace <close> = assert(sim.synthetic{ kind = "zipf", objects = 1000, requests = 10000,
        alpha = alpha })
      local count = 0
      for _, id in trace:requests() do
        if id == 1 then count = count + 1 end
      end
      return count
    end
    assert.is_true(most(0) < 40 and most(1) > 1000 and most(1) < 1700 and most(2) > 5000)
  end)

  it("refuses what makes no trace", function()
    local function fails(options, message)
      local ok, why = pcall(function() sim.synthetic(options) end)
      assert.is_false(ok)
      assert.matches("sim_trace_spec.lua:%d+: ", why)
      assert.matches(message, why, 1, true)
    end
    fails({}, 'kind must be one of "zipf", "scan", "loop", "mixed"')
    fails({ kind = "ziff" }, 'unknown kind "ziff" (did you mean "zipf"?)')
    fails({ kind = "zipf", object = 3 }, 'did you mean "objects"?')
    fails({ kind = "zipf", objects = 0 }, "objects must be an integer from 1")
    fails({ kind = "zipf", requests = -1 }, "requests must be an integer from 0")
    fails({ kind = "zipf", alpha = -1 }, "alpha must be a number from 0 to 8")
    fails({ kind = "zipf", alpha = 0 / 0 }, "alpha must be a number from 0 to 8")
    fails({ kind = "zipf", seed = 1.5 }, "seed must be an integer")
    fails({ kind = "zipf", size = { 3, 2 } }, "size must be an integer above 0")
  end)
end)
