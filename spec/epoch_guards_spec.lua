-- Guards: nesting, order, ejection, with_pin, and whose pin it is when there are coroutines.
local errors = require "spec.support.errors"
local lethe = require "lethe"
local epoch = require "lethe.epoch"
local loop = require "lethe.loop"

local UNPINNED <const> =
  "attempt to use a closed lethe.epoch.Guard: it is not pinned (a second unpin?)"

local at_its_line, code_of = errors.at_its_line, errors.code_of

local function ignore() end

local m, h

-- Ejects whoever is pinned at an earlier epoch, from another coroutine.
local function eject()
  m:advance()
  return coroutine.wrap(function() return m:neutralize(0) end)()
end

local function begin(mode)
  return function()
    m = epoch.new{ mode = mode }
    h = m:register()
  end
end

local function finish()
  h:unregister()
  m:close()
end

describe("a guard", function()
  before_each(begin("manual"))
  after_each(finish)

  it("pins from pin to unpin", function()
    assert.is_false(h:pinned())
    local g = h:pin()
    assert.are.equal("epoch.Guard", lethe.type(g))
    assert.are.same({ true, true, 1 }, { h:pinned(), m:stats().threads[1].pinned,
      m:stats().threads[1].epoch })
    assert.are.same({ n = 1, true }, table.pack(g:unpin()))
    assert.are.same({ false, false }, { h:pinned(), m:stats().threads[1].pinned })
  end)

  it("unpins once: a second unpin raises, close does nothing", function()
    local g = h:pin()
    g:unpin()
    assert.are.equal(UNPINNED, at_its_line(function() g:unpin() end))
    assert.are.same({ true, true }, { g:close(), g:close() })
    assert.are.equal(UNPINNED, at_its_line(function() g:repin() end))
    assert.are.equal(UNPINNED, at_its_line(function() g:retire(1) end))
  end)

  it("is to be closed, also by an error and after unpin", function()
    do
      local g <close> = h:pin()
      assert.is_true(h:pinned())
      assert.are.equal("epoch.Guard", lethe.type(g))
    end
    assert.is_false(h:pinned())
    local ok, message = pcall(function()
      local g <close> = h:pin()
      error({ g = g })
    end)
    assert.are.same({ false, false, "epoch.Guard" }, { ok, h:pinned(), lethe.type(message.g) })
    do
      local g <close> = h:pin()
      g:unpin()
    end
    assert.is_false(h:pinned())
  end)

  it("nests, with one guard for each level that is used again", function()
    local outer = h:pin()
    local inner = h:pin()
    local third = h:pin()
    assert.are_not.equal(outer, inner)
    assert.are_not.equal(inner, third)
    third:unpin()
    inner:unpin()
    assert.is_true(h:pinned())
    assert.are.equal(inner, h:pin())
    inner:unpin()
    outer:unpin()
    assert.is_false(h:pinned())
    assert.are.equal(outer, h:pin())
    outer:unpin()
  end)

  it("nests as deep as one likes", function()
    local guards = {}
    for i = 1, 100 do
      guards[i] = h:pin()
    end
    for i = 100, 1, -1 do
      assert.is_true(h:pinned())
      assert.is_true(guards[i]:unpin())
    end
    assert.is_false(h:pinned())
    for i = 1, 100 do
      assert.are.equal(guards[i], h:pin())
    end
    for i = 100, 1, -1 do
      guards[i]:unpin()
    end
  end)

  it("shows the epoch of the outermost pin until it is repinned", function()
    local outer = h:pin()
    m:advance()
    local inner = h:pin()
    assert.are.equal(1, m:safe_epoch())
    inner:repin()
    assert.are.equal(2, m:safe_epoch())
    inner:unpin()
    outer:unpin()
  end)

  it("is unpinned inside out: an outer one before an inner one raises", function()
    local outer = h:pin()
    local inner = h:pin()
    assert.are.equal("an outer guard cannot be unpinned before an inner one",
      at_its_line(function() outer:unpin() end))
    assert.is_true(inner:unpin())
    assert.is_true(outer:unpin())
  end)

  it("takes inner ones along when an error passes it, and says so when none does", function()
    local ok, message = pcall(function()
      local g <close> = h:pin()
      h:pin()
      error(("the %s"):format(lethe.type(g)), 0)
    end)
    assert.are.same({ false, "the epoch.Guard", false }, { ok, message, h:pinned() })
    local outer = h:pin()
    h:pin()
    assert.are.equal("a guard was closed before an inner one was unpinned",
      at_its_line(function() outer:close() end))
    assert.is_false(h:pinned())
  end)

  it("allocates nothing, however often it is pinned", function()
    local function all()
      for _ = 1, 1000 do
        local outer <close> = h:pin()
        h:pin():unpin()
        outer:repin()
      end
    end
    all()
    collectgarbage()
    collectgarbage("stop")
    local before = collectgarbage("count")
    all()
    local after = collectgarbage("count")
    collectgarbage("restart")
    assert.are.equal(before, after)
  end)

  it("is empty once its handle has left, also when another one comes", function()
    local g = h:pin()
    h:unregister()
    assert.are.equal(UNPINNED, at_its_line(function() g:unpin() end))
    h = m:register()
    local fresh = h:pin()
    assert.are_not.equal(g, fresh)
    assert.has_error(function() g:unpin() end)
    assert.is_true(g:close())
    assert.is_true(fresh:unpin())
    assert.is_false(h:pinned())
  end)

  it("is no other object's", function()
    local g = h:pin()
    assert.has_error(function() g.unpin(h) end)
    assert.has_error(function() g.unpin({}) end)
    assert.has_error(function() h.pin(g) end)
    assert.has_error(function() h.pin() end)
    h:unregister()
    for _, call in ipairs{ "pin", "with_pin", "retire", "reclaim", "reclaim_start", "advance_every",
      "pinned", "neutralized", "limbo" } do
      assert.are.equal("attempt to use a closed lethe.epoch.Handle",
        at_its_line(function() h[call](h, ignore) end))
    end
    assert.is_true(h:unregister())
    h = m:register()
  end)

  it("belongs to one manager: pins of two do not mix", function()
    local other <close> = epoch.new{ mode = "manual" }
    local theirs = other:register()
    local a = h:pin()
    local b = theirs:pin()
    assert.is_true(a:unpin())
    assert.are.same({ false, true }, { h:pinned(), theirs:pinned() })
    assert.is_true(b:unpin())
  end)
end)

