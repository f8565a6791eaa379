-- vat.fuzz: the same messages under many schedules of collections. Vats that show when the
-- collector ran are found and their runs cut down; others pass.
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

  it("refuses options that are none", function()
    local function refusal(given)
      return errors.at_its_line(function() vat.fuzz(given) end)
    end
    assert.are.equal("builds must be a table (got nil)", refusal{})
    assert.are.equal("play must be a function (got nil)", refusal{ builds = {} })
    assert.are.equal("seeds must be a positive integer (got 0)",
      refusal{ builds = {}, play = print, seeds = 0 })
    assert.are.equal('unknown option "seed" (did you mean "seeds"?)', refusal{ seed = 1 })
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
