-- Retired Lua values: when their destructors run, in auto mode too; ends of handles, managers and
-- states; limbo bytes under a quota account.
local errors = require "spec.support.errors"
local program = require "spec.support.program"
local epoch = require "lethe.epoch"
local quota = require "lethe.quota"
local loop = require "lethe.loop"

local at_its_line, code_of = errors.at_its_line, errors.code_of

local function ignore() end

-- Retires value under a pin of its own.
local function retire(handle, value, destructor, bytes)
  local guard <close> = handle:pin()
  return guard:retire(value, destructor, bytes)
end

describe("retire", function()
  local m, h

  before_each(function()
    m = epoch.new{ mode = "manual" }
    h = m:register()
  end)

  after_each(function()
    h:unregister()
    m:close()
  end)

  local function reclaim()
    m:advance()
    m:advance()
    return h:reclaim()
  end

  it("raises without a pin", function()
    assert.are.equal("retire needs a pin", at_its_line(function() h:retire(1, ignore) end))
    local g = h:pin()
    assert.are.same({ true, true }, { h:retire(1, ignore), g:retire(2, ignore) })
    g:unpin()
    assert.are.equal("retire needs a pin", at_its_line(function() h:retire(1, ignore) end))
  end)

  it("checks what it is given before anything is retired", function()
    local g <close> = h:pin()
    local cases = {
      { function() g:retire() end, "bad argument #1 to 'retire' (value expected)" },
      { function() g:retire(1, 2) end,
        "bad argument #2 to 'retire' (function or nil expected, got number)" },
      { function() g:retire(1, nil, -1) end,
        "bad argument #3 to 'retire': size must not be negative (got -1)" },
      { function() g:retire(1, nil, "much") end,
        "bad argument #3 to 'retire': size is no size: \"much\" (write bytes, or a unit as in "
          .. "\"64K\", \"1.5M\", \"2G\")" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]))
    end
    assert.are.equal(0, h:limbo())
    assert.is_true(g:unpin())
  end)

  it("calls the destructor once, later, with the value, whatever that is", function()
    local object, got = {}, {}
    local function note(...)
      got[#got + 1] = table.pack(...)
    end
    for _, value in ipairs{ object, "text", 1.5, true, print } do
      retire(h, value, note)
    end
    retire(h, nil, note)
    retire(h, false, setmetatable({}, { __call = function(_, v) note(v) end }))
    collectgarbage()
    assert.are.same({}, got)
    assert.are.equal(7, reclaim())
    assert.are.same({ n = 1, object }, got[1])
    assert.are.same({ n = 1, nil }, got[6])
    assert.are.same({ n = 1, false }, got[7])
    assert.are.same({ 7, 0, 0 }, { #got, reclaim(), h:limbo() })
  end)

  it("counts values without a destructor", function()
    for _ = 1, 3 do
      retire(h, {}, nil)
    end
    assert.are.same({ 3, 3, 0 }, { h:limbo(), reclaim(), h:limbo() })
  end)

  it("lets go of value and destructor once that has run", function()
    local gone = setmetatable({}, { __mode = "v" })
    do
      local value = {}
      gone[1], gone[2] = value, function() return value end
      retire(h, value, gone[2])
    end
    collectgarbage()
    assert.is_truthy(gone[1])
    reclaim()
    collectgarbage()
    assert.are.same({}, gone)
  end)

  it("reports what a destructor raises, and goes on", function()
    local ran = {}
    local reported = errors.reported(function()
      retire(h, 1, function() ran[1] = true end)
      retire(h, 2, function() error("no") end)
      retire(h, 3, function() ran[3] = true end)
      assert.are.equal(3, reclaim())
    end)
    assert.are.same({ 1, true, nil, true }, { #reported, ran[1], ran[2], ran[3] })
    assert.is_truthy(reported[1].message:find("epoch_retire_spec.lua:%d+: no"))
  end)

  it("lets destructors retire and reclaim", function()
    local log = {}
    retire(h, "a", function()
      log[#log + 1] = "a"
      retire(h, "b", function() log[#log + 1] = "b" end)
      local n = reclaim()
      log[#log + 1] = n
    end)
    assert.are.equal(1, reclaim())
    assert.are.same({ "a", "b", 1 }, log)
  end)

  it("lets destructors pin, unregister and close", function()
    retire(h, 1, function()
      h:pin():unpin()
      h:unregister()
      m:close()
    end)
    retire(h, 2, ignore)
    assert.are.equal(2, reclaim())
    assert.has_error(function() m:epoch() end)
    m = epoch.new()
    h = m:register()
  end)

  it("does not let destructors wait", function()
    local message
    retire(h, 1, function() message = select(2, pcall(function() loop.default():sleep(0) end)) end)
    reclaim()
    assert.is_truthy(message:find("cannot wait here", 1, true))
  end)

  it("keeps the order of retiring", function()
    local list = {}
    for i = 1, 1000 do
      retire(h, i, function(v) list[#list + 1] = v end)
      if i % 100 == 0 then m:advance() end
    end
    reclaim()
    assert.are.equal(1000, #list)
    for i = 1, 1000 do
      assert.are.equal(i, list[i])
    end
  end)
end)

describe("auto mode", function()
  it("seals, advances and frees with nothing to call", function()
    local m <close> = epoch.new()
    local h = m:register()
    local freed = 0
    for i = 1, 5000 do
      retire(h, i, function() freed = freed + 1 end)
    end
    assert.is_true(freed > 3500)
    assert.is_true(m:epoch() > 10)
    assert.are.equal(5000, freed + h:limbo())
    assert.is_true(m:barrier(5))
    assert.are.same({ 5000, 0 }, { freed, h:limbo() })
  end)

  it("is not reclaimed by hand before it is safe, and blocked in the first epoch", function()
    local m <close> = epoch.new()
    local h = m:register()
    retire(h, 1)
    assert.are.equal("blocked", code_of(h:reclaim()))
    m:advance()
    m:advance()
    m:advance()
    assert.are.equal(1, h:reclaim())
  end)

  it("advances by hand only past whoever is at the current epoch", function()
    local m <close> = epoch.new()
    local h = m:register()
    local g = h:pin()
    assert.are.same({ 2, 2, 2 }, { m:advance(), m:advance(), m:epoch() })
    g:unpin()
    assert.are.equal(3, m:advance())
  end)

  it("ejects a reader that sleeps, so that garbage stays bounded", function()
    local m <close> = epoch.new()
    local h = m:register()
    local reader = coroutine.wrap(function()
      local g = h:pin()
      coroutine.yield()
      return g:unpin()
    end)
    reader()
    local most = 0
    for i = 1, 20000 do
      retire(h, i, ignore)
      if i % 100 == 0 then most = math.max(most, m:stats().limbo) end
    end
    assert.is_true(most <= (8 + 2) * 256 + 2)
    assert.is_true(m:stats().threads[1].peak <= (8 + 2) * 256 + 2)
    assert.are.equal(1, m:stats().ejections)
    assert.are.equal("neutralized", code_of(reader()))
  end)

  it("ejects past max_limbo bytes", function()
    local m <close> = epoch.new{ max_limbo = "64K" }
    local h = m:register()
    local reader = coroutine.wrap(function()
      local g = h:pin()
      coroutine.yield()
      return g:unpin()
    end)
    reader()
    local most = 0
    for i = 1, 2000 do
      retire(h, i, ignore, 1024)
      most = math.max(most, m:stats().limbo_bytes)
    end
    assert.is_true(most <= (64 + 64) * 1024)
    assert.are.equal("neutralized", code_of(reader()))
  end)

  it("never ejects the coroutine that retires", function()
    local m <close> = epoch.new{ bag_size = 16 }
    local h = m:register()
    local g = h:pin()
    for i = 1, 5000 do
      h:retire(i, ignore)
    end
    assert.is_false(h:neutralized())
    assert.is_true(g:unpin())
  end)

  it("lets destructors retire while a retire frees", function()
    local m <close> = epoch.new{ bag_size = 16 }
    local h = m:register()
    local first, second = 0, 0
    for i = 1, 1000 do
      retire(h, i, function()
        first = first + 1
        retire(h, i, function() second = second + 1 end)
      end)
    end
    assert.is_true(m:barrier(5))
    assert.is_true(m:barrier(5))
    assert.are.same({ 1000, 1000, 0 }, { first, second, h:limbo() })
  end)
end)

describe("the end of a handle", function()
  it("makes its limbo orphans, whose destructors run in their own state", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    local freed
    retire(h, "x", function(v) freed = v end)
    h:unregister()
    assert.are.same({ 1, nil }, { m:stats().orphans, freed })
    -- whoever reclaims next: another state, on another thread
    assert.are.equal(1, require("lethe.worker").spawn(function(manager)
      local theirs = manager:register()
      manager:advance()
      manager:advance()
      return theirs:reclaim()
    end, m):join())
    loop.default():step()
    assert.are.equal("x", freed)
    assert.are.equal(0, m:stats().limbo)
  end)

  it("unpins", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    h:pin()
    h:pin()
    m:advance()
    assert.are.equal(1, m:safe_epoch())
    h:unregister()
    assert.are.equal(2, m:safe_epoch())
  end)

  it("comes at the next safe point when it is collected", function()
    local m <close> = epoch.new{ mode = "manual" }
    do
      local h = m:register()
      retire(h, 1)
      h:pin()
    end
    m:advance()
    collectgarbage()
    collectgarbage()
    local s = m:stats()
    assert.are.same({ {}, 2, 1 }, { s.threads, s.safe_epoch, s.orphans })
  end)
end)

describe("the end of a manager", function()
  it("frees what is in limbo with the last record", function()
    local m = epoch.new{ mode = "manual" }
    local h = m:register()
    local freed = {}
    for i = 1, 133 do
      retire(h, i, function(v) freed[#freed + 1] = v end)
    end
    m:close()
    assert.are.equal(0, #freed)
    h:unregister()
    assert.are.same({ 133, 1, 133 }, { #freed, freed[1], freed[133] })
  end)

  it("frees it too when all is only collected", function()
    local freed = 0
    do
      local m = epoch.new{ mode = "manual" }
      retire(m:register(), 1, function() freed = freed + 1 end)
    end
    require("lethe.registry").default():collect()
    assert.are.equal(1, freed)
    require("lethe.registry").default():sweep()
  end)
end)

describe("the end of a state", function()
  it("runs its destructors, in limbo or not", function()
    local out = program.script([[
      local epoch = require "lethe.epoch"
      local m = epoch.new{ mode = "manual" }
      local h = m:register()
      for i = 1, 3 do
        h:with_pin(function(g) g:retire({ i }, function(v) print("freed", v[1]) end) end)
      end
      h:pin():retire(io.tmpfile(), function(file) print(io.type(file)) end)
      print("last line")
    ]])
    assert.are.equal("last line\nfreed\t1\nfreed\t2\nfreed\t3\nfile\n", out)
    program.clean()
  end)

  it("runs those of a worker as it ends", function()
    local worker = require "lethe.worker"
    local m <close> = epoch.new{ mode = "manual" }
    local path = program.file()
    worker.spawn(function(manager, to)
      local h = manager:register()
      h:with_pin(function(g)
        g:retire("freed", function(v)
          local file <close> = assert(io.open(to, "a"))
          file:write(v, "\n")
        end)
        g:retire("w", nil)
      end)
    end, m, path):join()
    assert.are.equal("freed\n", program.read(path))
    program.clean()
    assert.are.same({ 2, 2 }, { m:stats().limbo, m:stats().orphans })
    local h = m:register()
    m:advance()
    m:advance()
    assert.are.equal(2, h:reclaim())
    assert.are.equal(0, m:stats().limbo)
  end)
end)

describe("states that come and go", function()
  it("free each other's limbo, while each runs its own destructors once", function()
    local worker = require "lethe.worker"
    for _, mode in ipairs{ "manual", "auto" } do
      local m <close> = epoch.new{ mode = mode, bag_size = 4 }
      local function work(manager)
        local loop_here = require("lethe.loop").default()
        local destroyed = 0
        local function destroy()
          destroyed = destroyed + 1
        end
        for round = 1, 20 do
          local h <close> = manager:register()
          for i = 1, 10 do
            h:with_pin(function(g) g:retire({ round, i }, destroy, 8) end)
          end
          manager:advance()
          h:reclaim()
          if round % 5 == 0 then loop_here:sleep(0.0005) end
        end
        return destroyed
      end
      local workers, before = {}, 0
      for i = 1, 12 do
        workers[i] = worker.spawn(work, m)
      end
      local here = work(m)
      for _, w in ipairs(workers) do
        before = before + w:join()
      end
      assert.is_true(m:barrier(10))
      loop.default():step()
      local s = m:stats()
      assert.are.same({ 2600, 2600, 0, 0, {} },
        { s.retired, s.reclaimed, s.limbo, s.limbo_bytes, s.threads })
      assert.is_true(here <= 200 and before <= 2400)
    end
  end)
end)

describe("an account", function()
  it("is charged for limbo bytes, to the byte", function()
    local t <close> = quota.new{ max = "8M" }
    local a = t:account{ name = "limbo" }
    local m <close> = epoch.new{ mode = "manual", account = a }
    local h = m:register()
    retire(h, 1, nil, 1000)
    retire(h, 2, nil, "2K")
    retire(h, 3, nil)
    assert.are.equal(3048, a:used())
    m:advance()
    m:advance()
    assert.are.same({ 3, 0 }, { h:reclaim(), a:used() })
    assert.is_true(t:check())
  end)

  it("is charged from every thread", function()
    local t <close> = quota.new{ max = "64M" }
    local a = t:account()
    local m <close> = epoch.new{ mode = "manual", account = a }
    local function work(manager)
      local h = manager:register()
      for i = 1, 100 do
        h:with_pin(function(g) g:retire(i, nil, 10) end)
      end
      h:unregister()
    end
    local worker = require "lethe.worker"
    local workers = { worker.spawn(work, m), worker.spawn(work, m) }
    work(m)
    for _, w in ipairs(workers) do
      w:join()
    end
    assert.are.equal(3000, a:used())
    assert.is_true(m:barrier(5))
    assert.are.equal(0, a:used())
    assert.is_true(t:check())
  end)

  it("that is full does not keep anything from being retired", function()
    local t <close> = quota.new{ max = "8M" }
    local a = t:account{ max = 100 }
    local m <close> = epoch.new{ mode = "manual", account = a }
    local h = m:register()
    retire(h, 1, nil, 60)
    retire(h, 2, nil, 60)
    assert.are.same({ 60, 120 }, { a:used(), m:stats().limbo_bytes })
    m:advance()
    m:advance()
    h:reclaim()
    assert.are.equal(0, a:used())
    retire(h, 3, nil, 60)
    assert.are.equal(60, a:used())
  end)

  it("is let go of with the manager", function()
    local t <close> = quota.new{ max = "8M" }
    local a = t:account()
    local m = epoch.new{ account = a }
    local h = m:register()
    retire(h, 1, ignore, 500)
    assert.are.equal(1, t:stats().participants)
    m:close()
    h:unregister()
    assert.are.same({ 0, 0 }, { a:used(), t:stats().participants })
  end)

  it("that has ended is refused, or charged no more", function()
    local t <close> = quota.new{ max = "8M" }
    local a = t:account()
    local m <close> = epoch.new{ account = a }
    local h = m:register()
    a:close()
    assert.is_true(retire(h, 1, ignore, 500))
    assert.is_true(m:barrier(5))
    assert.are.equal("account is a closed lethe.quota.Account",
      at_its_line(function() epoch.new{ account = a } end))
  end)
end)