describe("an ejected guard", function()
  before_each(begin("manual"))
  after_each(finish)

  it("is told by unpin, once", function()
    local g = h:pin()
    assert.are.same({ 1, true, true }, { eject(), h:neutralized(), h:pinned() })
    assert.are.same({ n = 3, nil, "the pin was neutralized", "neutralized" },
      table.pack(g:unpin()))
    assert.are.same({ false, false }, { h:neutralized(), h:pinned() })
    assert.is_true(h:pin():unpin())
  end)

  it("stays pinned until unpin, and what nests in it is ejected too", function()
    local outer = h:pin()
    eject()
    local inner = h:pin()
    assert.are.equal("neutralized", code_of(inner:unpin()))
    assert.is_true(h:pinned())
    assert.are.equal("neutralized", code_of(outer:unpin()))
  end)

  it("may retire", function()
    local g = h:pin()
    eject()
    local freed
    assert.is_true(g:retire("x", function(v) freed = v end))
    g:unpin()
    m:advance()
    m:advance()
    assert.are.same({ 1, "x" }, { h:reclaim(), freed })
  end)

  it("goes on after repin", function()
    local g = h:pin()
    eject()
    assert.is_true(g:repin())
    assert.are.same({ false, true }, { h:neutralized(), g:unpin() })
  end)

  it("is not counted in the safe epoch", function()
    local g = h:pin()
    assert.are.equal(1, m:safe_epoch())
    eject()
    assert.are.equal(2, m:safe_epoch())
    assert.are.same({ true, true }, { m:stats().threads[1].neutralized,
      m:stats().threads[1].pinned })
    g:unpin()
  end)
end)

