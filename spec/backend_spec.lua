-- Backends without a cache: files on the thread pool, memory, and one that makes another fail.
-- Redis is in backend_redis_spec.lua, what a crash leaves in cache_crash_spec.lua.
local errors = require "spec.support.errors"
local backend = require "lethe.backend"
local lethe = require "lethe"
local loop = require "lethe.loop"
local program = require "spec.support.program"

local at_its_line, code_of = errors.at_its_line, errors.code_of

local BLOCK <const> = 64

local function filled(c)
  return c:rep(BLOCK)
end

-- All of them as tasks at once, and what each returned.
local function at_once(list)
  local results, tasks = {}, {}
  for i, fn in ipairs(list) do
    tasks[i] = loop.default():spawn(fn)
  end
  for i, task in ipairs(tasks) do
    results[i] = table.pack(task:join())
  end
  return results
end

describe("backend.file", function()
  local path

  before_each(function() path = program.file() end)
  after_each(program.clean)

  local function open(options)
    options = options or {}
    options.path = options.path or path
    options.block = options.block or BLOCK
    return backend.file(options)
  end

  it("is a field of lethe, and makes objects with a type", function()
    local f <close> = open()
    assert.are.equal(backend, lethe.backend)
    assert.are.equal("backend.File", lethe.type(f))
    assert.matches("^lethe.backend.File: ", tostring(f))
  end)

  it("keeps what was flushed, also for another that opens the file", function()
    local f = open()
    assert.is_true(f:flush(3, filled("c")))
    assert.is_true(f:barrier())
    assert.are.equal(filled("c"), f:load(3))
    assert.is_true(f:close())
    assert.is_true(f:close())
    local again <close> = open()
    assert.are.equal(filled("c"), again:load(3))
    assert.are.equal(filled("\0"), again:load(0))
    assert.are.equal(4 * BLOCK, #program.read(path))
  end)

  it("finds nothing past the end, and zeros where the end cuts a block off", function()
    local file <close> = assert(io.open(path, "wb"))
    file:write(("x"):rep(BLOCK + 10))
    file:close()
    local f <close> = open()
    assert.are.equal("x", f:load(0):sub(-1))
    assert.are.equal(("x"):rep(10) .. ("\0"):rep(BLOCK - 10), f:load(1))
    assert.are.equal(1, select("#", f:load(2)))
    assert.is_nil(f:load(2))
    assert.is_nil(f:load(1 << 40))
  end)

  it("answers not_found without the file, unless it may create it", function()
    local missing = path .. ".missing"
    local f, message, code = open{ path = missing }
    assert.is_nil(f)
    assert.are.equal("not_found", code)
    assert.matches(missing, message, 1, true)
    local made <close> = open{ path = missing, create = true }
    assert.is_true(made:flush(0, filled("m")))
    assert.is_true(made:barrier())
    assert.are.equal(filled("m"), program.read(missing))
    os.remove(missing)
    assert.are.equal("not_found", code_of(open{ path = path .. "/below", create = true }))
    assert.are.equal("not_found", code_of(open{ path = missing .. "/below", create = true }))
  end)

  it("answers unwritable for what is no file of blocks", function()
    local folder = program.directory()
    assert.are.equal("unwritable", code_of(open{ path = folder }))
    assert.are.equal("unwritable", code_of(open{ path = folder, create = true }))
    assert.are.equal("unwritable", code_of(open{ path = "/dev/null" }))
  end)

  it("refuses what makes no sense, at the line of the mistake", function()
    local f <close> = open()
    local cases = {
      { function() backend.file{ pth = path } end, 'unknown option "pth" (did you mean "path"?)' },
      { function() backend.file{} end, "path must be the name of a file" },
      { function() backend.file{ path = 1 } end, "path must be a string (got number)" },
      { function() backend.file{ path = path, block = 0 } end,
        "block must be from 1 byte to 1G (got 0)" },
      { function() backend.file{ path = path, block = "2G" } end,
        "block must be from 1 byte to 1G (got 2147483648)" },
      { function() backend.file{ path = path, queue = 0 } end,
        "queue must be a positive integer (got 0)" },
      { function() f:load("x") end,
        "bad argument #1 to 'load' (the number of a block expected, got string)" },
      { function() f:load(-1) end,
        "bad argument #1 to 'load' (the number of a block expected, got -1)" },
      { function() f:load(1.5) end,
        "bad argument #1 to 'load' (the number of a block expected, got 1.5)" },
      { function() f:flush(1, 7) end,
        "bad argument #2 to 'flush' (a string expected, got number)" },
      { function() f.load({}, 1) end,
        "calling 'load' on bad self (lethe.backend.File expected, got table)" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]))
    end
  end)

  it("takes sizes with units, and a block of another length is a failure", function()
    local f <close> = open{ block = "1K" }
    assert.is_true(f:flush(2.0, ("k"):rep(1024)))
    local ok, message, code = f:flush(2, "short")
    assert.is_nil(ok)
    assert.are.equal("block 2 must be a string of 1024 bytes (got 5)", message)
    assert.are.equal("invalid", code)
    assert.are.equal(("k"):rep(1024), f:load(2))
    assert.are.equal("invalid", code_of(f:load(math.maxinteger)))
  end)

  it("raises for a closed one, and ends by itself what was under way", function()
    local f = open()
    local results = at_once{
      function() return f:flush(0, filled("z")) end,
      function() f:close() end,
    }
    assert.is_true(results[1][1])
    assert.are.equal("attempt to use a closed lethe.backend.File",
      at_its_line(function() f:load(0) end))
    assert.are.equal(filled("z"), program.read(path))
  end)

  it("does not keep the loop while the pool works", function()
    local f <close> = open()
    local turns = 0
    local done = false
    local timer <close> = loop.default():timer(0, function() turns = turns + 1 end,
      { every = true })
    at_once{ function()
      for i = 1, 20 do
        f:flush(i, filled("t"))
        f:barrier()
      end
      done = true
    end }
    assert.is_true(done and timer ~= nil)
    assert.is_true(turns >= 20, ("%d turns"):format(turns))
  end)

  it("keeps the order of writes to one block, however many are under way", function()
    local f <close> = open{ queue = 3 }
    local list = {}
    for i = 1, 200 do
      list[i] = function() return f:flush(i % 2, filled(string.char(i))) end
    end
    for _, result in ipairs(at_once(list)) do
      assert.is_true(result[1])
    end
    assert.are.equal(filled(string.char(200)), f:load(0))
    assert.are.equal(filled(string.char(199)), f:load(1))
  end)

  it("lets a write go on whose task was cancelled", function()
    local f <close> = open()
    local result
    local task = loop.default():spawn(function() result = table.pack(f:flush(0, filled("q"))) end)
    loop.default():step()
    task:cancel()
    task:join()
    assert.are.same({ nil, "cancelled", "cancelled", n = 3 }, result)
    assert.are.equal(filled("q"), f:load(0)) -- after it, for it is the same block
  end)

  it("works for tasks of a virtual loop, and ends with it", function()
    local f <close> = open()
    local virtual = loop.new{ clock = "virtual" }
    local task = virtual:spawn(function() return f:flush(1, filled("v")), f:load(1) end)
    local ok, value = task:join()
    assert.is_true(ok)
    assert.are.equal(filled("v"), value)
    virtual:spawn(function() f:flush(2, filled("w")) end)
    virtual:step()
    virtual:close()
    assert.are.equal(filled("w"), f:load(2))
  end)
end)

