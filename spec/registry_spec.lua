-- lethe.registry: who has died becomes visible in collect alone, sorted, and is told in sweep.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local program = require "spec.support.program"
local lethe = require "lethe"
local registry = require "lethe.registry"

local function specs(mode)
  local r, told, kept

  before_each(function()
    mode.enter()
    told, kept = {}, {}
    r = registry.new{ on_dead = function(held) told[#told + 1] = held end }
  end)

  after_each(function()
    r:close()
    mode.leave()
  end)

  -- Registers something that is garbage at once, or when kept[name] goes.
  local function register(held, token, name)
    local object = {}
    if name then kept[name] = object end
    r:register(object, held, token)
  end

  describe("new", function()
    it("makes registries", function()
      assert.are.equal("registry.Registry", lethe.type(r))
      assert.are.same({}, r:dead())
      assert.are.same({ live = 0, dead = 0, registered = 0, finalized = 0, swept = 0 }, r:stats())
    end)

    it("refuses what it does not know, at the line of the call", function()
      assert.are.equal('unknown option "on_daed" (did you mean "on_dead"?)',
        errors.at_its_line(function() registry.new{ on_daed = print } end))
      assert.are.equal("on_dead must be a function (got number)",
        errors.at_its_line(function() registry.new{ on_dead = 5 } end))
      assert.are.equal("a table of options expected, got function",
        errors.at_its_line(function() registry.new(print) end))
    end)

    it("needs no on_dead", function()
      local quiet <close> = registry.new()
      quiet:register({}, 1)
      quiet:collect()
      assert.are.same({ 1 }, quiet:sweep())
    end)
  end)

  describe("register", function()
    it("holds its object weakly", function()
      local weak = setmetatable({}, { __mode = "k" })
      do
        local object = {}
        weak[object] = true
        r:register(object, 1)
      end
      collectgarbage()
      assert.is_nil(next(weak))
    end)

    it("takes whatever is collected", function()
      kept = { {}, function() return kept end, coroutine.create(print), registry.new() }
      for i, object in ipairs(kept) do
        r:register(object, i)
      end
      r:collect()
      assert.are.same({}, r:dead())
      kept = nil
      r:collect()
      assert.are.same({ 1, 2, 3, 4 }, r:dead())
    end)

    it("takes integers and strings to remember it by", function()
      for _, held in ipairs{ 1, -5, math.maxinteger, "", "a name", "\0" } do
        register(held)
      end
      assert.are.equal("bad argument #2 to 'register' (integer or string expected, got float)",
        errors.at_its_line(function() r:register({}, 1.5) end))
      assert.are.equal("bad argument #2 to 'register' (integer or string expected, got float)",
        errors.at_its_line(function() r:register({}, 2.0) end))
      assert.are.equal("bad argument #2 to 'register' (integer or string expected, got nil)",
        errors.at_its_line(function() r:register({}) end))
      assert.are.equal("bad argument #2 to 'register' (integer or string expected, got table)",
        errors.at_its_line(function() r:register({}, {}) end))
      assert.are.equal(6, r:stats().registered)
    end)

    it("refuses what is never collected", function()
      for _, value in ipairs{ 1, "string", true } do
        assert.matches("^bad argument #1 to 'register' %(table, userdata, function or thread exp",
          errors.at_its_line(function() r:register(value, 1) end))
      end
      assert.has_error(function() r:register(nil, 1) end)
      assert.are.equal("bad argument #3 to 'register' (token expected, got nan)",
        errors.at_its_line(function() r:register({}, 1, 0 / 0) end))
      assert.are.equal(0, r:stats().live)
    end)

    it("lets several registrations of one object all report", function()
      do
        local object = {}
        r:register(object, "a")
        r:register(object, "b")
        r:register(object, "b")
      end
      r:collect()
      assert.are.same({ "a", "b", "b" }, r:dead())
    end)

    it("is of one registry alone", function()
      local other <close> = registry.new()
      do
        local object = {}
        r:register(object, 1)
        other:register(object, 2)
      end
      r:collect()
      assert.are.same({ 1 }, r:dead())
      assert.are.same({}, other:dead())
      other:collect()
      assert.are.same({ 2 }, other:dead())
    end)

    it("wants a registry", function()
      assert.are.equal(
        "calling 'register' on bad self (lethe.registry.Registry expected, got table)",
        errors.at_its_line(function() registry.default().register({}, 1) end))
    end)
  end)

  describe("a death", function()
    it("is visible only after collect", function()
      register("x")
      collector.all()
      assert.are.same({}, r:dead())
      assert.are.same({ live = 1, dead = 0, registered = 1, finalized = 0, swept = 0 }, r:stats())
      assert.are.same({}, r:sweep())
      r:collect()
      assert.are.same({ "x" }, r:dead())
      assert.are.same({ live = 0, dead = 1, registered = 1, finalized = 1, swept = 0 }, r:stats())
    end)

    it("is visible though a finalizer registered the object, in collect or before", function()
      local function leave(name)
        setmetatable({}, { __gc = function() r:register({}, name) end })
      end
      leave("in collect")
      r:collect()
      assert.are.same({ "in collect" }, r:dead())
      leave("before")
      collector.all()
      r:collect()
      assert.are.same({ "before", "in collect" }, r:dead())
      assert.are.equal(0, r:stats().live)
    end)

    it("is visible until sweep, which tells it once", function()
      register("x")
      r:collect()
      r:collect()
      assert.are.same({ "x" }, r:dead())
      assert.are.same({}, told)
      assert.are.same({ "x" }, r:sweep())
      assert.are.same({ "x" }, told)
      assert.are.same({}, r:dead())
      assert.are.same({}, r:sweep())
      assert.are.same({ live = 0, dead = 0, registered = 1, finalized = 1, swept = 1 }, r:stats())
    end)

    it("runs no code of the program where the collector found it", function()
      local inside
      local watched <close> = registry.new{ on_dead = function() inside = true end }
      watched:register({}, 1)
      collector.all()
      watched:collect()
      assert.is_nil(inside)
      watched:sweep()
      assert.is_true(inside)
    end)

    it("is not one while a finalizer brings the object back", function()
      do
        local phoenix = setmetatable({}, { __gc = function(self) kept[1] = self end })
        r:register(phoenix, "phoenix")
      end
      r:collect()
      assert.is_table(kept[1])
      assert.are.same({}, r:dead())
      assert.are.equal(1, r:stats().live)
      kept[1] = nil
      r:collect()
      assert.are.same({ "phoenix" }, r:dead())
      assert.are.same({ "phoenix" }, r:sweep())
      r:collect()
      assert.are.same({}, r:dead())
    end)

    it("is not one while several finalizers bring it back in turn", function()
      local times = 0
      local function again(self)
        times = times + 1
        if times < 4 then
          setmetatable(self, { __gc = again })
          kept[1] = self
        end
      end
      do
        r:register(setmetatable({}, { __gc = again }), "cat")
      end
      for _ = 1, 3 do
        r:collect()
        assert.are.same({}, r:dead())
        kept[1] = nil
      end
      r:collect()
      assert.are.same({ 4, { "cat" } }, { times, r:dead() })
    end)

    it("of one object may be what kept another alive", function()
      do
        local inner = setmetatable({}, { __gc = function() end })
        local outer = setmetatable({ inner }, { __gc = function() end })
        r:register(inner, "inner")
        r:register(outer, "outer")
      end
      r:collect()
      assert.are.same({ "inner", "outer" }, r:dead())
    end)

    it("that follows from many others' finalizers is found in one collect", function()
      local function link(depth)
        if depth == 0 then
          local last = {}
          r:register(last, "last")
          return last
        end
        local held = { link(depth - 1) }
        kept[depth] = held
        return setmetatable({}, { __gc = function() kept[depth] = nil end })
      end
      kept.top = link(12)
      kept.top = nil
      r:collect()
      assert.are.same({ "last" }, r:dead())
    end)

    it("of one in a circle is found", function()
      do
        local a, b = {}, {}
        a.b, b.a = b, a
        r:register(a, "a", b)
        r:register(b, "b", a)
      end
      r:collect()
      assert.are.same({ "a", "b" }, r:dead())
    end)

    it("of a lethe object is found, closed before or not", function()
      r:register(registry.new(), "open")
      do
        local closed = registry.new()
        r:register(closed, "closed")
        closed:close()
      end
      r:collect()
      assert.are.same({ "closed", "open" }, r:dead())
    end)
  end)

  describe("dead and sweep", function()
    it("are sorted: numbers before strings, strings by bytes", function()
      local order = { math.mininteger, -1, 0, 2, 10, math.maxinteger,
        "", "\0", "10", "2", "A", "B", "a", "a\0", "a\0b", "aa", "b", "\128", "\255" }
      for i = #order, 1, -1 do
        register(order[(i * 7) % #order + 1])
      end
      r:collect()
      assert.are.same(order, r:dead())
      assert.are.same(order, r:sweep())
      assert.are.same(order, told)
    end)

    it("are sorted by bytes under another locale too", function()
      local before = os.setlocale(nil, "collate")
      for _, name in ipairs{ "en_US.UTF-8", "C.UTF-8", "de_DE.UTF-8" } do
        if os.setlocale(name, "collate") then break end
      end
      for _, held in ipairs{ "b", "B", "a", "A", "_", "~" } do
        register(held)
      end
      r:collect()
      local dead = r:dead()
      os.setlocale(before, "collate")
      assert.are.same({ "A", "B", "_", "a", "b", "~" }, dead)
    end)

    it("give fresh lists", function()
      register(1)
      r:collect()
      r:dead()[1] = "scribble"
      assert.are.same({ 1 }, r:dead())
      assert.are_not.equal(r:stats(), r:stats())
    end)

    it("grow by what dies later, across sweeps", function()
      register("early", nil, "early")
      register("late", nil, "late")
      kept.early = nil
      r:collect()
      assert.are.same({ "early" }, r:dead())
      kept.late = nil
      r:collect()
      assert.are.same({ "early", "late" }, r:sweep())
    end)

    it("report what on_dead raises, and go on", function()
      local bad <close> = registry.new{
        on_dead = function(held)
          if held == 2 then error("bad on_dead") end
          told[#told + 1] = held
        end,
      }
      for i = 1, 3 do
        bad:register({}, i)
      end
      bad:collect()
      local list = errors.reported(function() assert.are.same({ 1, 2, 3 }, bad:sweep()) end)
      assert.are.same({ 1, 3 }, told)
      assert.are.equal(1, #list)
      assert.matches("registry_spec.lua:%d+: bad on_dead\nstack traceback:", list[1].message)
      assert.are.same({ callback = "on_dead", held = 2 }, list[1].details)
      assert.are.same({}, bad:dead())
    end)

    it("let on_dead use the registry", function()
      local again <close> = registry.new{
        on_dead = function(held)
          told[#told + 1] = held
          if held < 3 then
            kept.again:register({}, held + 1)
            kept.again:collect()
            local n = #kept.again:sweep()
            told[#told + 1] = n
          end
        end,
      }
      kept.again = again
      again:register({}, 1)
      again:collect()
      assert.are.same({ 1 }, again:sweep())
      assert.are.same({ 1, 2, 3, 1, 1 }, told)
    end)

    it("may wait in on_dead, in a task", function()
      local virtual <close> = lethe.loop.new{ clock = "virtual" }
      local slow <close> = registry.new{
        on_dead = function(held)
          virtual:sleep(1)
          told[#told + 1] = held
        end,
      }
      slow:register({}, 1)
      slow:register({}, 2)
      slow:collect()
      virtual:spawn(function() slow:sweep() end)
      virtual:advance(1)
      assert.are.same({ 1 }, told)
      virtual:advance(1)
      assert.are.same({ 1, 2 }, told)
    end)
  end)

  describe("unregister", function()
    it("ends the registration with that token", function()
      register("a", "token a", "a")
      register("b", "token b", "b")
      assert.is_true(r:unregister("token a"))
      assert.is_false(r:unregister("token a"))
      assert.are.equal(1, r:stats().live)
      kept = {}
      r:collect()
      assert.are.same({ "b" }, r:dead())
    end)

    it("ends every registration with that token", function()
      local token = {}
      for i = 1, 3 do
        register(i, token, i)
      end
      register(4, nil, 4)
      assert.is_true(r:unregister(token))
      assert.are.equal(1, r:stats().live)
      kept = {}
      r:collect()
      assert.are.same({ 4 }, r:dead())
    end)

    it("ends one of several registrations of one object", function()
      kept.object = {}
      r:register(kept.object, "one", 1)
      r:register(kept.object, "two", 2)
      r:unregister(1)
      kept.object = nil
      r:collect()
      assert.are.same({ "two" }, r:dead())
    end)

    it("knows any value as a token, the object itself too", function()
      local tokens = { 1, 1.5, "s", true, false, {}, print, coroutine.create(print), io.stdout }
      for i, token in ipairs(tokens) do
        register(i, token, i)
      end
      kept.self = {}
      r:register(kept.self, "self", kept.self)
      for _, token in ipairs(tokens) do
        assert.is_true(r:unregister(token))
        assert.is_false(r:unregister(token))
      end
      assert.is_true(r:unregister(kept.self))
      assert.are.equal(0, r:stats().live)
      assert.is_false(r:unregister(nil))
      assert.is_false(r:unregister("never seen"))
      assert.is_false(r:unregister(0 / 0))
    end)

    it("knows 1 and 1.0 as the same token", function()
      register("x", 1, "x")
      assert.is_true(r:unregister(1.0))
    end)

    it("does not keep the token alive, nor the object by it", function()
      local weak = setmetatable({}, { __mode = "k" })
      do
        local token = {}
        weak[token] = true
        register("x", token, "x")
        local own = {}
        weak[own] = true
        r:register(own, "own", own)
      end
      r:collect()
      assert.is_nil(next(weak))
      assert.are.same({ "own" }, r:dead())
      kept.x = nil
      r:collect()
      assert.are.same({ "own", "x" }, r:dead())
    end)

    it("does not depend on what the collector has found already", function()
      register("collected", "token")
      collector.all()
      assert.is_true(r:unregister("token"))
      assert.are.same({ live = 0, dead = 0, registered = 1, finalized = 0, swept = 0 }, r:stats())
      r:collect()
      assert.are.same({}, r:dead())
      register("noted", "token")
      collectgarbage()
      collectgarbage() -- the note is in the dead-set, no safe point has been passed
      assert.is_true(r:unregister("token"))
      r:collect()
      assert.are.same({}, r:dead())
    end)

    it("comes too late for a death that is visible", function()
      register("x", "token")
      r:collect()
      assert.is_false(r:unregister("token"))
      assert.are.same({ "x" }, r:dead())
    end)

    it("lets a token be used again", function()
      register("a", "token", "a")
      r:unregister("token")
      register("b", "token", "b")
      kept = {}
      r:collect()
      assert.are.same({ "b" }, r:dead())
      register("c", "token", "c")
      assert.is_true(r:unregister("token"))
    end)
  end)

  describe("a registry", function()
    it("that is closed hears nothing any more", function()
      register("x", "token", "x")
      r:close()
      kept = {}
      collector.all()
      for _, use in ipairs{
        function() r:register({}, 1) end, function() r:unregister(1) end,
        function() r:collect() end, function() r:dead() end, function() r:sweep() end,
        function() r:stats() end,
      } do
        assert.are.equal("attempt to use a closed lethe.registry.Registry", errors.at_its_line(use))
      end
    end)

    it("may refer to itself in on_dead, and still go", function()
      local weak = setmetatable({}, { __mode = "k" })
      do
        local own
        own = registry.new{ on_dead = function() own:stats() end }
        own:register(kept, "kept")
        weak[own] = true
      end
      collector.all()
      assert.is_nil(next(weak))
    end)

    it("takes what it knows with it", function()
      do
        local gone = registry.new()
        for i = 1, 50 do
          kept[i] = {}
          gone:register(kept[i], i, i)
        end
      end
      collector.all()
      local before = registry.default():stats().live
      kept = {}
      collector.all()
      assert.is_true(registry.default():stats().live <= before)
    end)
  end)

  describe("the default registry", function()
    local default

    before_each(function()
      default = registry.default()
      default:collect()
      default:sweep()
    end)

    it("is always the same", function()
      assert.are.equal(default, registry.default())
      assert.are.equal("registry.Registry", lethe.type(default))
    end)

    it("is made anew once it was closed", function()
      default:close()
      local fresh = registry.default()
      assert.are_not.equal(default, fresh)
      assert.are.same({}, fresh:dead())
    end)

    it("has every lethe object in it, and no others", function()
      local before = default:stats()
      local virtual <close> = lethe.loop.new{ clock = "virtual" }
      local made = { virtual:timer(1, print), virtual:spawn(type, 1), registry.new() }
      local after = default:stats()
      assert.are.equal(before.live + 4, after.live)
      assert.are.equal(before.registered + 4, after.registered)
      r:register(kept, 1) -- not an object of lethe's
      assert.are.same(after, default:stats())
      for _, object in ipairs(made) do
        object:close()
      end
      assert.are.equal(before.live + 1, default:stats().live)
      assert.are.equal(before.finalized, default:stats().finalized)
    end)

    it("tells what was collected without close, by type, once", function()
      local leaks = {}
      local before = lethe.on_leak(function(...) leaks[#leaks + 1] = table.pack(...) end)
      do
        local virtual = lethe.loop.new{ clock = "virtual" }
        virtual:close()
        registry.new():close()
        lethe.loop.new()
        registry.new()
        registry.new()
      end
      collector.all()
      local stats = default:stats()
      assert.are.same({}, default:dead())
      default:collect()
      local after = default:stats()
      assert.are.same({ "loop.Loop", "registry.Registry", "registry.Registry" }, default:dead())
      assert.are.same({ stats.live - 3, 3, stats.finalized + 3 },
        { after.live, after.dead, after.finalized })
      assert.are.same({}, leaks)
      assert.are.same({ "loop.Loop", "registry.Registry", "registry.Registry" }, default:sweep())
      lethe.on_leak(before)
      assert.are.equal(3, #leaks)
      assert.are.same({ "loop.Loop" }, { leaks[1][1] })
      assert.are.same({ "registry.Registry" }, { leaks[3][1] })
      assert.are.same({}, default:sweep())
      assert.are.equal(stats.swept + 3, default:stats().swept)
    end)

    it("tells of maps and of slots, too", function()
      local weakmap, vat = lethe.weakmap, lethe.vat
      default:collect()
      default:sweep()
      weakmap.new():close()
      weakmap.new()
      weakmap.ephemeron()
      vat.slots{ syscall = {} }
      do
        local weak <close> = weakmap.new{ ordered = false }
        weak:upgrade()
      end
      default:collect()
      local list = { "vat.Slots", "weakmap.Ephemeron", "weakmap.StrongMap", "weakmap.WeakMap" }
      assert.are.same(list, default:sweep())
    end)

    it("goes on when on_leak raises, and reports it", function()
      local before = lethe.on_leak(function() error("bad on_leak") end)
      registry.new()
      registry.new()
      default:collect()
      local list = errors.reported(function() assert.are.equal(2, #default:sweep()) end)
      lethe.on_leak(before)
      assert.are.equal(2, #list)
      assert.matches("bad on_leak", list[1].message)
    end)

    it("takes registrations like any other", function()
      default:register({}, "mine")
      default:collect()
      assert.are.same({ "mine" }, default:sweep())
    end)
  end)
end

for _, mode in ipairs(collector.modes) do
  describe("lethe.registry, " .. mode.name, function() specs(mode) end)
end

describe("lethe.registry", function()
  it("tells where a leaked object was made, with LETHE_DEBUG=1", function()
    local script = program.file([[
      local lethe = require "lethe"
      lethe.on_leak(function(held, traceback) print(held) print(traceback) end)
      local function careless() lethe.loop.new{ clock = "virtual" } end
      careless()
      lethe.registry.default():collect()
      lethe.registry.default():sweep()
    ]])
    local out, err, code = program.run("LETHE_DEBUG=1 lethe " .. script)
    assert.are.same({ "", 0 }, { err, code })
    assert.matches("^loop.Loop\nstack traceback:\n", out)
    assert.matches(":3: in [%l ]+'careless'", out)
    out, err, code = program.run("lethe " .. script)
    assert.are.same({ "loop.Loop\nnil\n", "", 0 }, { out, err, code })
    out = program.run("LUA_INIT='local x = 1' lethe " .. script) -- a task of the executable's own
    assert.are.equal("loop.Loop\nnil\n", out)
    program.clean()
  end)

  it("keeps no tracebacks of what was closed", function()
    local out, err, code = program.run("LETHE_DEBUG=1 lethe " .. program.file([[
      local lethe = require "lethe"
      for i = 1, 1000 do lethe.registry.new():close() end
      collectgarbage()
      local before = collectgarbage("count")
      for i = 1, 10000 do lethe.registry.new():close() end
      collectgarbage()
      print(collectgarbage("count") - before < 64)
    ]]))
    assert.are.same({ "true\n", "", 0 }, { out, err, code })
    program.clean()
  end)

  it("takes time in proportion for many objects", function()
    local function seconds(n)
      local r <close> = registry.new()
      local began = os.clock()
      for i = 1, n do
        r:register({}, i)
      end
      r:collect()
      local dead = r:sweep()
      assert.are.same({ n, 1, n }, { #dead, dead[1], dead[n] })
      return os.clock() - began
    end
    seconds(1000)
    local few, many = seconds(10000), seconds(100000)
    local figures = ("%.3f s for 10,000, %.3f s for 100,000"):format(few, many)
    assert.is_true(many < 40 * few + 0.5, figures)
  end)

  it("sees the same deaths whatever the collector does", function()
    local function run(enter)
      enter()
      local seed = 7
      local function random(n)
        seed = (seed * 1103515245 + 12345) % 2147483648
        return seed // 65536 % n + 1
      end
      local log, kept = {}, {}
      local r <close> = registry.new{ on_dead = function(held) log[#log + 1] = held end }
      for i = 1, 3000 do
        local what = random(10)
        if what <= 5 then
          local slot = random(50)
          kept[slot] = {}
          r:register(kept[slot], i, what == 1 and slot or nil)
        elseif what == 6 then
          log[#log + 1] = tostring(r:unregister(random(50)))
        elseif what == 7 then
          kept[random(50)] = nil
        elseif what == 8 and random(20) == 1 then
          r:collect()
        elseif what == 9 then
          log[#log + 1] = ("%d dead, %d live"):format(#r:dead(), r:stats().live)
        elseif what == 10 and random(10) == 1 then
          r:sweep()
        end
      end
      return table.concat(log, "\n")
    end
    local logs = {}
    for i, mode in ipairs(collector.modes) do
      logs[i] = run(mode.enter)
      mode.leave()
    end
    assert.are.equal(logs[1], logs[2])
    assert.are.equal(logs[1], logs[3])
    assert.matches("\n%d+ dead, %d+ live\n", logs[1])
  end)
end)