describe("with_pin", function()
  before_each(begin("manual"))
  after_each(finish)

  it("calls fn with the guard and the arguments, and gives what it returns", function()
    local seen
    local results = table.pack(h:with_pin(function(...)
      seen = table.pack(...)
      assert.is_true(h:pinned())
      return 1, nil, 3, nil
    end, "a", nil))
    assert.are.same({ n = 4, 1, nil, 3, nil }, results)
    assert.are.same({ 3, "epoch.Guard", "a", nil },
      { seen.n, lethe.type(seen[1]), seen[2], seen[3] })
    assert.is_false(h:pinned())
    assert.are.equal(0, select("#", h:with_pin(ignore)))
  end)

  it("unpins whatever happens", function()
    local thrown = {}
    local ok, err = pcall(h.with_pin, h, function()
      h:pin()
      error(thrown)
    end)
    assert.are.same({ false, true, false }, { ok, err == thrown, h:pinned() })
    h:with_pin(function() h:pin() end)
    assert.is_false(h:pinned())
    assert.are.equal("done", h:with_pin(function(g) g:unpin() return "done" end))
    assert.is_false(h:pinned())
  end)

  it("keeps the traceback of an error", function()
    local _, trace = xpcall(function()
      h:with_pin(function() error("deep") end)
    end, debug.traceback)
    assert.is_truthy(trace:find("with_pin", 1, true))
    assert.is_truthy(trace:find("epoch_guards_spec.lua:%d+: deep"))
    assert.is_truthy(select(2, trace:gsub("epoch_guards_spec", "")) >= 3)
  end)

  it("nests", function()
    assert.are.equal("inner", h:with_pin(function(outer)
      return h:with_pin(function(inner)
        assert.are_not.equal(outer, inner)
        return "inner"
      end)
    end))
    assert.is_false(h:pinned())
  end)

  it("reruns a section that was neutralized", function()
    local runs = 0
    assert.are.equal(3, h:with_pin(function()
      runs = runs + 1
      if runs < 3 then eject() end
      return runs
    end))
    assert.are.equal(2, m:stats().ejections)
  end)

  it("reruns it at most 8 times", function()
    local runs = 0
    assert.are.same({ n = 3, nil, "the pin was neutralized", "neutralized" },
      table.pack(h:with_pin(function()
        runs = runs + 1
        eject()
        return "never seen"
      end)))
    assert.are.equal(9, runs)
  end)

  it("reruns it with the same arguments", function()
    local seen = {}
    h:with_pin(function(_, a, b)
      seen[#seen + 1] = a .. b
      if #seen < 2 then eject() end
    end, "x", "y")
    assert.are.same({ "xy", "xy" }, seen)
  end)

  it("reruns nothing that has retired, before or after the ejection", function()
    for _, first in ipairs{ true, false } do
      local runs, freed = 0, 0
      local function retire(guard)
        guard:retire(1, function() freed = freed + 1 end)
      end
      assert.are.equal("neutralized", code_of(h:with_pin(function(g)
        runs = runs + 1
        if first then retire(g) end
        eject()
        if not first then h:retire(1, function() freed = freed + 1 end) end
      end)))
      m:advance()
      m:advance()
      h:reclaim()
      assert.are.same({ 1, 1 }, { runs, freed })
    end
  end)

  it("reruns what was to change something and was refused, or found nothing to change", function()
    local shared = require "lethe.shared"
    local map <close> = shared.map{ epoch = m }
    local queue <close> = shared.queue{ epoch = m, capacity = 1 }
    local stack <close> = shared.stack{ epoch = m }
    map:set("k", 1)
    local writes = {
      function() return map:set("k", 2) end, function() return map:set("new", 2) end,
      function() return map:add("new", 2) end, function() return map:delete("k") end,
      function() return map:cas("k", 1, 2) end, function() return map:incr("k", 1) end,
      function() return queue:push(1) end, function() return queue:pop() end,
      function() return stack:push(1) end, function() return stack:pop() end,
    }
    for i, write in ipairs(writes) do
      local runs = 0
      assert.is_truthy(h:with_pin(function()
        runs = runs + 1
        if runs < 3 then
          eject()
          assert.are.equal("neutralized", code_of(write()))
        end
        return runs == 3
      end), i)
    end
    local idle = {
      function() return map:add("k", 2) end, function() return map:delete("none") end,
      function() return map:set("none", nil) end, function() return map:cas("k", 2, 3) end,
      function() return map:cas("none", nil, nil) end, function() return map:incr("none", 1) end,
      function() return queue:pop() end, function() return stack:pop() end,
    }
    for i, write in ipairs(idle) do
      local runs = 0
      assert.are.equal(2, h:with_pin(function()
        runs = runs + 1
        write()
        if runs < 2 then eject() end
        return runs
      end), i)
    end
    assert.are.same({ 1, 1 }, { map:get("k"), map:len() })
  end)

  it("reruns nothing that has changed something, of whatever manager", function()
    local shared = require "lethe.shared"
    local other <close> = epoch.new{ mode = "manual" }
    for _, manager in ipairs{ m, other } do
      local map <close> = shared.map{ epoch = manager }
      local queue <close> = shared.queue{ epoch = manager }
      local stack <close> = shared.stack{ epoch = manager }
      local writes = {
        function() map:set("k", 1) end, function() map:add("new", 2) end,
        function() map:cas("k", 1, 2) end, function() map:incr("k", 1) end,
        function() map:delete("k") end, function() queue:push(1) end, function() queue:pop() end,
        function() stack:push(1) end, function() stack:pop() end,
      }
      for i, write in ipairs(writes) do
        local runs = 0
        assert.are.equal("neutralized", code_of(h:with_pin(function()
          runs = runs + 1
          write()
          eject()
        end)), i)
        assert.are.equal(1, runs, i)
      end
    end
    local theirs = other:register()
    local runs = 0
    assert.are.equal("neutralized", code_of(h:with_pin(function()
      runs = runs + 1
      theirs:with_pin(function(g) g:retire(1) end)
      eject()
    end)))
    assert.are.equal(1, runs)
  end)

  it("reruns nothing that raised", function()
    local runs = 0
    local ok, message = pcall(h.with_pin, h, function()
      runs = runs + 1
      eject()
      error("mine", 0)
    end)
    assert.are.same({ false, "mine", 1, false }, { ok, message, runs, h:pinned() })
  end)

  it("is content with a section that was ejected and repinned", function()
    local runs = 0
    assert.are.equal("fresh", h:with_pin(function(g)
      runs = runs + 1
      eject()
      g:repin()
      return "fresh"
    end))
    assert.are.equal(1, runs)
  end)

  it("leaves it to the outer section where it is an inner one", function()
    local inner, outer = 0, 0
    local said
    assert.are.equal("out", h:with_pin(function()
      outer = outer + 1
      if outer == 1 then eject() end
      said = code_of(h:with_pin(function() inner = inner + 1 end))
      return "out"
    end))
    assert.are.same({ 2, 2, nil }, { inner, outer, said })
  end)

  it("lets its section wait", function()
    local main = loop.default()
    local task = main:spawn(function()
      return h:with_pin(function(_, x)
        main:sleep(0.001)
        assert.is_true(h:pinned())
        return x
      end, "slept")
    end)
    assert.are.equal("slept", task:join())
    assert.is_false(h:pinned())
  end)

  it("lets its handle leave in it", function()
    assert.are.equal("left", h:with_pin(function()
      h:unregister()
      return "left"
    end))
    h = m:register()
  end)

  it("wants something to call", function()
    assert.are.equal("bad argument #1 to 'with_pin' (function expected, got no value)",
      at_its_line(function() h:with_pin() end))
    assert.are.equal("bad argument #1 to 'with_pin' (function expected, got table)",
      at_its_line(function() h:with_pin({}) end))
    assert.are.equal(7, h:with_pin(setmetatable({}, { __call = function() return 7 end })))
    assert.is_false(h:pinned())
  end)
end)

describe("coroutines", function()
  before_each(begin("manual"))
  after_each(finish)

  -- Pins in a coroutine of its own; called again it unpins and gives what unpin said.
  local function reader()
    local co = coroutine.wrap(function()
      local g = h:pin()
      coroutine.yield(g)
      return g:unpin()
    end)
    return co, co()
  end

  it("pin for themselves: another one's pin is not theirs", function()
    local read, theirs = reader()
    assert.are.same({ false, false }, { h:pinned(), h:neutralized() })
    assert.are.equal("a guard belongs to the coroutine that pinned",
      at_its_line(function() theirs:unpin() end))
    assert.are.equal("retire needs a pin", at_its_line(function() h:retire(1, ignore) end))
    local mine = h:pin()
    assert.are_not.equal(mine, theirs)
    assert.is_true(mine:unpin())
    assert.is_true(read())
  end)

  it("keep their pin while they are suspended, on a record that counts for no thread", function()
    local read = reader()
    m:advance()
    local s = m:stats()
    assert.are.same({ 1, false, 1, 2 }, { #s.threads, s.threads[1].pinned, s.safe_epoch, s.epoch })
    assert.is_true(read())
    assert.are.equal(2, m:safe_epoch())
  end)

  it("may be many, of a manager for one thread", function()
    m:close()
    h:unregister()
    m = epoch.new{ mode = "manual", max_threads = 1 }
    h = m:register()
    local readers = {}
    for i = 1, 50 do
      readers[i] = reader()
      m:advance()
    end
    local mine = h:pin()
    assert.are.same({ 1, 1 }, { m:safe_epoch(), #m:stats().threads })
    assert.is_true(mine:unpin())
    for i = 1, 50 do
      assert.are.equal(i, m:safe_epoch())
      assert.is_true(readers[i]())
    end
    assert.are.equal(51, m:safe_epoch())
    assert.are.equal("full", code_of(require("lethe.worker").spawn(function(manager)
      return manager:register()
    end, m):join()))
  end)

  it("are ejected alone", function()
    local old = reader()
    m:advance()
    m:advance()
    m:advance()
    local young = reader()
    local mine = h:pin()
    assert.are.equal(1, m:neutralize(2))
    assert.are.equal("neutralized", code_of(old()))
    assert.are.same({ true, true }, { young(), mine:unpin() })
  end)

  it("nest in their own pin, whoever has pinned meanwhile", function()
    local said = {}
    local co = coroutine.wrap(function()
      local outer = h:pin()
      coroutine.yield()
      local inner = h:pin()
      said.two = outer ~= inner
      coroutine.yield()
      said.inner, said.outer = inner:unpin(), outer:unpin()
      said.pinned = h:pinned()
    end)
    co()
    local mine = h:pin()
    co()
    assert.is_true(mine:unpin())
    co()
    assert.are.same({ two = true, inner = true, outer = true, pinned = false }, said)
  end)

  it("retire on their own record; the thread reclaims it all", function()
    local freed = {}
    local function note(v)
      freed[#freed + 1] = v
    end
    local co = coroutine.wrap(function()
      local g = h:pin()
      g:retire("first", note)
      coroutine.yield()
      g:retire("second", note)
      coroutine.yield()
      g:unpin()
    end)
    co()
    h:with_pin(function(g) g:retire("mine", note) end)
    co()
    assert.are.equal(3, h:limbo())
    co()
    assert.are.equal(3, h:limbo())
    m:advance()
    m:advance()
    assert.are.equal(3, h:reclaim())
    table.sort(freed)
    assert.are.same({ "first", "mine", "second" }, freed)
  end)

  it("lose their pin when they are collected", function()
    for _ = 1, 3 do
      local co = coroutine.create(function()
        h:pin()
        coroutine.yield()
      end)
      coroutine.resume(co)
      co = nil -- luacheck: ignore
      h:pin():unpin()
    end
    m:advance()
    collectgarbage()
    assert.are.equal(2, m:safe_epoch())
    assert.are.equal(1, #m:stats().threads)
  end)

  it("lose it as well when nothing was called since", function()
    local co = coroutine.wrap(function()
      h:pin()
      coroutine.yield()
    end)
    co()
    co = nil -- luacheck: ignore
    require("lethe.registry").default():collect()
    m:advance()
    assert.are.equal(2, m:safe_epoch())
  end)

  it("are told from later ones in the same place", function()
    for i = 1, 200 do
      local co = coroutine.create(function()
        assert.is_false(h:pinned())
        local g = h:pin()
        if i % 2 == 0 then coroutine.yield() end
        return g:unpin()
      end)
      assert.is_true((coroutine.resume(co)))
      co = nil -- luacheck: ignore
      collectgarbage()
    end
    assert.is_false(h:pinned())
    collectgarbage()
    m:advance()
    assert.are.equal(2, m:safe_epoch())
  end)

  it("are not kept by having pinned", function()
    local gone = setmetatable({}, { __mode = "k" })
    local co = coroutine.create(function()
      h:pin():unpin()
      coroutine.yield()
    end)
    coroutine.resume(co)
    gone[co] = true
    co = nil -- luacheck: ignore
    m:epoch()
    collectgarbage()
    assert.is_nil(next(gone))
  end)

  it("lose it when they end without unpin, and when they are closed", function()
    coroutine.wrap(function() h:pin() end)()
    local co = coroutine.create(function()
      local g <close> = h:pin()
      coroutine.yield(g)
    end)
    coroutine.resume(co)
    m:advance()
    assert.are.equal(1, m:safe_epoch())
    assert.is_true(coroutine.close(co))
    assert.are.equal(2, m:safe_epoch())
  end)

  it("leave with their handle", function()
    local read = reader()
    h:unregister()
    assert.are.same({ {}, 1 }, { m:stats().threads, m:safe_epoch() })
    assert.has_error(read)
    h = m:register()
  end)

  it("go on when the manager is closed", function()
    m:close()
    local readers = {}
    for i = 1, 3 do
      readers[i] = reader()
    end
    local mine = h:pin()
    assert.is_true(mine:repin())
    assert.is_true(mine:unpin())
    for i = 1, 3 do
      assert.is_true(readers[i]())
    end
    assert.is_false(h:pinned())
  end)
end)

describe("tasks", function()
  local main

  before_each(function()
    begin("manual")()
    main = loop.default()
  end)
  after_each(finish)

  it("move to a record of their own when they wait while pinned", function()
    local said
    local task = main:spawn(function()
      local g <close> = h:pin()
      main:sleep(0.001)
      said = h:pinned()
      return g:unpin()
    end)
    main:step()
    -- seen from elsewhere, without any call of this thread since
    assert.are.same({ 1, false, 1 }, { require("lethe.worker").spawn(function(manager)
      local s = manager:stats()
      return #s.threads, s.threads[1].pinned, s.safe_epoch
    end, m):join() })
    assert.are.same({ true, true }, { task:join(), said })
    assert.is_false(h:pinned())
  end)

  it("are ejected alone, and told so after their wait", function()
    local held = main:spawn(function()
      local g = h:pin()
      main:sleep(0.001)
      return g:unpin()
    end)
    main:step()
    for _ = 1, 4 do
      m:advance()
    end
    local g = h:pin()
    assert.are.equal(1, m:neutralize())
    assert.are.equal("neutralized", code_of(held:join()))
    assert.is_true(g:unpin())
  end)

  it("unpin when they are cancelled", function()
    local task = main:spawn(function()
      local g <close> = h:pin()
      main:sleep(10)
      return g:unpin()
    end)
    main:step()
    m:advance()
    assert.are.equal(1, m:safe_epoch())
    task:cancel()
    task:join()
    assert.are.equal(2, m:safe_epoch())
  end)

  it("allocate for that but once, at their first wait", function()
    local virtual = loop.new{ clock = "virtual" }
    local task = virtual:spawn(function()
      local g <close> = h:pin()
      virtual:sleep(1)
      collectgarbage()
      local before = m:stats().threads
      virtual:sleep(1)
      assert.are.equal(#before, #m:stats().threads)
      return g:unpin()
    end)
    virtual:advance(0)
    virtual:advance(1)
    virtual:advance(1)
    assert.is_true((task:join()))
    virtual:close()
  end)
end)