describe("backend.memory", function()
  it("keeps any value under any key", function()
    local m <close> = backend.memory{}
    local value = { 1 }
    assert.is_nil(m:load("a"))
    assert.is_true(m:flush("a", value))
    assert.are.equal(value, m:load("a"))
    assert.is_true(m:barrier())
    assert.are.equal("backend.Memory", lethe.type(m))
  end)

  it("is the table that it is given", function()
    local data = { [7] = "seven" }
    local m <close> = backend.memory{ data = data }
    assert.are.equal("seven", m:load(7))
    m:flush("x", 1)
    assert.are.same({ [7] = "seven", x = 1 }, data)
  end)

  it("raises for a closed one", function()
    local m = backend.memory()
    m:close()
    assert.are.equal("attempt to use a closed lethe.backend.Memory",
      at_its_line(function() m:load(1) end))
  end)
end)

describe("backend.faulty", function()
  local data, memory

  before_each(function()
    data = { a = "AAAA" }
    memory = backend.memory{ data = data }
  end)

  it("passes on what its plan does not mention", function()
    local f <close> = backend.faulty(memory)
    assert.are.equal("AAAA", f:load("a"))
    assert.is_true(f:flush("b", "B"))
    assert.is_true(f:barrier())
    assert.are.same({ a = "AAAA", b = "B" }, data)
    assert.are.equal(3, f:calls())
  end)

  it("fails the n-th call, and only that", function()
    local f <close> = backend.faulty(memory, { [2] = "fail" })
    assert.are.equal("AAAA", f:load("a"))
    assert.are.same({ nil, "call 2 failed, as planned", "faulty", n = 3 },
      table.pack(f:flush("a", "B")))
    assert.are.same({ a = "AAAA" }, data)
    assert.is_true(f:flush("a", "B"))
  end)

  it("tears a write: half of the new, then what was there", function()
    local f <close> = backend.faulty(memory, { "tear", "tear", "tear", "tear" })
    assert.are.equal("faulty", code_of(f:flush("a", "BBBBBB")))
    assert.are.equal("BBBA\0\0", data.a)
    assert.are.equal("faulty", code_of(f:flush("new", "xyz")))
    assert.are.equal("x\0\0", data.new)
    assert.are.equal("faulty", code_of(f:load("a")))
    assert.are.equal("faulty", code_of(f:barrier()))
  end)

  it("cancels: it happens, and nobody learns of it", function()
    local f <close> = backend.faulty(memory, { "cancel" })
    assert.are.same({ nil, "cancelled", "cancelled", n = 3 }, table.pack(f:flush("a", "B")))
    assert.are.equal("B", data.a)
  end)

  it("crashes for good", function()
    local f <close> = backend.faulty(memory, { [2] = "crash" })
    assert.is_true(f:flush("a", "B"))
    assert.are.equal("call 2 came after the crash", select(2, f:flush("a", "C")))
    assert.are.equal("call 3 came after the crash", select(2, f:load("a")))
    f:evict("a", "B")
    assert.are.equal("B", data.a)
  end)

  it("delays on the clock of whoever waits", function()
    local f <close> = backend.faulty(memory, { 10 })
    local virtual <close> = loop.new{ clock = "virtual" }
    local value
    virtual:spawn(function() value = f:load("a") end)
    virtual:advance(9)
    assert.is_nil(value)
    virtual:advance(1)
    assert.are.equal("AAAA", value)
  end)

  it("logs every call, with the moments at which it began and ended", function()
    local f <close> = backend.faulty(memory, { [3] = "fail" })
    f:load("a")
    f:flush("a", "B")
    f:barrier()
    assert.are.same({
      { call = 1, op = "load", key = "a", action = "pass", begun = 1, ended = 2, ok = true },
      { call = 2, op = "flush", key = "a", value = "B", action = "pass", begun = 3, ended = 4,
        ok = true },
      { call = 3, op = "barrier", action = "fail", begun = 5, ended = 6, ok = false,
        message = "call 3 failed, as planned" },
    }, f:log())
  end)

  it("wraps a backend that is written in Lua, raises and waits", function()
    local evicted
    local own = {
      load = function(_, k)
        loop.default():sleep(0)
        if k == "bad" then error("no such thing", 0) end
        return k .. "!"
      end,
      evict = function(_, k) evicted = k end,
    }
    local f <close> = backend.faulty(own, {})
    assert.are.equal("x!", f:load("x"))
    assert.has_error(function() f:load("bad") end, "no such thing")
    assert.is_true(f:flush("x", 1)) -- it has none, so there is nothing to do
    f:evict("x", 1)
    assert.are.equal("x", evicted)
    local log = f:log()
    assert.is_true(log[1].ok)
    assert.are.same({ false, "no such thing" }, { log[2].ok, log[2].message })
  end)

  it("wraps itself", function()
    local inner <close> = backend.faulty(memory, { [2] = "fail" })
    local outer <close> = backend.faulty(inner, { [1] = "cancel" })
    outer:flush("a", "1")
    assert.is_nil(outer:flush("a", "2"))
    assert.is_true(outer:flush("a", "3"))
    assert.are.equal("3", data.a)
  end)

  it("refuses what is no backend and no plan", function()
    local cases = {
      { function() backend.faulty({}) end,
        "bad argument #1 to 'faulty' (a backend with a load expected, got table)" },
      { function() backend.faulty(7) end,
        "bad argument #1 to 'faulty' (a backend with a load expected, got number)" },
      { function() backend.faulty(memory, 7) end,
        "bad argument #2 to 'faulty' (a plan expected, got number)" },
      { function() backend.faulty(memory, { [0] = "fail" }) end,
        "a plan's keys are the numbers of calls, from 1 (got 0)" },
      { function() backend.faulty(memory, { "fial" }) end,
        'call 1: "fail", "tear", "cancel", "crash" or seconds expected (got fial)' },
      { function() backend.faulty(memory, { -1 }) end,
        'call 1: "fail", "tear", "cancel", "crash" or seconds expected (got -1)' },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]))
    end
  end)
end)
