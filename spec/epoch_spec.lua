-- Epoch managers in manual mode: options, registering, the epoch, reclaiming whole and step by
-- step, statistics. Guards are in epoch_guards_spec.lua, destructors and auto mode in
-- epoch_retire_spec.lua, what the model does wrong in epoch_defects_spec.lua.
local errors = require "spec.support.errors"
local lethe = require "lethe"
local epoch = require "lethe.epoch"

local at_its_line, code_of = errors.at_its_line, errors.code_of

local function ignore() end

-- Retires n values, each under a pin of its own.
local function retire(handle, n, destructor)
  for i = 1, n or 1 do
    handle:with_pin(function(guard) guard:retire(i, destructor or ignore) end)
  end
end

describe("epoch.new", function()
  it("makes a manager whose first epoch is 1", function()
    local m <close> = epoch.new()
    assert.are.equal("epoch.Manager", lethe.type(m))
    assert.are.same({ 1, 1 }, { m:epoch(), m:safe_epoch() })
    local s = m:stats()
    assert.are.same({ 1, 1, {}, 0, 0, 0, 0, 0, 0 }, { s.epoch, s.safe_epoch, s.threads, s.retired,
      s.reclaimed, s.limbo, s.orphans, s.advances, s.ejections })
  end)

  it("is a field of lethe", function()
    assert.are.equal(epoch, lethe.epoch)
  end)

  it("refuses what no manager can be", function()
    local cases = {
      { function() epoch.new{ max_thread = 1 } end,
        'unknown option "max_thread" (did you mean "max_threads"?)' },
      { function() epoch.new(5) end, "a table of options expected, got number" },
      { function() epoch.new{ mode = "hand" } end, 'mode must be "auto" or "manual" (got "hand")' },
      { function() epoch.new{ mode = 1 } end, 'mode must be "auto" or "manual" (got number)' },
      { function() epoch.new{ max_threads = 0 } end,
        "max_threads must be an integer from 1 to 1048576 (got 0)" },
      { function() epoch.new{ max_threads = 1.5 } end,
        "max_threads must be an integer from 1 to 1048576 (got 1.5)" },
      { function() epoch.new{ bag_size = "64" } end,
        "bag_size must be an integer from 1 to 1048576 (got 64)" },
      { function() epoch.new{ max_limbo = -1 } end, "max_limbo must not be negative (got -1)" },
      { function() epoch.new{ max_limbo = 0 } end, "max_limbo must be above 0" },
      { function() epoch.new{ account = {} } end,
        "account must be a lethe.quota.Account (got table)" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]))
    end
  end)

  it("is closed like every object", function()
    local m = epoch.new()
    assert.is_true(m:close())
    assert.is_true(m:close())
    assert.are.equal("lethe.epoch.Manager (closed)", tostring(m))
    assert.are.equal("attempt to use a closed lethe.epoch.Manager",
      at_its_line(function() m:epoch() end))
    assert.are.equal("attempt to use a closed lethe.epoch.Manager",
      at_its_line(function() m:register() end))
    assert.are.equal("attempt to use a closed lethe.epoch.Manager",
      at_its_line(function() m:barrier() end))
  end)
end)

