-- What all objects of lethe have in common: types, closing, finalizers that only note, reports.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local program = require "spec.support.program"
local base = require "lethe.core.base"
local lethe = require "lethe"

local serial = 0

-- A class of its own for each test, since a state keeps its classes.
local function new_class(...)
  serial = serial + 1
  return base.class("spec.Thing" .. serial, ...)
end

describe("lethe", function()
  it("says its version", function()
    assert.are.equal("lethe 0.1.0", lethe._VERSION)
  end)

  it("loads its modules when they are first used", function()
    local out, err, code = program.script([[
      local lethe = require "lethe"
      print(rawget(lethe, "registry"), package.loaded["lethe.registry"])
      print(lethe.registry == require "lethe.registry", rawget(lethe, "registry") ~= nil)
      print(lethe.loop == require "lethe.loop", lethe.quota == require "lethe.quota")
      print(lethe.spec == require "lethe.spec", lethe.nonsense)
    ]])
    assert.are.same({ "", 0 }, { err, code })
    assert.are.equal("nil\tnil\ntrue\ttrue\ntrue\ttrue\ntrue\tnil\n", out)
  end)

  it("tells its own types, closed ones too, and none of others'", function()
    local loop <close> = lethe.loop.new()
    local timer = loop:timer(1, print)
    assert.are.equal("loop.Loop", lethe.type(loop))
    assert.are.equal("loop.Timer", lethe.type(timer))
    timer:close()
    assert.are.equal("loop.Timer", lethe.type(timer))
    for _, other in ipairs{ 1, "s", {}, print, coroutine.create(print), io.stdout, true } do
      assert.is_nil(lethe.type(other))
    end
    assert.is_nil(lethe.type(nil))
    assert.is_nil(lethe.type())
  end)

  it("wants functions as its hooks, at the line of the call", function()
    assert.matches("bad argument #1 to 'on_error' %(function expected, got number%)",
      errors.at_its_line(function() lethe.on_error(5) end))
    assert.matches("bad argument #1 to 'on_leak' %(function expected, got string%)",
      errors.at_its_line(function() lethe.on_leak("x") end))
  end)

  it("gives back the hook before", function()
    local first, second = function() end, function() end
    local before = lethe.on_error(first)
    assert.are.equal(first, lethe.on_error(second))
    assert.are.equal(second, lethe.on_error(before))
    before = lethe.on_leak(first)
    assert.are.equal(first, lethe.on_leak(before))
  end)
end)

