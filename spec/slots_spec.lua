-- The slot tables of one vat, through their Lua face: names, bodies, and what is said of the dead.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local lethe = require "lethe"
local program = require "spec.support.program"
local vat = require "lethe.vat"

describe("vat.slots", function()
  local said, slots

  local function syscalls()
    said = {}
    local calls = {}
    for _, name in ipairs{ "dropImports", "retireImports", "retireExports" } do
      calls[name] = function(list) said[#said + 1] = name .. " " .. table.concat(list, " ") end
    end
    return calls
  end

  before_each(function()
    slots = vat.slots{ syscall = syscalls() }
  end)

  after_each(function()
    slots:close()
    slots = nil
  end)

  it("gives a name one object as long as that lives", function()
    local alice = slots:import("o-1")
    assert.are.equal(alice, slots:import("o-1"))
    assert.are.equal(alice, slots:val("o-1"))
    assert.are.equal("o-1", slots:slot(alice))
    assert.are.equal("REACHABLE", slots:state("o-1"))
    assert.is_nil(slots:val("o-2"))
    assert.is_nil(slots:slot({}))
    assert.are.equal("UNKNOWN", slots:state("o-2"))
  end)

  it("says what died only when it is told to bring out the dead, sorted by bytes", function()
    for _, vref in ipairs{ "o-2", "o-10", "o-1" } do
      slots:import(vref)
    end
    collectgarbage()
    collectgarbage()
    assert.are.same({}, said)
    assert.is_true(slots:bring_out_your_dead())
    assert.are.same({ "dropImports o-1 o-10 o-2", "retireImports o-1 o-10 o-2" }, said)
    assert.is_true(slots:bring_out_your_dead())
    assert.are.equal(2, #said)
  end)

  it("names what leaves, and holds it until the kernel drops it", function()
    local object = {}
    assert.are.equal("o+10", slots:export(object))
    assert.are.equal("o+10", slots:export(object))
    object = nil
    slots:bring_out_your_dead()
    assert.is_table(slots:val("o+10"))
    slots:drop_exports{ "o+10" }
    slots:bring_out_your_dead()
    assert.are.same({ "retireExports o+10" }, said)
    assert.is_nil(object)
  end)

  it("looks up names and objects without effect", function()
    local object = {}
    assert.is_nil(slots:slot(object))
    assert.are.equal("o+10", slots:name(object))
    assert.are.equal("o+10", slots:slot(object))
    assert.are.equal(object, slots:val("o+10"))
    object = nil -- a name alone holds nothing
    slots:bring_out_your_dead()
    assert.is_nil(slots:val("o+10"))
    assert.are.same({}, said)
    for _, value in ipairs{ 1, "o-1", true } do
      assert.is_nil(slots:slot(value))
    end
    assert.is_nil(slots:slot(nil))
    assert.is_nil(object)
  end)

  it("delivers back what the vat exported, and refuses what it never had", function()
    local object = {}
    slots:export(object)
    assert.are.equal(object, slots:import("o+10"))
    assert.are.equal("o+99 is not known to this vat",
      errors.at_its_line(function() slots:import("o+99") end))
    assert.are.equal("p+9 is not known to this vat",
      errors.at_its_line(function() slots:import("p+9") end))
    assert.are.equal("o+v2/9 is not known to this vat",
      errors.at_its_line(function() slots:import("o+v2/9") end))
  end)

  it("exports objects of every kind, and nothing that is copied", function()
    local objects = { {}, function() end, coroutine.create(print), io.stdout }
    for i, object in ipairs(objects) do
      assert.are.equal("o+" .. i + 9, slots:export(object))
    end
    for _, value in ipairs{ 1, "x", true } do
      local message = "bad argument #1 to '%s' (an object expected, got " .. type(value) .. ")"
      assert.are.equal(message:format("export"),
        errors.at_its_line(function() slots:export(value) end))
      assert.are.equal(message:format("name"),
        errors.at_its_line(function() slots:name(value) end))
    end
    assert.matches("cannot leave", errors.at_its_line(function() slots:name(slots:weak_map()) end))
    assert.are.equal("o+14", slots:export({}))
  end)

  it("keeps its presences apart from another vat's", function()
    local other <close> = vat.slots()
    local mine, theirs = slots:import("o-1"), other:import("o-1")
    assert.are_not.equal(mine, theirs)
    assert.is_nil(slots:slot(theirs))
    assert.are.equal("o+10", slots:export(theirs)) -- an object like any
    assert.are.equal("o-1", other:slot(theirs))
  end)
end)

describe("what a Slots makes", function()
  it("has a type, as other objects have", function()
    local slots <close> = vat.slots{}
    assert.are.same({ "vat.Presence", "vat.Device", "vat.WeakMap", "vat.WeakSet" }, {
      lethe.type(slots:import("o-1")), lethe.type(slots:import("d-1")),
      lethe.type(slots:weak_map()), lethe.type(slots:weak_set()),
    })
    assert.is_nil(lethe.type(io.stdout))
    assert.is_nil(lethe.type(setmetatable({}, { __name = "lethe.vat.Presence" })))
  end)
end)

describe("a presence", function()
  local slots

  before_each(function() slots = vat.slots() end)
  after_each(function()
    slots:close()
    slots = nil
  end)

  it("says its name and no address, and cannot be stamped or looked into", function()
    local p = slots:import("o-7")
    assert.are.equal("lethe.vat.Presence: o-7", tostring(p))
    assert.is_false(getmetatable(p))
    assert.has_error(function() p.x = 1 end)
    assert.has_error(function() return p.x end)
    assert.has_error(function() rawset(p, 1, 1) end)
    assert.has_error(function() setmetatable(p, {}) end)
    assert.has_error(function() return p < p end)
    assert.is_nil(debug.getuservalue(p, 1))
    assert.is_nil(debug.setuservalue(p, 1, 1))
    for _, object in ipairs{ slots:weak_map(), slots:weak_set(), slots:store(), slots:weak_store(),
      slots:import("d-1"), slots:import("p-1") } do
      assert.is_nil(tostring(object):find("0x", 1, true))
      assert.is_false(getmetatable(object))
    end
    assert.is_nil(tostring(slots):find("0x", 1, true))
  end)

  it("that a finalizer brings back is nobody's any more, and is replaced", function()
    local saved
    do
      local phoenix = setmetatable({ slots:import("o-1") }, { __gc = function(t) saved = t[1] end })
      assert.are.equal("o-1", slots:slot(phoenix[1]))
    end
    collector.all()
    assert.is_userdata(saved)
    assert.is_nil(slots:slot(saved))
    assert.are.equal("lethe.vat.Presence", tostring(saved))
    local fresh = slots:import("o-1")
    assert.are_not.equal(saved, fresh)
    slots:bring_out_your_dead()
    assert.are.equal(fresh, slots:val("o-1"))
  end)
end)

describe("bring_out_your_dead", function()
  local said, slots

  local function open(extra)
    said = {}
    local calls = extra or {}
    for _, name in ipairs{ "dropImports", "retireImports", "retireExports" } do
      calls[name] = calls[name] or function(list)
        for _, vref in ipairs(list) do
          said[#said + 1] = name .. " " .. vref
        end
      end
    end
    slots = vat.slots{ syscall = calls }
  end

  before_each(function() open() end)
  after_each(function()
    slots:close()
    slots = nil
  end)

  -- What the calls said of each kind, in order.
  local function lists()
    local result = { dropImports = {}, retireImports = {}, retireExports = {} }
    for _, line in ipairs(said) do
      local name, vref = line:match("^(%a+) (.*)$")
      table.insert(result[name], vref)
    end
    return result
  end

  local function fill()
    local map = slots:weak_map()
    for i = 1, 40 do
      slots:import("o-" .. i)
      local object = {}
      slots:export(object)
      slots:drop_exports{ "o+" .. i + 9 }
      if i % 4 == 0 then map:set(slots:import("o-" .. i), slots:import("o-" .. i + 100)) end
    end
    return map
  end

  it("with a budget says in n calls what it says in one without", function()
    local held = { fill() }
    assert.is_true(slots:bring_out_your_dead())
    local whole = lists()
    assert.are.equal(1, #held)
    held[1] = nil
    assert.is_true(slots:bring_out_your_dead())
    local rest = lists()
    for _, budget in ipairs{ 1, 3, 7, 1000 } do
      slots:close()
      open()
      held[1] = fill()
      local calls, names = 0, 0
      repeat
        local done = slots:bring_out_your_dead(budget)
        calls = calls + 1
        local here = {}
        for i = names + 1, #said do
          here[said[i]:match("%S+$")] = true
        end
        names = #said
        local count = 0
        for _ in pairs(here) do
          count = count + 1
        end
        assert.is_true(count <= budget and (done or count == budget))
      until done
      assert.are.same(whole, lists())
      assert.are.equal(math.max(math.ceil(80 / budget), 1), calls)
      held[1] = nil
      repeat until slots:bring_out_your_dead(budget)
      assert.are.same(rest, lists())
      assert.is_true(slots:bring_out_your_dead(budget))
      assert.are.same(rest, lists())
    end
  end)

  it("with a budget leaves alone what is delivered or retired meanwhile", function()
    local set = slots:weak_set()
    for i = 1, 5 do
      set:add(slots:import("o-" .. i))
    end
    assert.is_false(slots:bring_out_your_dead(2))
    local third = slots:import("o-3")
    slots:retire_imports{ "o-1" }
    assert.is_true(slots:bring_out_your_dead(10))
    assert.are.same({ "o-1", "o-2", "o-4", "o-5" }, lists().dropImports)
    assert.is_true(set:has(third))
    assert.is_false(set:has(slots:import("o-1")))
  end)

  it("wants a positive integer as budget", function()
    for _, budget in ipairs{ 0, -1, 1.5, "1", {} } do
      assert.matches("^bad argument #1 to 'bring_out_your_dead' %(a positive integer expected, ",
        errors.at_its_line(function() slots:bring_out_your_dead(budget) end))
    end
  end)

  it("says once what a syscall that raises was given, and later what it had not come to", function()
    slots:close()
    open{ dropImports = function(list)
      said[#said + 1] = "dropImports " .. #list
      error("no drops today", 0)
    end }
    slots:import("o-1")
    assert.has_error(function() slots:bring_out_your_dead() end, "no drops today")
    assert.are.same({ "dropImports 1" }, said)
    assert.is_true(slots:bring_out_your_dead())
    assert.are.same({ "dropImports 1", "retireImports o-1" }, said)
  end)

  it("does not start again inside itself; what a syscall does otherwise is fine", function()
    local inner
    slots:close()
    open{ dropImports = function(list)
      said[#said + 1] = "dropImports " .. list[1]
      inner = select(2, pcall(slots.bring_out_your_dead, slots))
      slots:import(list[1])
      slots:import("o-50")
      slots:weak_set():add(slots:import("o-51"))
    end }
    slots:import("o-1")
    slots:bring_out_your_dead()
    assert.matches("bring_out_your_dead is at work already", inner)
    assert.are.same({ "dropImports o-1", "retireImports o-1" }, said)
  end)

  it("cannot be called from a finalizer, where nothing can be collected", function()
    local message
    do
      setmetatable({}, { __gc = function()
        message = select(2, pcall(slots.bring_out_your_dead, slots))
      end })
    end
    collectgarbage()
    assert.matches("cannot collect inside a finalizer", message)
    slots:import("o-1")
    slots:bring_out_your_dead()
    assert.are.same({ "dropImports o-1", "retireImports o-1" }, said)
  end)

  it("goes from anywhere: a coroutine, a to-be-closed variable, an error on its way", function()
    local function drop(i)
      return setmetatable({}, { __close = function()
        slots:import("o-" .. i)
        slots:bring_out_your_dead()
      end })
    end
    coroutine.wrap(function()
      local a <close> = drop(1)
      assert.is_table(a)
      coroutine.yield()
    end)()
    local co = coroutine.create(function()
      local b <close> = drop(2)
      assert.is_table(b)
      coroutine.yield(slots:import("o-3"))
    end)
    coroutine.resume(co)
    coroutine.close(co)
    co = nil
    pcall(function()
      local c <close> = drop(4)
      assert.is_table(c)
      error(slots:import("o-5"))
    end)
    slots:bring_out_your_dead()
    assert.is_nil(co)
    assert.are.same({ "o-2", "o-3", "o-4", "o-5" }, lists().dropImports)
  end)

  it("gives memory back: of many names next to nothing is left", function()
    local function used()
      for _ = 1, 10 do -- Lua halves its table of strings once a cycle
        collectgarbage()
      end
      return collectgarbage("count") * 1024 + slots:stats().bytes
    end
    slots:bring_out_your_dead()
    local before = used()
    local kept = {}
    for i = 1, 20000 do
      kept[i] = slots:import("o-" .. i)
    end
    assert.is_true(used() - before > 20000 * 80)
    local one = kept[77]
    kept = nil
    slots:bring_out_your_dead()
    said = {}
    assert.is_true(used() - before < 20000 * 4)
    assert.are.equal(one, slots:val("o-77"))
    assert.is_nil(kept)
  end)
end)

describe("weak collections of slots", function()
  local slots

  before_each(function() slots = vat.slots() end)
  after_each(function()
    slots:close()
    slots = nil
  end)

  it("set, get, have and delete", function()
    local map, set = slots:weak_map(), slots:weak_set()
    local presence, object = slots:import("o-1"), {}
    for _, key in ipairs{ presence, object, slots:import("d-1"), slots:import("p-1"), print } do
      assert.is_false(map:has(key))
      assert.is_nil(map:get(key))
      map:set(key, false)
      assert.is_true(map:has(key))
      assert.is_false(map:get(key))
      map:set(key, key)
      assert.are.equal(key, map:get(key))
      map:set(key, nil)
      assert.is_false(map:has(key))
      map:set(key, 1)
      assert.is_true(map:delete(key))
      assert.is_false(map:delete(key))
      set:add(key)
      set:add(key)
      assert.is_true(set:has(key))
      assert.is_true(set:delete(key))
      assert.is_false(set:has(key))
    end
  end)

  it("refuse keys that are copied, and answer that they do not have them", function()
    local map, set = slots:weak_map(), slots:weak_set()
    for _, key in ipairs{ 1, "x", true } do
      assert.matches("^bad argument #1 to 'set' %(an object expected as key, got ",
        errors.at_its_line(function() map:set(key, 1) end))
      assert.matches("^bad argument #1 to 'add' %(an object expected as key, got ",
        errors.at_its_line(function() set:add(key) end))
      assert.is_false(map:has(key))
      assert.is_nil(map:get(key))
      assert.is_false(set:delete(key))
    end
    assert.matches("got nil", errors.at_its_line(function() set:add(nil) end))
    assert.is_false(set:has(nil))
  end)

  it("end when they are closed, and with their tables", function()
    local map <close>, set = slots:weak_map(), slots:weak_set()
    local key = slots:import("o-1")
    map:set(key, 1)
    set:add(key)
    assert.is_true(map:close())
    assert.is_true(map:close())
    assert.are.equal("attempt to use a closed lethe.vat.WeakMap",
      errors.at_its_line(function() map:get(key) end))
    assert.are.equal("a lethe.vat.WeakSet expected",
      errors.at_its_line(function() set.has(map, key) end))
    slots:close()
    assert.are.equal("attempt to use a closed lethe.vat.Slots",
      errors.at_its_line(function() set:has(key) end))
    assert.is_true(set:close())
  end)
end)

describe("stores of slots", function()
  local slots

  before_each(function() slots = vat.slots() end)
  after_each(function()
    slots:close()
    slots = nil
  end)

  it("keep plain values and names", function()
    local store, object = slots:store(), {}
    for _, value in ipairs{ 1, 2.5, "text", true, object, slots:import("o-1"), store } do
      store:set("k", value)
      assert.are.equal(value, store:get("k"))
    end
    store:set("k", false)
    assert.is_false(store:get("k"))
    assert.is_true(store:delete("k"))
    assert.is_false(store:delete("k"))
    assert.is_nil(store:get("k"))
    assert.matches("string expected, got number",
      errors.at_its_line(function() store:set(1, 1) end))
  end)

  it("are found again by their names after their objects are gone", function()
    local store = slots:store()
    local vref = slots:export(store)
    assert.are.equal("o+v2/4", vref)
    store:set("k", slots:import("o-1"))
    store = nil
    slots:bring_out_your_dead()
    assert.is_nil(slots:val(vref))
    assert.are.equal("o-1", slots:slot(slots:import(vref):get("k")))
    assert.is_nil(store)
    slots:drop_exports{ vref }
    slots:bring_out_your_dead()
    assert.is_nil(slots:val(vref))
    assert.are.equal("UNKNOWN", slots:state("o-1"))
    assert.are.equal(0, slots:stats().slots)
  end)
end)

describe("why", function()
  local slots, regs

  before_each(function()
    regs = {}
    slots = vat.slots{ roots = regs, root = {} }
  end)
  after_each(function()
    slots:close()
    slots = nil
  end)

  it("looks through the whole state where no roots were given, and not at itself", function()
    local rootless <close> = vat.slots{}
    local a = rootless:import("o-1")
    do
      local list = { rootless:import("o-2") }
      rootless:export(list)
    end
    rootless:import("o-3")
    rootless:import("o-4")
    local held = coroutine.create(function(x)
      coroutine.yield()
      return x
    end)
    coroutine.resume(held, rootless:import("o-5"))
    collectgarbage()
    assert.are.equal("o-1", rootless:slot(a))
    assert.are.same({ "local a" }, rootless:why("o-1"))
    assert.are.same({ "[1]", "the export o+10" }, rootless:why("o-2"))
    assert.are.same({ "local x", "local held" }, rootless:why("o-5"))
    assert.is_nil(rootless:why("o-3"))
    rootless:drop_exports{ "o+10" }
    assert.is_nil(rootless:why("o-2"))
    assert.are.equal("local a", coroutine.wrap(function() return rootless:why("o-1")[1] end)())
  end)

  it("names the path from a root to what keeps a name", function()
    regs.a = slots:import("o-1")
    assert.are.same({ "register a" }, slots:why("o-1"))
    regs.x = { deep = { slots:import("o-2") } }
    assert.are.same({ "[1]", "deep", "register x" }, slots:why("o-2"))
    local object = { field = slots:import("o-3") }
    slots:export(object)
    assert.are.same({ "field", "the export o+10" }, slots:why("o-3"))
    slots:import("p-1").value = slots:import("o-4")
    assert.are.same({ "value", "the unresolved promise p-1" }, slots:why("o-4"))
    regs.map = slots:weak_map()
    regs.map:set(regs.a, slots:import("o-5"))
    assert.matches("register map", table.concat(slots:why("o-5"), ", "))
    local v = slots:import("o-6")
    regs.closure = function() return v end
    assert.are.same({ "upvalue v", "register closure" }, slots:why("o-6"))
    v = nil
    regs.co = coroutine.create(function(p) coroutine.yield() return p end)
    coroutine.resume(regs.co, slots:import("o-7"))
    assert.are.same({ "local p", "register co" }, slots:why("o-7"))
    assert.is_nil(v)
  end)

  it("says stored data, a recognizer, or nothing", function()
    regs.store = slots:store()
    regs.store:set("k", slots:import("o-1"))
    regs.set = slots:weak_set()
    regs.set:add(slots:import("o-2"))
    slots:import("o-3")
    slots:bring_out_your_dead()
    assert.are.same({ "stored data" }, slots:why("o-1"))
    assert.are.same({ "a recognizer: a weak collection's key" }, slots:why("o-2"))
    assert.is_nil(slots:why("o-3"))
    assert.is_nil(slots:why("o-4"))
  end)
end)

describe("a simulated collector", function()
  it("sees what the program holds: UNREACHABLE before it collects", function()
    local slots <close> = vat.slots{ engine = "manual" }
    local p = slots:import("o-1")
    assert.are.equal("REACHABLE", slots:state("o-1"))
    slots:import("o-2")
    assert.are.equal("UNREACHABLE", slots:state("o-2"))
    collector.all()
    assert.are.equal("UNREACHABLE", slots:state("o-2"))
    assert.are.same({ "o-2" }, slots:collect())
    assert.are.equal("COLLECTED", slots:state("o-2"))
    assert.are.same({ "o-2" }, slots:finalize())
    assert.are.equal("FINALIZED", slots:state("o-2"))
    slots:bring_out_your_dead()
    assert.are.equal("UNKNOWN", slots:state("o-2"))
    assert.are.equal(p, slots:val("o-1"))
    p = nil
    assert.are.equal("UNREACHABLE", slots:state("o-1"))
    slots:bring_out_your_dead() -- it does not collect, unless forced
    assert.are.equal("UNREACHABLE", slots:state("o-1"))
    assert.is_nil(p)
  end)

  it("collects what it is told, if nothing keeps that", function()
    local regs = {}
    local slots <close> = vat.slots{ engine = "manual", roots = regs }
    regs.a = slots:import("o-1")
    slots:import("o-2")
    slots:import("o-3")
    assert.are.same({ "o-3" }, slots:collect{ "o-1", "o-3", "o-9", "w1" })
    assert.are.equal("UNREACHABLE", slots:state("o-2"))
    local again = slots:import("o-2")
    assert.are.same({ "o-2" }, slots:collect{ "o-2" }) -- registers alone are roots here
    assert.is_userdata(again)
  end)
end)

describe("vat.slots", function()
  it("takes the options that there are", function()
    for text, fn in pairs{
      ['unknown option "engin" (did you mean "engine"?)'] =
        function() vat.slots{ engin = "lua" } end,
      ['engine must be "lua" or "manual" (got "js")'] = function() vat.slots{ engine = "js" } end,
      ['engine must be "lua" or "manual" (got number)'] = function() vat.slots{ engine = 1 } end,
      ["syscall must be a table of functions (got string)"] =
        function() vat.slots{ syscall = "x" } end,
      ["syscall.send must be a function (got number)"] =
        function() vat.slots{ syscall = { send = 1 } } end,
      ['unknown option "dropImport" (did you mean "dropImports"?)'] =
        function() vat.slots{ syscall = { dropImport = print } } end,
      ["first_export must be a positive integer (got 0)"] =
        function() vat.slots{ first_export = 0 } end,
      ["promises.is must be a function (got nil)"] =
        function() vat.slots{ promises = { new = print } } end,
      ["a table of options expected, got number"] = function() vat.slots(1) end,
    } do
      assert.are.equal(text, errors.at_its_line(fn))
    end
  end)

  it("gives objects that end", function()
    local slots = vat.slots()
    assert.are.equal("vat.Slots", lethe.type(slots))
    local p = slots:import("o-1")
    assert.is_true(slots:close())
    assert.is_true(slots:close())
    assert.are.equal("lethe.vat.Slots (closed)", tostring(slots))
    for _, fn in ipairs{
      function() slots:import("o-1") end, function() slots:export({}) end,
      function() slots:val("o-1") end, function() slots:slot(p) end,
      function() slots:state("o-1") end, function() slots:drop_exports{} end,
      function() slots:retire_exports{} end, function() slots:retire_imports{} end,
      function() slots:bring_out_your_dead() end, function() slots:weak_map() end,
      function() slots:weak_set() end, function() slots:why("o-1") end,
      function() slots:stats() end, function() slots:name({}) end, function() slots:root() end,
      function() slots:collect() end, function() slots:finalize() end,
    } do
      assert.are.equal("attempt to use a closed lethe.vat.Slots", errors.at_its_line(fn))
    end
    assert.are.equal("lethe.vat.Presence", tostring(p))
    collector.all()
  end)

  it("may be collected with everything in it, in any order", function()
    for _ = 1, 5 do
      local slots = vat.slots()
      local map = slots:weak_map()
      map:set(slots:import("o-1"), slots)
      slots:export({ slots, map })
      slots:store():set("k", slots:import("o-2"))
      slots:send("o-1", "m", { slots = {} })
    end
    collector.all()
    assert.is_true(true)
  end)

  it("ends with its state, whatever waits, whichever finalizer comes first", function()
    local out, err, code = program.script[[
      local vat = require "lethe.vat"
      kept = { setmetatable({}, { __gc = function()
        pcall(kept.slots.import, kept.slots, "o-1")
        pcall(kept.slots.bring_out_your_dead, kept.slots)
        print(tostring(kept.slots):match("^lethe.vat.Slots"))
      end }) }
      for i = 1, 3 do
        local slots = vat.slots()
        for n = 1, 100 do
          kept[#kept + 1] = n % 2 == 0 and slots:import("o-" .. n) or nil
          slots:import("o-" .. n + 100)
          kept[#kept + 1] = slots:weak_map()
        end
        kept.slots = slots
        collectgarbage()
      end
    ]]
    assert.are.same({ "lethe.vat.Slots\n", "", 0 }, { out, err, code })
  end)
end)

for _, mode in ipairs(collector.modes) do
  describe("slots under " .. mode.name, function()
    before_each(mode.enter)
    after_each(mode.leave)

    it("say the same", function()
      local said = {}
      local function say(list) said[#said + 1] = table.concat(list, " ") end
      local slots <close> =
        vat.slots{ syscall = { dropImports = say, retireImports = say, retireExports = say } }
      local map, kept = slots:weak_map(), {}
      for i = 1, 8 do
        kept[i] = slots:import("o-" .. i)
        map:set(kept[i], slots:import("o-" .. i + 10))
        if i % 2 == 0 then kept[i] = nil end
      end
      slots:export(kept)
      kept = nil
      slots:bring_out_your_dead()
      slots:drop_exports{ "o+10" }
      map = nil
      slots:bring_out_your_dead()
      assert.are.same({ "o-2 o-4 o-6 o-8",
        "o-1 o-11 o-12 o-13 o-14 o-15 o-16 o-17 o-18 o-3 o-5 o-7",
        "o-1 o-11 o-12 o-13 o-14 o-15 o-16 o-17 o-18 o-2 o-3 o-4 o-5 o-6 o-7 o-8", "o+10" }, said)
      assert.is_nil(kept or map)
    end)
  end)
end
