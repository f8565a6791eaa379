-- vat.fuzz: the same messages under many schedules of collections. Vats that show when the
-- collector ran are found and their runs cut down; others pass.
local chance = require "spec.support.chance"
local errors = require "spec.support.errors"
local lethe = require "lethe"

local vat = lethe.vat

-- Answers with what it got.
local function echo(syscall)
  return { deliver = function(_, _, args, result) syscall.resolve{ { result, false, args } } end }
end

-- Makes an object that nobody keeps, and tells whether the collector has taken it meanwhile.
local function leaky(syscall)
  local weak = setmetatable({}, { __mode = "v" })
  local function answer(result, value)
    syscall.resolve{ { result, false, { data = value } } }
  end
  return { deliver = function(_, method, _, result)
    if method == "make" then weak[1] = {} end
    answer(result, method == "look" and weak[1] ~= nil)
  end }
end

describe("vat.fuzz", function()
  it("passes what does not show the collector", function()
    local plays = 0
    assert.is_true(vat.fuzz{
      builds = { a = { raw = echo }, b = { raw = echo } }, seeds = 4, schedules = 3,
      play = function(kernel, roots, random)
        plays = plays + 1
        assert.are.equal("vat.Kernel", lethe.type(kernel))
        for _ = 1, 10 do
          local value = kernel:await(kernel:send(roots.a, "m", { random(100), roots.b }))
          kernel:send(value[2], "n", value[1])
          kernel:run(random(3))
        end
        kernel:reap("a")
      end,
    })
    assert.are.equal(4, plays)
  end)

  it("finds a vat that shows it, and cuts its messages down", function()
    local ok, message, code, found = vat.fuzz{
      builds = { a = { raw = leaky }, b = { raw = echo } }, seeds = 10,
      play = function(kernel, roots, random)
        for _ = 1, 12 do
          local method = random(2) == 1 and "make" or "look"
          kernel:send(random(3) == 1 and roots.b or roots.a, method, random(5))
          if random(3) == 1 then kernel:run() end
        end
      end,
    }
    assert.are.same({ nil, "diverged" }, { ok, code })
    assert.matches("^seed %d+, schedule %d+: the transcripts differ at record %d+; 2 calls do$",
      message)
    assert.are.equal(2, #found.sends)
    assert.are.same({ "a", "make" }, { found.sends[1].to, found.sends[1].method })
    assert.are.same({ "a", "look" }, { found.sends[2].to, found.sends[2].method })
    assert.is_true(found.seed >= 1 and found.seed <= 10)
    assert.is_true(found.schedule >= 1)
  end)

  it("gives the same random numbers for a seed", function()
    local drawn = {}
    local function draw()
      local list = {}
      assert.is_true(vat.fuzz{ builds = {}, seeds = 3, schedules = 1,
        play = function(_, _, random)
          for _ = 1, 20 do
            local n = random(6)
            assert.is_true(n >= 1 and n <= 6)
            list[#list + 1] = n
          end
        end })
      return list
    end
    drawn[1], drawn[2] = draw(), draw()
    assert.are.same(drawn[1], drawn[2])
  end)

  it("repeats everything that was done to the kernel", function()
    -- A vat whose answers tell how often it was built: a repetition that is not one diverges.
    local function keeper(syscall)
      local held, n = {}, 0
      return {
        deliver = function(_, method, args, result)
          n = n + 1
          if method == "keep" then held[#held + 1] = args.slots[1] end
          local slots = method == "make" and { "o+" .. n } or method == "give" and held or {}
          syscall.resolve{ { result, method == "refuse", { data = "=", slots = slots } } }
        end,
        bring_out_your_dead = function()
          syscall.dropImports(held)
          syscall.retireImports(held)
          held = {}
        end,
      }
    end
    local kinds = {}
    assert.is_true(vat.fuzz{
      builds = { a = { raw = keeper }, b = { raw = keeper } }, seeds = 6, schedules = 2,
      play = function(kernel, roots, random)
        local object = kernel:await(kernel:send(roots.a, "make"))
        local promise = kernel:send(roots.b, "make")
        kernel:send(promise, "hello", object)
        kernel:step()
        kernel:run(random(2))
        kernel:send(roots.b, "keep", roots.a)
        kernel:send(roots.b, "keep", promise)
        kernel:await(kernel:send(roots.b, "refuse"))
        kernel:run()
        local value = promise:value()
        promise:close()
        kernel:reap(random(2) == 1 and "a" or nil)
        kernel:send(roots.a, "keep", value)
        if random(3) == 1 then kernel:terminate("b") end
        kernel:drop_cycles()
        kinds[#kinds + 1] = kernel:stats().cranks
      end,
    })
    assert.are.equal(6, #kinds)
  end)

  it("names one of the schedules, the same in its message", function()
    local ok, message, code, found = vat.fuzz{
      builds = { leaky = { raw = leaky } }, seeds = 20,
      play = function(k, roots, random)
        for _ = 1, 12 do
          k:send(roots.leaky, random(2) == 1 and "make" or "look")
          if random(3.0) == 1 then k:run() end
        end
      end,
    }
    assert.are.same({ nil, "diverged" }, { ok, code })
    assert.is_true(found.schedule >= 1 and found.schedule <= 16)
    assert.matches(("^seed %d, schedule %d: "):format(found.seed, found.schedule), message)
  end)

  it("says at its caller's line what a play may not do, and which build fails", function()
    local builds = { a = "return {}" }
    local function line_of(play)
      return errors.at_its_line(function() vat.fuzz{ builds = builds, play = play } end)
    end
    assert.are.equal("play must leave its kernel open", line_of(function(k) k:close() end))
    local failing = { a = "error('why')" }
    assert.are.equal("vat a: a:1: why",
      errors.at_its_line(function() vat.fuzz{ builds = failing, play = print } end))
    local seen = {}
    assert.is_true(vat.fuzz{
      builds = builds, seeds = 1, schedules = 1,
      play = function(k, _, random)
        seen[1] = errors.at_its_line(function() random(0) end)
        seen[2] = errors.at_its_line(function() k:vat("b", builds.a) end)
        seen[3] = errors.at_its_line(function() k:raw_vat("b", print) end)
      end,
    })
    local others <const> = "what is played has the vats of the builds, and no others"
    assert.are.same({
      "bad argument #1 to 'random' (positive integer expected, got 0)", others, others,
    }, seen)
  end)

  it("refuses options that are none", function()
    local function refusal(given)
      return errors.at_its_line(function() vat.fuzz(given) end)
    end
    assert.are.equal("builds must be a table (got nil)", refusal{})
    assert.are.equal("builds must be builds by name (got number under a)",
      refusal{ builds = { a = 5 }, play = print })
    assert.are.equal("builds must be builds by name (got string under 1)",
      refusal{ builds = { "return {}" }, play = print })
    assert.are.equal("play must be a function (got nil)", refusal{ builds = {} })
    assert.are.equal("seeds must be a positive integer (got 0)",
      refusal{ builds = {}, play = print, seeds = 0 })
    assert.are.equal('unknown option "seed" (did you mean "seeds"?)', refusal{ seed = 1 })
  end)
end)

-- ---- vats in states of their own --------------------------------------------------------------

local WORK <const> = math.max(0.1, chance.WORK)
local SEEDS <const> = WORK < 10 and math.max(1, math.floor(30 * WORK)) or math.floor(100 * WORK)

local SEED <const> = chance.SEED

local NAMES <const> = { "a", "b", "c" }
local METHODS <const> = { "keep", "keep", "note", "known", "forget", "drop", "texts", "order",
  "same", "hidden", "wasteful", "pass", "names" }

-- Random messages between three vats and the host, which lets go of some of what it gets.
local function converse(kernel, roots, random)
  local made = {}
  local function some() return made[random(#made)] end
  for _ = 1, 16 do
    local root = roots[NAMES[random(3)]]
    if not made[1] or random(4) == 1 then
      made[#made + 1] = kernel:await(kernel:send(root, "make"))
    else
      local method = METHODS[random(#METHODS)]
      local first = (method == "drop" or method == "wasteful") and random(9) or some()
      if method == "pass" then first = roots[NAMES[random(3)]] end
      kernel:send(root, method, first, some())
    end
    if random(5) == 1 then kernel:send(some(), "meet", some()) end
    if random(4) == 1 then kernel:run(random(4)) end
    if random(8) == 1 then kernel:reap(random(2) == 1 and NAMES[random(3)] or nil) end
    if random(6) == 1 then table.remove(made, random(#made)):close() end
  end
end

describe("vats that look for the collector", function()
  it(("find nothing: %d seeds under 16 schedules (SEED=%d)"):format(SEEDS, SEED), function()
    local probing = require "spec.support.probing_vat"
    local generator = require("lethe.vat.schedule").generator
    local ok, message, _, found = vat.fuzz{
      builds = { a = probing, b = probing, c = probing }, seeds = SEEDS,
      play = function(kernel, roots, random)
        converse(kernel, roots, generator(SEED << 32 | random(1 << 30)))
      end,
    }
    if not ok then
      error(("SEED=%d: %s\n%s"):format(SEED, message, require("lethe.json").encode(found.sends)), 0)
    end
  end)

  it("end with their meter at the same place", function()
    local bounded = { build = require "spec.support.probing_vat", meter = 20000 }
    local ended, lived = 0, 0
    assert.is_true(vat.fuzz{
      builds = { a = bounded, b = bounded, c = bounded }, seeds = 6, schedules = 8,
      play = function(kernel, roots, random)
        for _ = 1, 4 do -- within a few instructions of the meter
          local burns = random(2) == 1
          kernel:send(roots[NAMES[random(3)]], burns and "burn" or "wasteful",
            burns and 800 + random(14) or 66 + random(5))
        end
        kernel:run()
        for _, name in ipairs(NAMES) do
          if kernel:stats().ended[name] then ended = ended + 1 else lived = lived + 1 end
        end
      end,
    })
    assert.is_true(ended > 2 and lived > 2, ("%d ended, %d lived"):format(ended, lived))
  end)

  it("go on the same in a replay, whatever the collector does there", function()
    local k <close> = vat.kernel{}
    local probing = require "spec.support.probing_vat"
    local roots, builds = {}, {}
    for _, name in ipairs(NAMES) do
      roots[name], builds[name] = k:vat(name, probing), probing
    end
    converse(k, roots, require("lethe.vat.schedule").generator(5))
    k:collect()
    local records = k:transcript()
    assert.is_true(vat.replay(records, builds))
    for seed = 1, 4 do
      assert.is_true(vat.replay(records, builds, { schedule = seed }))
    end
  end)

  it("say nothing in a second bringOutYourDead", function()
    local said = 0
    for seed = 1, 8 do
      local k <close> = vat.kernel{}
      local roots = {}
      for _, name in ipairs(NAMES) do
        roots[name] = k:vat(name, require "spec.support.probing_vat")
      end
      k:gc_schedule(seed)
      converse(k, roots, require("lethe.vat.schedule").generator(seed))
      k:run()
      for _, name in ipairs(NAMES) do
        k:reap(name)
        local first = k:transcript()
        k:reap(name)
        local records = k:transcript()
        said = said + #first[#first].syscalls
        assert.are.same({ "bringOutYourDead" }, records[#records].delivery)
        assert.are.same({}, records[#records].syscalls)
      end
    end
    assert.is_true(said > 8)
  end)

  it("are collected in the midst of what they do", function()
    -- The same work, once as it comes and once with a collection at every few allocations.
    local function seconds(how)
      local k <close> = vat.kernel{}
      local root = k:vat("a", require "spec.support.probing_vat")
      k:gc_schedule(how)
      local began = os.clock()
      assert.are.equal(7, k:await(k:send(root, "wasteful", 30)))
      return os.clock() - began, k:stats().schedule.alloc
    end
    local plain, none = seconds(function() end)
    local busy, some = seconds(function(point) return point == "alloc" and "alloc" or nil end)
    assert.are.same({ 0, true }, { none, some >= 1 })
    assert.is_true(busy > plain)
  end)
end)

describe("Kernel:gc_schedule", function()
  local k, root

  before_each(function()
    k = vat.kernel{}
    root = k:raw_vat("echo", echo)
  end)

  after_each(function()
    k:close()
  end)

  local function work()
    for i = 1, 40 do
      k:send(root, "echo", i):close()
      if i % 4 == 0 then
        k:run()
        k:reap("echo")
      end
    end
  end

  local KINDS <const> = { "alloc", "boyd", "mode", "delay", "reorder", "partial" }

  it("counts each kind, all of them with a seed", function()
    k:gc_schedule(7)
    work()
    for _, kind in ipairs(KINDS) do
      assert.is_true(k:stats().schedule[kind] > 0)
    end
  end)

  it("counts nothing without a schedule", function()
    work()
    for _, kind in ipairs(KINDS) do
      assert.are.equal(0, k:stats().schedule[kind])
    end
  end)

  it("asks a function, in the words of what can happen", function()
    local asked = {}
    k:gc_schedule(function(point)
      asked[point] = true
      return point == "boyd" and "boyd" or nil
    end)
    work()
    for _, kind in ipairs(KINDS) do assert.is_true(asked[kind]) end
    assert.are.equal(10, k:stats().schedule.boyd)
    assert.are.equal(0, k:stats().schedule.alloc)
  end)

  it("reports once what goes wrong in that function, and goes on", function()
    for _, fn in ipairs{ error, function() return "everything" end } do
      local reports = errors.reported(function()
        k:gc_schedule(fn)
        work()
      end)
      assert.are.equal(1, #reports)
      assert.are.equal("gc_schedule", reports[1].details.callback)
    end
    assert.matches("^bad argument #1 to 'gc_schedule'",
      errors.at_its_line(function() k:gc_schedule("often") end))
  end)
end)