describe("register", function()
  it("gives one handle per thread and manager", function()
    local m <close> = epoch.new()
    local other <close> = epoch.new()
    local h = m:register()
    assert.are.equal("epoch.Handle", lethe.type(h))
    assert.are.same({ nil, "already_registered" }, { m:register(), code_of(m:register()) })
    assert.are.equal("epoch.Handle", lethe.type(other:register()))
    assert.are.equal(1, #m:stats().threads)
  end)

  it("gives another once that one is unregistered, closed or collected", function()
    local m <close> = epoch.new{ max_threads = 1 }
    assert.is_true(m:register():unregister())
    assert.is_true(m:register():close())
    do
      local h <close> = m:register()
      assert.is_false(h:pinned())
    end
    local h = m:register()
    assert.is_false(h:pinned())
    h = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.are.equal("epoch.Handle", lethe.type(m:register()))
  end)

  it("says that a manager is full", function()
    local worker = require "lethe.worker"
    local m <close> = epoch.new{ max_threads = 1 }
    local h = m:register()
    local full = "as many threads as the epoch manager's max_threads are registered"
    assert.are.same({ nil, full, "full", n = 3 }, table.pack(worker.spawn(function(manager)
      return manager:register()
    end, m):join()))
    h:unregister()
    assert.are.equal("epoch.Handle", worker.spawn(function(manager)
      return require("lethe").type(manager:register())
    end, m):join())
  end)

  it("says elsewhere that a manager was closed; live handles work on", function()
    local worker = require "lethe.worker"
    local m = epoch.new{ mode = "manual" }
    local h = m:register()
    local w = worker.spawn(function(manager)
      require("lethe.worker").parent():send("here")
      require("lethe.worker").parent():recv()
      return (select(3, manager:register()))
    end, m)
    assert.are.equal("here", w:recv())
    m:close()
    w:send("go on")
    assert.are.equal("closed", w:join())
    local g = h:pin()
    assert.is_true(g:retire(1, ignore))
    assert.is_true(g:unpin())
    assert.are.equal(1, h:limbo())
  end)

  it("is for handles of this state alone: they are not sent", function()
    local worker = require "lethe.worker"
    local m <close> = epoch.new()
    local channel = worker.channel(1)
    local ok, message = pcall(channel.send, channel, m:register())
    assert.is_false(ok)
    assert.is_truthy(message:find("lethe.epoch.Handle", 1, true))
  end)
end)

describe("a manager that is sent to a worker", function()
  it("is the same manager there", function()
    local worker = require "lethe.worker"
    local m <close> = epoch.new{ mode = "manual" }
    m:advance()
    local here = m:register()
    local g = here:pin()
    assert.are.same({ 2, 2, 12 }, { worker.spawn(function(manager)
      local h = manager:register()
      local threads = #manager:stats().threads
      local before = manager:safe_epoch()
      for _ = 1, 10 do manager:advance() end
      h:unregister()
      return threads, before, manager:epoch()
    end, m):join() })
    assert.are.equal(2, m:safe_epoch())
    g:unpin()
    assert.are.equal(12, m:safe_epoch())
  end)

  it("comes back as the object that is there", function()
    local worker = require "lethe.worker"
    local m <close> = epoch.new()
    local channel = worker.channel(1)
    channel:send(m)
    assert.are.equal(m, (channel:recv()))
  end)

  it("leaves nothing behind when the worker ends pinned", function()
    local worker = require "lethe.worker"
    local m <close> = epoch.new{ mode = "manual" }
    worker.spawn(function(manager)
      local h = manager:register()
      h:pin():retire("x", nil)
      return true
    end, m):join()
    local s = m:stats()
    assert.are.same({ {}, 1, 1, m:epoch() }, { s.threads, s.limbo, s.orphans, s.safe_epoch })
    local h = m:register()
    m:advance()
    m:advance()
    assert.are.equal(1, h:reclaim())
    assert.are.equal(0, m:stats().limbo)
  end)
end)

describe("the epoch in manual mode", function()
  it("moves by advance alone, whatever anybody shows", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    local g = h:pin()
    assert.are.same({ 2, 3, 4 }, { m:advance(), m:advance(), m:advance() })
    assert.are.same({ 4, 1 }, { m:epoch(), m:safe_epoch() })
    g:unpin()
    assert.are.same({ 4, 4, 3 }, { m:epoch(), m:safe_epoch(), m:stats().advances })
  end)

  it("moves on every n-th call of advance_every, counted by handle", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    local told = {}
    for i = 1, 7 do
      told[i] = h:advance_every(3)
    end
    assert.are.same({ false, false, true, false, false, true, false }, told)
    assert.are.equal(3, m:epoch())
    assert.is_true(h:advance_every(1))
    assert.are.equal("bad argument #1 to 'advance_every' (a whole number of calls from 1 expected)",
      at_its_line(function() h:advance_every(0) end))
  end)
end)

describe("reclaim in manual mode", function()
  local m, h, freed

  local function note(value)
    freed[#freed + 1] = value
  end

  before_each(function()
    m = epoch.new{ mode = "manual" }
    h = m:register()
    freed = {}
  end)

  after_each(function()
    h:unregister()
    m:close()
  end)

  it("is blocked while the safe epoch is 1", function()
    assert.are.equal("blocked", code_of(h:reclaim()))
    local g = h:pin()
    m:advance()
    m:advance()
    m:advance()
    assert.are.equal("blocked", code_of(h:reclaim()))
    g:unpin()
    assert.are.equal(0, h:reclaim())
  end)

  it("frees what was retired in E < safe_epoch - 1", function()
    retire(h, 1, note) -- in epoch 1
    m:advance()
    assert.are.equal(0, h:reclaim()) -- ready at 2, which never frees anything
    m:advance()
    assert.are.equal(1, h:reclaim())
    assert.are.same({ 1 }, freed)
  end)

  it("frees each object by its own retire epoch, oldest first", function()
    for i = 1, 6 do
      h:with_pin(function(g) g:retire(i, note) end)
      m:advance()
    end
    assert.are.equal(7, m:safe_epoch())
    assert.are.equal(5, h:reclaim())
    assert.are.same({ 1, 2, 3, 4, 5 }, freed)
    assert.are.equal(1, h:limbo())
  end)

  it("stamps with the epoch of the retiring, not of the pin", function()
    local g = h:pin()
    m:advance()
    m:advance()
    g:retire("late", note)
    g:unpin()
    m:advance()
    assert.are.equal(0, h:reclaim())
    m:advance()
    assert.are.equal(1, h:reclaim())
  end)

  it("is allowed while pinned, and limited by the own pin", function()
    retire(h, 3, note)
    m:advance()
    local g = h:pin()
    m:advance()
    m:advance()
    assert.are.same({ 2, 0 }, { m:safe_epoch(), h:reclaim() })
    g:repin()
    assert.are.equal(3, h:reclaim())
    g:unpin()
  end)

  it("goes on past a bag of 64", function()
    retire(h, 200, note)
    m:advance()
    m:advance()
    assert.are.equal(200, h:limbo())
    assert.are.equal(200, h:reclaim())
    assert.are.same({ 200, 1, 200 }, { #freed, freed[1], freed[200] })
  end)

  it("does nothing by itself, however much is retired", function()
    retire(h, 5000, note)
    assert.are.same({ 1, 5000, 0 }, { m:epoch(), m:stats().limbo, #freed })
    assert.are.equal(5000, m:stats().threads[1].peak)
  end)

  it("reproduces the seed's periodic reclamation, step by step", function()
    local said = {}
    for i = 0, 49 do
      h:with_pin(function(g) g:retire({ value = i }, note) end)
      if i % 5 == 0 then m:advance() end
      if i % 10 == 9 then
        local kind, ready = h:reclaim_start():load_epochs():check_safe()
        said[#said + 1] = kind == "ready" and ready:try_reclaim() or kind
      end
    end
    assert.are.same({ 1, 10, 10, 10, 10 }, said)
    assert.are.equal(11, m:epoch())
    assert.are.equal(9, h:limbo())
  end)
end)

describe("reclaiming step by step", function()
  local m, h

  before_each(function()
    m = epoch.new{ mode = "manual" }
    h = m:register()
  end)

  after_each(function() m:close() end)

  it("is start, load_epochs, check_safe, try_reclaim", function()
    retire(h, 2)
    m:advance()
    m:advance()
    local reclaim = h:reclaim_start()
    local loaded = reclaim:load_epochs()
    assert.are.equal(3, loaded:safe_epoch())
    local kind, ready = loaded:check_safe()
    assert.are.same({ "epoch.Reclaim", "epoch.Loaded", "ready", "epoch.Ready" },
      { lethe.type(reclaim), lethe.type(loaded), kind, lethe.type(ready) })
    assert.are.equal(2, ready:try_reclaim())
  end)

  it("says blocked, and has nothing to try then", function()
    assert.are.same({ n = 2, "blocked", nil },
      table.pack(h:reclaim_start():load_epochs():check_safe()))
  end)

  it("goes by the epochs that were loaded, not by later ones", function()
    retire(h, 1)
    m:advance()
    local loaded = h:reclaim_start():load_epochs()
    m:advance()
    m:advance()
    local _, ready = loaded:check_safe()
    assert.are.same({ 2, 0 }, { loaded:safe_epoch(), ready:try_reclaim() })
  end)

  it("takes each step once, and in this order only", function()
    m:advance()
    local reclaim = h:reclaim_start()
    local loaded = reclaim:load_epochs()
    local _, ready = loaded:check_safe()
    ready:try_reclaim()
    assert.are.equal("load_epochs was called on this step already",
      at_its_line(function() reclaim:load_epochs() end))
    assert.are.equal("check_safe was called on this step already",
      at_its_line(function() loaded:check_safe() end))
    assert.are.equal("try_reclaim was called on this step already",
      at_its_line(function() ready:try_reclaim() end))
    assert.is_nil(reclaim.check_safe)
    assert.is_nil(loaded.try_reclaim)
    assert.has_error(function() loaded.check_safe(reclaim) end)
  end)

  it("ends with the handle", function()
    local reclaim = h:reclaim_start()
    h:unregister()
    assert.are.equal("attempt to use a closed lethe.epoch.Handle",
      at_its_line(function() reclaim:load_epochs() end))
  end)
end)

describe("neutralize", function()
  local m, h

  -- A reader in a coroutine; called again it unpins and gives what unpin said.
  local function reader()
    local read = coroutine.wrap(function()
      local g = h:pin()
      coroutine.yield()
      return g:unpin()
    end)
    read()
    return read
  end

  before_each(function()
    m = epoch.new{ mode = "manual" }
    h = m:register()
  end)

  after_each(function() m:close() end)

  it("ejects whoever is more than lag epochs behind", function()
    local read = reader()
    m:advance()
    m:advance()
    assert.are.equal(0, m:neutralize()) -- two behind
    m:advance()
    assert.are.same({ 1, 0 }, { m:neutralize(), m:neutralize() })
    assert.are.equal(4, m:safe_epoch())
    assert.are.same({ n = 3, nil, "the pin was neutralized", "neutralized" }, table.pack(read()))
    assert.are.equal(1, m:stats().ejections)
  end)

  it("takes the lag as an argument", function()
    local read = reader()
    m:advance()
    assert.are.same({ 0, 1 }, { m:neutralize(1), m:neutralize(0) })
    assert.are.equal("neutralized", code_of(read()))
    assert.has_error(function() m:neutralize(-1) end)
    assert.has_error(function() m:neutralize("x") end)
  end)

  it("never ejects the caller", function()
    local read = reader()
    local g = h:pin()
    for _ = 1, 5 do
      m:advance()
    end
    assert.are.equal(1, m:neutralize())
    assert.is_false(h:neutralized())
    assert.is_true(g:unpin())
    assert.are.equal("neutralized", code_of(read()))
  end)

  it("lets what the reader held back be freed at once", function()
    local read = reader()
    local freed = false
    h:with_pin(function(g) g:retire(1, function() freed = true end) end)
    m:advance()
    m:advance()
    m:advance()
    assert.are.equal("blocked", code_of(h:reclaim()))
    m:neutralize(2)
    assert.are.same({ 1, true }, { h:reclaim(), freed })
    assert.are.equal("neutralized", code_of(read()))
  end)
end)

describe("grace periods", function()
  it("are polled by a cookie", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    local g = h:pin()
    local cookie = m:start_poll()
    assert.is_false(m:poll(cookie))
    m:advance()
    m:advance()
    assert.is_false(m:poll(cookie))
    g:unpin()
    assert.is_true(m:poll(cookie))
    assert.is_true(m:poll(cookie))
    assert.has_error(function() m:poll(0) end)
    assert.has_error(function() m:poll("x") end)
  end)

  it("pass by themselves in auto mode once nobody is in the way", function()
    local m <close> = epoch.new()
    local h = m:register()
    local g = h:pin()
    local cookie = m:start_poll()
    assert.is_false(m:poll(cookie))
    g:unpin()
    assert.is_true(m:poll(cookie))
  end)
end)

describe("barrier", function()
  local function freed_by(m, h)
    local n = 0
    retire(h, 10, function() n = n + 1 end)
    assert.is_true(m:barrier(5))
    return n, m:stats().limbo
  end

  it("waits until all that was retired is freed, advancing by itself, in both modes", function()
    for _, mode in ipairs{ "manual", "auto" } do
      local m <close> = epoch.new{ mode = mode }
      assert.are.same({ 10, 0 }, { freed_by(m, m:register()) })
    end
  end)

  it("frees what others retired, registered or not", function()
    local m <close> = epoch.new()
    local h = m:register()
    retire(h, 5)
    h:unregister()
    assert.are.equal(5, m:stats().orphans)
    assert.is_true(m:barrier(5))
    assert.are.same({ 0, 0 }, { m:stats().limbo, #m:stats().threads })
  end)

  it("waits for the destructors of other states, which run there", function()
    local worker, shared = require "lethe.worker", require "lethe.shared"
    for _, mode in ipairs{ "manual", "auto" } do
      local m <close> = epoch.new{ mode = mode }
      local ran <close> = shared.map{ epoch = epoch.new() }
      local w = worker.spawn(function(manager, counts)
        local parent = require("lethe.worker").parent()
        local h = manager:register()
        for _ = 1, 3 do
          h:with_pin(function(g)
            for _ = 1, 20 do g:retire(counts, function() counts:incr("n", 1, 0) end) end
          end)
          parent:send("retired")
          parent:recv()
        end
      end, m, ran)
      for i = 1, 3 do
        assert.are.equal("retired", w:recv())
        assert.is_true(m:barrier())
        assert.are.equal(20 * i, ran:get("n"))
        w:send("go on")
      end
      w:join()
      assert.is_true(m:barrier())
    end
  end)

  it("times out behind a state that comes to no safe point", function()
    local worker, shared = require "lethe.worker", require "lethe.shared"
    local m <close> = epoch.new()
    local flag <close> = shared.map{ epoch = epoch.new() }
    local w = worker.spawn(function(manager, flags)
      local h = manager:register()
      h:with_pin(function(g) g:retire(flags, function() flags:set("ran", true) end) end)
      require("lethe.worker").parent():send("retired")
      while not flags:get("go on") do end
      local ran = flags:get("ran")
      h:flush()
      return ran
    end, m, flag)
    assert.are.equal("retired", w:recv())
    assert.are.equal("timeout", code_of(m:barrier(0.01)))
    flag:set("go on", true)
    assert.is_nil(w:join())
    assert.is_true(m:barrier())
    assert.is_true(flag:get("ran"))
  end)

  it("times out behind a reader, which it does not eject", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    local read = coroutine.wrap(function()
      local g = h:pin()
      coroutine.yield()
      return g:unpin()
    end)
    read()
    retire(h)
    local ok, message, code = m:barrier(0.01)
    assert.are.same({ nil, "not all was freed within 0.01 seconds", "timeout" },
      { ok, message, code })
    assert.are.equal("timeout", code_of(m:barrier(0)))
    assert.is_true(read())
    assert.is_true(m:barrier(5))
  end)

  it("waits as a task, and can be cancelled", function()
    local loop = require("lethe.loop").default()
    local m <close> = epoch.new()
    local h = m:register()
    local holder = loop:spawn(function()
      local g <close> = h:pin()
      loop:sleep(0.03)
      return g:unpin()
    end)
    local waiting = loop:spawn(function() return m:barrier() end)
    local given_up = loop:spawn(function() return m:barrier() end)
    loop:step()
    retire(h)
    loop:step()
    given_up:cancel()
    assert.is_true((waiting:join()))
    assert.is_true((holder:join()))
    assert.are.equal("cancelled", code_of(given_up:join()))
  end)

  it("answers closed when a destructor that it runs closes the manager", function()
    for _, mode in ipairs{ "manual", "auto" } do
      for _, timeout in ipairs{ 0, 5 } do
        local m = epoch.new{ mode = mode }
        local h = m:register()
        local ran = 0
        retire(h, 10, function(i)
          ran = ran + 1
          if i == 5 then m:close() end
        end)
        assert.are.equal("closed", code_of(m:barrier(timeout)))
        h:close()
        assert.are.equal(10, ran)
      end
    end
  end)

  it("raises where it would wait for its own caller's pin", function()
    local m <close> = epoch.new()
    local h = m:register()
    local g <close> = h:pin()
    assert.are.equal("a barrier would wait for its caller's own pin: unpin first, or give it a "
      .. "timeout", at_its_line(function() m:barrier() end))
    assert.are.equal("timeout", code_of(m:barrier(0.001)))
    assert.is_true(g:unpin())
  end)

  it("wants seconds", function()
    local m <close> = epoch.new()
    assert.are.equal("bad argument #1 to 'barrier' (seconds expected, got string)",
      at_its_line(function() m:barrier("1") end))
    assert.are.equal("bad argument #1 to 'barrier' (seconds expected, got nan)",
      at_its_line(function() m:barrier(0 / 0) end))
  end)
end)

describe("stats", function()
  it("gives a fresh table of the manager and its threads", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    m:advance()
    local g = h:pin()
    g:retire("a", nil, 100)
    g:retire("b", nil, "1K")
    local s, thread = m:stats(), m:stats().threads[1]
    assert.are.same({ 2, 2, 2, 0, 2, 1124, 0, 1, 0 }, { s.epoch, s.safe_epoch, s.retired,
      s.reclaimed, s.limbo, s.limbo_bytes, s.orphans, s.advances, s.ejections })
    assert.are.same({ true, 2, 2, 1124, 2, false }, { thread.pinned, thread.epoch, thread.limbo,
      thread.limbo_bytes, thread.peak, thread.neutralized })
    assert.are_not.equal(s, m:stats())
    g:unpin()
    m:advance()
    m:advance()
    h:reclaim()
    thread = m:stats().threads[1]
    assert.are.same({ false, 0, 0, 0, 2, 0 }, { thread.pinned, thread.epoch, thread.limbo,
      thread.limbo_bytes, thread.peak, thread.pinned_for })
    assert.are.equal(2, m:stats().reclaimed)
  end)

  it("tells how long a pin has been seen", function()
    local m <close> = epoch.new()
    local h = m:register()
    local g <close> = h:pin()
    assert.are.equal(0, m:stats().threads[1].pinned_for)
    require("lethe.loop").default():sleep(0.02)
    assert.is_true(g:repin())
    g:unpin()
    local inner <close> = h:pin()
    m:stats()
    local clock = os.clock()
    while os.clock() - clock < 0.005 do end -- luacheck: ignore
    assert.is_true(m:stats().threads[1].pinned_for >= 0.004)
    assert.is_true(inner:unpin())
  end)

  it("counts orphans in limbo", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    retire(h, 3)
    h:unregister()
    assert.are.same({ 3, 3, {} }, { m:stats().limbo, m:stats().orphans, m:stats().threads })
    h = m:register()
    m:advance()
    m:advance()
    assert.are.equal(3, h:reclaim())
    assert.are.same({ 0, 0, 3 }, { m:stats().limbo, m:stats().orphans, m:stats().reclaimed })
  end)
end)

describe("flush", function()
  it("seals and frees what is safe", function()
    local m <close> = epoch.new()
    local h = m:register()
    retire(h, 10)
    local n = m:flush() + m:flush() + m:flush()
    assert.are.same({ 10, 0 }, { n, h:limbo() })
  end)

  it("does not advance in manual mode", function()
    local m <close> = epoch.new{ mode = "manual" }
    local h = m:register()
    retire(h, 10)
    assert.are.same({ 0, 1 }, { m:flush(), m:epoch() })
    m:advance()
    m:advance()
    assert.are.equal(10, m:flush())
  end)

  it("works for whoever is not registered", function()
    local m <close> = epoch.new()
    local h = m:register()
    retire(h, 10)
    h:unregister()
    assert.are.equal(10, m:flush() + m:flush() + m:flush())
    assert.are.equal(0, #m:stats().threads)
  end)
end)