local function specs(mode)
  before_each(mode.enter)
  after_each(mode.leave)

  describe("objects", function()
    it("are full userdata whose metatable bears their name", function()
      local loop <close> = lethe.loop.new()
      local objects = {
        loop, loop:spawn(type, 1), loop:timer(1, print), loop:signal("HUP", print),
        lethe.registry.new(),
      }
      for _, object in ipairs(objects) do
        local name = "lethe." .. lethe.type(object)
        assert.are.equal("userdata", type(object))
        assert.are.equal(name, getmetatable(object).__name)
        assert.are.equal(debug.getregistry()[name], getmetatable(object))
        assert.are.equal(name .. ": 0x", tostring(object):match("^(.-0x)%x+$"))
        assert.is_function(object.close)
        assert.is_true(object:close())
        assert.is_true(object:close())
        assert.are.equal(name .. " (closed)", tostring(object))
        assert.has_no_error(function()
          local _ <close> = object
        end)
      end
    end)

    it("tell their name, where they have one", function()
      local tracker <close> = lethe.quota.new{ max = "1M" }
      local account <close> = tracker:account{ name = "some" }
      local unnamed <close> = tracker:account{}
      local object = { get_oldest = type, reclaim = type }
      local cache <close> = lethe.cache.new{ backend = { load = type }, limit = 1, name = "of it" }
      local worker <close> = lethe.worker.new{ run = function() end, name = "busy" }
      for named, name in pairs{
        [account] = ' "some"', [account:weak()] = ' "some"', [unnamed] = "",
        [account:participant(object)] = ' "some"', [cache] = ' "of it"', [worker] = ' "busy"',
      } do
        assert.are.equal("lethe." .. lethe.type(named) .. name,
          (tostring(named):gsub(": 0x%x+", "", 1)))
      end
      worker:join()
    end)

    it("are closed by their scope", function()
      local kept
      do
        local scoped <close> = lethe.registry.new()
        kept = scoped
      end
      assert.are.equal("attempt to use a closed lethe.registry.Registry",
        errors.at_its_line(function() kept:stats() end))
    end)

    it("cannot be closed by their scope as something else", function()
      local close = getmetatable(lethe.registry.default()).__close
      assert.matches("lethe object expected", select(2, pcall(close, io.stdout)))
      assert.matches("lethe object expected", select(2, pcall(close)))
    end)

    it("do not mind a script that calls their finalizer", function()
      local registry = lethe.registry.new()
      local gc = getmetatable(registry).__gc
      gc(registry)
      gc(registry)
      gc(io.stdout)
      gc({})
      gc()
      assert.has_error(function() registry:stats() end)
      assert.is_true(registry:close())
    end)
  end)

  describe("finalizers", function()
    it("only note: what follows waits for a safe point", function()
      local ended = {}
      local new = new_class({}, function(insides, closed)
        ended[#ended + 1] = { insides.name, closed }
      end)
      new{ name = "a" }
      collectgarbage()
      collectgarbage()
      assert.are.same({}, ended)
      base.safepoint()
      assert.are.same({ { "a", false } }, ended)
      local b = new{ name = "b" }
      b:close()
      assert.are.same({ "b", true }, ended[2])
      b = nil -- luacheck: ignore
      collector.all()
      assert.are.equal(2, #ended)
    end)

    it("are acted on in slot order, whatever the collector's", function()
      local ended = {}
      local new = new_class({}, function(insides) ended[#ended + 1] = insides.name end)
      collector.all()
      do
        local kept = {}
        for i = 1, 100 do
          kept[(i * 37) % 101] = new{ name = i }
        end
        assert.is_not_nil(next(kept))
      end
      collectgarbage()
      collectgarbage()
      base.safepoint()
      assert.are.equal(100, #ended)
      local sorted = table.move(ended, 1, #ended, 1, {})
      table.sort(sorted)
      assert.are.same(sorted, ended)
    end)

    it("are acted on in a turn, a close, a collect and a sweep", function()
      local ended = 0
      local new = new_class({}, function() ended = ended + 1 end)
      local loop <close> = lethe.loop.new{ clock = "virtual" }
      local registry = lethe.registry.new()
      local points = {
        function() loop:step() end,
        function() loop:run() loop:advance(1) end,
        function() loop:timer(1, print):close() end,
        function() registry:collect() end,
        function() registry:sweep() end,
      }
      for i, point in ipairs(points) do
        new{}
        collectgarbage()
        collectgarbage()
        assert.are.equal(i - 1, ended)
        point()
        assert.are.equal(i, ended)
      end
    end)

    it("whose class fails are reported, and keep no other from its end", function()
      local ended = 0
      local new = new_class({}, function(insides)
        if insides.bad then error("bad finisher") end
        ended = ended + 1
      end)
      local list = errors.reported(function()
        for i = 1, 5 do
          new{ bad = i == 2 }
        end
        collector.all()
      end)
      assert.are.equal(4, ended)
      assert.are.equal(1, #list)
      assert.matches("objects_spec.lua:%d+: bad finisher\nstack traceback:", list[1].message)
    end)

    it("may find that their class makes new objects", function()
      local ended = {}
      local new
      new = new_class({}, function(insides)
        ended[#ended + 1] = insides.depth
        if insides.depth < 5 then new{ depth = insides.depth + 1 } end
      end)
      new{ depth = 1 }
      for _ = 1, 5 do
        collectgarbage()
        collectgarbage()
        base.safepoint()
      end
      assert.are.same({ 1, 2, 3, 4, 5 }, ended)
    end)

    it("close what another finalizer brings back", function()
      local registry
      setmetatable({ lethe.registry.new() }, { __gc = function(self) registry = self[1] end })
      collector.all()
      assert.are.equal("lethe.registry.Registry (closed)", tostring(registry))
      assert.has_error(function() registry:stats() end)
    end)

    it("let go of insides that refer to their object, if only closing matters", function()
      local weak = setmetatable({}, { __mode = "k" })
      local closed = 0
      local new = new_class({}, function(_, by_close)
        assert(by_close)
        closed = closed + 1
      end, false, true)
      do
        local insides = {}
        insides.object = new(insides)
        weak[insides] = true
        new{}:close()
      end
      collector.all()
      assert.is_nil(next(weak))
      assert.are.equal(1, closed)
    end)
  end)
end

for _, mode in ipairs(collector.modes) do
  describe("lethe, " .. mode.name, function() specs(mode) end)
end

describe("lethe.on_error", function()
  it("hears of errors by default through a line on stderr", function()
    local out, err, code = program.script([[
      require("lethe.loop").default():spawn(error, "on the line", 0)
    ]])
    assert.are.same({ "", 1 }, { out, code })
    assert.matches("^lethe: on the line\nstack traceback:\n", err)
  end)

  it("gets the message and a table of details", function()
    local list = errors.reported(function()
      base.report("plain")
      base.report("more", { what = 1 })
      base.report({})
      base.report(setmetatable({}, { __tostring = function() error("no") end }))
    end)
    assert.are.same({ message = "plain", details = {} }, list[1])
    assert.are.same({ message = "more", details = { what = 1 } }, list[2])
    assert.matches("^table: ", list[3].message)
    assert.are.equal("(error object is a table value)", list[4].message)
  end)
end)

describe("options", function()
  local function options(given, names)
    base.options(given, names, 2)
  end

  it("that are unknown raise, with the nearest name that is near", function()
    assert.are.equal('unknown option "sise" (did you mean "size"?)',
      errors.at_its_line(function() options({ sise = 1 }, { "size", "clock" }) end))
    assert.are.equal('unknown option "zzz"',
      errors.at_its_line(function() options({ zzz = 1 }, { "size", "clock" }) end))
    assert.are.equal('unknown option "1"',
      errors.at_its_line(function() options({ "x" }, { "size" }) end))
    assert.are.equal('unknown option "size", and a zero byte after that',
      errors.at_its_line(function() options({ ["size\0"] = 1 }, { "size" }) end))
    assert.are.equal("no error", errors.at_its_line(function() options({}, {}) end))
    assert.has_no_error(function() options({ size = 1 }, { "size" }) end)
  end)
end)

describe("sizes", function()
  local function size(value)
    return base.size(value, "max", 2)
  end

  it("are integers or have a binary unit", function()
    local cases = {
      [0] = 0, [4096] = 4096, [2.0] = 2, ["64K"] = 65536, ["1.5M"] = 1572864, ["2G"] = 2147483648,
      ["1T"] = 1 << 40, ["1E"] = 1 << 60, ["12"] = 12, ["0.5k"] = 512, [".5K"] = 512,
      ["1 MiB"] = 1 << 20, ["3MB"] = 3 << 20, ["7b"] = 7, [" 1K"] = 1024,
      ["300181.000000000000000000001K"] = 307385344,
      ["0." .. ("9"):rep(400) .. "K"] = 1024, ["0." .. ("0"):rep(400) .. "1G"] = 0,
      [math.maxinteger] = math.maxinteger,
    }
    for text, bytes in pairs(cases) do
      assert.are.equal(bytes, size(text))
    end
  end)

  it("are refused when they are something else, at the line of the call", function()
    assert.are.equal("max must not be negative (got -1)",
      errors.at_its_line(function() size(-1) end))
    assert.are.equal('max must not be negative (got "-1K")',
      errors.at_its_line(function() size("-1K") end))
    assert.are.equal("max must be a whole number of bytes (got 1.5)",
      errors.at_its_line(function() size(1.5) end))
    assert.matches("^max must be a size, bytes or \"64K\" %(got table%)$",
      errors.at_its_line(function() size({}) end))
    for bad in (" ,K,1X,1.2.3K,1e3,0x10,nan,inf,1KK,1K\0,one"):gmatch("[^,]+") do
      assert.matches("^max is no size: ", errors.at_its_line(function() size(bad) end))
    end
    assert.matches("^max is too large ", errors.at_its_line(function() size("8E") end))
    assert.matches("^max must be a whole number", errors.at_its_line(function() size(1e300) end))
  end)

  it("have a point, whatever the locale says", function()
    local before = os.setlocale(nil, "numeric")
    local comma = os.setlocale("de_DE.UTF-8", "numeric") or os.setlocale("de_DE", "numeric")
    local bytes = size("1.5K")
    os.setlocale(before, "numeric")
    assert.are.equal(1536, bytes)
    assert.is_true(comma == nil or comma ~= "C")
  end)
end)
