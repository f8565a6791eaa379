-- The rules of import tracking that concern one vat, by their numbers. The stories' words are
-- explained in spec/support/slots_stories.lua.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local stories = require "spec.support.slots_stories"
local core = require "lethe.core.slots"
local vat = require "lethe.vat"

local forced, manual = stories.forced, stories.manual

-- Slot tables that write down what they say.
local function new_slots(options)
  local said, calls = {}, {}
  for _, name in ipairs{ "send", "subscribe", "resolve", "dropImports", "retireImports",
    "retireExports" } do
    calls[name] = function(list)
      said[#said + 1] = name .. (type(list) == "table" and " " .. table.concat(list, " ") or "")
    end
  end
  options = options or {}
  options.syscall = calls
  return vat.slots(options), said
end

describe("names", function()
  it("R01 have a type, a sign and a number", function()
    for text, expected in pairs{
      ["o+0"] = { "o", true, nil, 0 }, ["o-12"] = { "o", false, nil, 12 },
      ["p+5"] = { "p", true, nil, 5 }, ["p-5"] = { "p", false, nil, 5 },
      ["d-1"] = { "d", false, nil, 1 }, ["d+1"] = { "d", true, nil, 1 },
      ["o+v2/4"] = { "o", true, "virtual", 2, 4 },
      ["o+d10/1:3"] = { "o", true, "durable", 10, 1, 3 },
      ["o-999999999999999"] = { "o", false, nil, 999999999999999 },
    } do
      assert.are.same(table.pack(table.unpack(expected, 1, 6)), table.pack(table.unpack(
        { core.parse(text) }, 1, 6)))
    end
  end)

  it("R02 have an instance only where something is stored, a facet only after it", function()
    for _, text in ipairs{ "o-1/2", "o+1/2", "p+v1/2", "d+d1/2", "o-v1/2", "o-d1/2", "o+v1", "o+d1",
      "o+v1:2", "o+1:2", "o+v1/2:", "o+v1/", "o+v/1", "o+v1/2:3:4", "o+v1/2/3", "o|1", "o-1,2", "",
      "o", "-1", "o-", "x-1", "o 1", "o-1 ", " o-1", "o-+1", "o-0x1", "o--1", "w1", "o-1\0" } do
      assert.is_nil((core.parse(text)))
    end
    local slots <close> = new_slots()
    assert.are.equal("bad argument #1 to 'import' (\"o-1|2\" is no vref)",
      errors.at_its_line(function() slots:import("o-1|2") end))
    assert.are.equal("bad argument #1 to 'val' (\"o-1|2\" is no vref)",
      errors.at_its_line(function() slots:val("o-1|2") end))
    assert.are.equal("bad argument #1 to 'state' (\"o-1|2\" is no vref)",
      errors.at_its_line(function() slots:state("o-1|2") end))
    assert.are.equal("bad argument #1 to 'why' (vref expected, got nil)",
      errors.at_its_line(function() slots:why() end))
    assert.are.equal("bad argument #1 to 'import' (vref expected, got number)",
      errors.at_its_line(function() slots:import(1) end))
  end)

  it("R03 o+0 is the root, held and never watched; numbers begin at 10 and 5", function()
    local slots <close>, said = new_slots{ root = { "root" } }
    assert.are.equal("root", slots:import("o+0")[1])
    assert.are.equal(0, slots:stats().bodies)
    collector.all()
    slots:bring_out_your_dead()
    assert.are.same({}, said)
    assert.are.equal("root", slots:val("o+0")[1])
    assert.are.equal("o+10", slots:export({}))
    assert.are.equal("o+11", slots:export({}))
    assert.are.equal("p+5", (select(2, slots:send("o+0", "m", { slots = {} }))))
    local other <close> = new_slots{ first_export = 20, first_promise = 7 }
    assert.are.equal("o+20", other:export({}))
    assert.are.equal("p+7", (select(2, other:send("o+0", "m", { slots = {} }))))
  end)

  it("R04 of the vat's own objects are given when they first leave", function()
    forced[[
      deliver o-1:t
      make x
      make y
      send t y x -> -
      > send o-1 o+10 o+11 -> p+5
      > subscribe p+5
      make z
      weakstore w
      whas w z             -- to ask a store is to leave for it, and takes a number
      = false
      make u
      send t u z
      > send o-1 o+13 o+12 -> p+6
      > subscribe p+6
    ]]
  end)

  it("R05 are given to arguments before the result, in the order of first appearance", function()
    forced[[
      deliver o-1:t o-2:a
      promise p
      promise q
      send t q a p q a -> r
      > send o-1 p+5 o-2 p+6 -> p+7
      > subscribe p+7
    ]]
  end)

  it("R06 have a sign that says who made an object, and not who decides a promise", function()
    forced[[
      deliver p-1:p                 -- the kernel's, decided by it
      > subscribe p-1
      call - p-2                    -- the kernel's, decided by the vat
      > resolve p-2 ok
      deliver o-1:t
      send t -> r                   -- the vat's, decided by the kernel
      > send o-1 -> p+5
      > subscribe p+5
      notify p+5 ok o-2
      notify p-1 no
    ]]
  end)

  it("R07 of imports stay what they are when they are sent back", function()
    forced[[
      deliver o-7:a o-8:t
      send t a t
      > send o-8 o-7 o-8 -> p+5
      > subscribe p+5
      call a p-1
      > resolve p-1 ok o-7
      make x
      call x p-2
      > resolve p-2 ok o+10
    ]]
  end)
end)

describe("what is watched", function()
  it("R08 is every object with a name; no promise, no device, no root", function()
    local slots <close> = new_slots{ root = {} }
    local held = { slots:import("o-1"), slots:import("d-1"), slots:import("p-1") }
    assert.are.equal(1, slots:stats().bodies)
    held[4] = {}
    slots:export(held[4])
    held[5] = slots:store()
    assert.are.equal(3, slots:stats().bodies)
    slots:send("o-1", "m", { slots = {} })
    assert.are.equal(3, slots:stats().bodies)
    forced[[
      make x
      call x p-1
      > resolve p-1 ok o+10
      drop x
      dropExports o+10
      bring
      > retireExports o+10
    ]]
  end)

  it("R09 is held weakly: watching an object keeps nobody alive", function()
    local slots <close> = new_slots()
    local probe = setmetatable({}, { __mode = "v" })
    probe.presence = slots:import("o-1")
    probe.object = {}
    slots:name(probe.object)
    probe.map = slots:weak_map()
    collector.all()
    assert.is_nil(next(probe))
    assert.are.equal(3, slots:stats().queued)
  end)
end)

describe("an imported name", function()
  it("R10 has a new presence after it was collected, else the old one", function()
    manual[[
      deliver o-1:a
      ? o-1 REACHABLE/R
      deliver o-1:b
      same a b
      = true
      map m
      add m a a
      drop a b
      ? o-1 REACHABLE           -- by the map's value
      delete m a
      = false                   -- no register holds the key
      drop m
      gc
      finalize
      deliver o-1:a             -- unreachable, collected, finalized: new
      ? o-1 REACHABLE
      drop a
      ? o-1 UNREACHABLE
      deliver o-1:a             -- unreachable: the old one
      ? o-1 REACHABLE
      drop a
      collect o-1
      ? o-1 COLLECTED
      deliver o-1:a
      ? o-1 REACHABLE
    ]]
  end)

  it("R11 has at most one presence at a time", function()
    forced[[
      deliver o-3:a o-3:b
      same a b
      = true
      deliver o-3:c
      same a c
      = true
    ]]
    local slots <close> = new_slots()
    for _ = 1, 100 do
      local a = slots:import("o-1")
      collectgarbage("step")
      assert.are.equal(a, slots:import("o-1"))
    end
  end)

  it("R12 is finalized by a callback only if its presence is gone, else nothing happens", function()
    manual[[
      deliver o-1
      gc
      ? o-1 COLLECTED/R
      deliver o-1:a             -- in time
      finalize
      ? o-1 REACHABLE/R
      bring
      drop a
      bring
      ? o-1 UNREACHABLE/R
    ]]
  end)

  it("R13 may have several callbacks queued: any order, any subset, any time", function()
    manual[[
      deliver o-5
      gc
      deliver o-5
      gc
      finalize 1                -- the first one's, for the second one's end
      ? o-5 FINALIZED/R
      bring
      > dropImports o-5
      > retireImports o-5
      ? o-5 UNKNOWN/-
      deliver o-5:a
      finalize 1                -- much too late
      ? o-5 REACHABLE/R
      drop a
      gc
      finalize
      bring
      > dropImports o-5
      > retireImports o-5
    ]]
  end)

  it("R14 has callbacks that say nothing and run no code", function()
    local slots <close>, said = new_slots()
    local map = slots:weak_map()
    map:set(slots:import("o-1"), setmetatable({}, { __index = function() error("looked at") end }))
    map = nil
    collector.all()
    assert.are.same({ "o-1", "w1" }, (function(list)
      table.sort(list)
      return list
    end)(slots:finalize("all")))
    assert.are.same({}, said)
    assert.is_nil(map)
  end)

  it("R15 that is delivered again after it was finalized is not dropped", function()
    manual[[
      deliver o-1
      gc
      finalize
      ? o-1 FINALIZED/R
      deliver o-1:a
      bring
      ? o-1 REACHABLE/R
      drop a
      gc
      finalize
      bring
      > dropImports o-1
      > retireImports o-1
    ]]
  end)

  it("R16 is the same and reachable again when it is delivered after a drop", function()
    forced[[
      deliver o-1:a
      set w
      add w a
      drop a
      bring
      > dropImports o-1
      ? o-1 UNKNOWN/S
      deliver o-1:a
      ? o-1 REACHABLE/R
      has w a
      = true
      drop a w
      bring
      > dropImports o-1
      > retireImports o-1
    ]]
  end)

  it("R17 stays with any reference: a copy, a field, a promise's value", function()
    forced[[
      deliver o-1:a
      copy a b
      drop a
      bring
      make x b
      drop b
      bring
      get x 0 c
      promise p
      settle p ok c
      drop x c
      bring
      ? o-1 REACHABLE
      drop p
      bring
      > dropImports o-1
      > retireImports o-1
    ]]
  end)

  it("R18 is not held by a pending result, neither as target nor as argument", function()
    forced[[
      deliver o-1:t o-2:a
      send t a -> r
      > send o-1 o-2 -> p+5
      > subscribe p+5
      drop t a
      bring
      > dropImports o-1 o-2
      > retireImports o-1 o-2
    ]]
  end)
end)

describe("the pillars of an import", function()
  it("R20 are its presence and stored data: it is dropped when both are gone", function()
    forced[[
      deliver o-1:a o-2:b
      store s
      keep s k a
      keep s l b
      drop a b
      bring
      ? o-1 UNKNOWN/R
      fetch s k a
      = true
      ? o-1 REACHABLE/R
      forget s k
      bring
      drop a
      bring
      > dropImports o-1
      > retireImports o-1
      forget s l
      bring
      > dropImports o-2
      > retireImports o-2
    ]]
  end)

  it("R21 count a collected presence as up until its callback has run", function()
    manual[[
      deliver o-1:a
      set w
      add w a
      drop a
      collect o-1
      bring
      ? o-1 COLLECTED/R
      delete w a
      drop w
      collect w1
      finalize 1 1              -- the collection's callback: a retire test while o-1 is up
      bring
      ? o-1 COLLECTED/R
      finalize
      bring
      > dropImports o-1
      > retireImports o-1
    ]]
  end)

  it("R22 are asked about names that were reachable, and retire what was recognizable", function()
    local slots <close>, said = new_slots()
    local set = slots:weak_set()
    local key = slots:import("o-1")
    set:add(key)
    key = {}
    set:add(key)
    key = slots:import("p-1")
    set:add(key)
    key, set = nil, nil
    slots:bring_out_your_dead()
    slots:bring_out_your_dead()
    assert.are.same({ "subscribe", "dropImports o-1", "retireImports o-1" }, said)
    assert.is_nil(key or set)
  end)

  it("R23 end in a drop, with a retirement where nothing recognizes the name", function()
    forced[[
      deliver o-1:a o-2:b
      set w
      add w b
      drop a b
      bring
      > dropImports o-1 o-2
      > retireImports o-1
    ]]
  end)

  it("R24 leave a recognized name, which goes when its last recognizer has", function()
    forced[[
      deliver o-1:a
      set v
      set w
      add v a
      add w a
      drop a
      bring
      > dropImports o-1
      drop v
      bring
      drop w
      bring
      > retireImports o-1
    ]]
    forced[[
      deliver o-1:a
      set w
      add w a
      drop a
      bring
      > dropImports o-1
      drop w
      deliver o-1:a
      bring
      ? o-1 REACHABLE/R
    ]]
  end)

  it("R25 outlive recognizers: what is reachable is never retired", function()
    forced[[
      deliver o-1:a o-2:b
      set w
      add w a
      add w b
      store s
      keep s k b
      drop b
      bring
      drop w
      bring
      ? o-1 REACHABLE/R
      ? o-2 UNKNOWN/R
      drop a
      bring
      > dropImports o-1
      > retireImports o-1
      forget s k
      bring
      > dropImports o-2
      > retireImports o-2
    ]]
  end)

  it("R26 let go of what a dead local object was the key to, at once", function()
    forced[[
      deliver o-1:a o-2:b
      make x
      map m
      add m x a
      weakstore w
      wkeep w x b
      drop x a b
      bring
      > dropImports o-1 o-2
      > retireImports o-1 o-2
    ]]
  end)

  it("R27 are told once: a drop for each time it was reachable, one retirement", function()
    local log = forced[[
      deliver o-1:a
      set w
      add w a
      drop a
      bring
      > dropImports o-1
      bring
      deliver o-1:a
      drop a
      bring
      > dropImports o-1
      drop w
      bring
      > retireImports o-1
      bring
    ]]
    assert.are.equal(12, #log)
    manual[[
      deliver o-1:a
      set w
      add w a
      drop a w
      gc
      finalize
      bring                     -- in both sets, named once
      > dropImports o-1
      > retireImports o-1
    ]]
  end)

  it("R28 hold what leaves: what was dropped is never named again", function()
    forced[[
      deliver o-1:t o-2:a
      promise p
      settle p ok a
      drop a
      bring
      send t p -> -
      > send o-1 p+5 -> p+6
      > subscribe p+6
      > resolve p+5 ok o-2
      drop p
      bring
      > dropImports o-2
      > retireImports o-2
    ]]
  end)
end)

describe("an export", function()
  it("R30 is held from when it leaves until the kernel drops it, not for stored data", function()
    local slots <close>, said = new_slots()
    local probe = setmetatable({}, { __mode = "v" })
    local store = slots:store()
    probe.a, probe.b = {}, {}
    slots:export(probe.a)
    store:set("k", probe.b)
    slots:bring_out_your_dead()
    assert.is_table(probe.a)
    assert.is_table(probe.b) -- by the data
    store:delete("k")
    slots:bring_out_your_dead()
    assert.is_table(probe.a)
    assert.is_nil(probe.b)
    assert.are.same({}, said) -- R34: the kernel never heard of it
    slots:drop_exports{ "o+10" }
    slots:bring_out_your_dead()
    assert.is_nil(probe.a)
    assert.are.same({ "retireExports o+10" }, said)
  end)

  it("R31 that was dropped and lives keeps its name, and is held when it leaves again", function()
    forced[[
      make x
      call x p-1
      > resolve p-1 ok o+10
      dropExports o+10
      bring
      call x p-2
      > resolve p-2 ok o+10
      drop x
      bring
      dropExports o+10
      bring
      > retireExports o+10
    ]]
  end)

  it("R32 that dies is retired, if the kernel still knows it", function()
    forced[[
      make x
      call x p-1
      > resolve p-1 ok o+10
      drop x
      bring
      dropExports o+10
      bring
      > retireExports o+10
      bring
    ]]
  end)

  it("R33 that the kernel retired is not retired by the vat; it keeps its name", function()
    forced[[
      make x
      make y
      call x p-1
      > resolve p-1 ok o+10
      call y p-2
      > resolve p-2 ok o+11
      dropExports o+10 o+11
      retireExports o+10 o+11
      call x p-3
      > resolve p-3 ok o+10
      drop x y
      bring
      dropExports o+10
      bring
      > retireExports o+10
    ]]
  end)

  it("R34 that never was one dies silently; stored data holds it meanwhile", function()
    forced[[
      make x
      store s
      keep s k x
      drop x
      bring
      fetch s k x
      = true
      forget s k
      drop x
      bring
      bring
    ]]
  end)

  it("R35 holds all that it holds, imports too; circles within the vat are collected", function()
    forced[[
      deliver o-1:a
      make x a
      call x p-1
      > resolve p-1 ok o+10
      drop x a
      bring
      ? o-1 REACHABLE/R
      dropExports o+10
      bring
      > dropImports o-1
      > retireImports o-1
      > retireExports o+10
      deliver o-2:a
      make x a
      make y x
      put x 1 y
      drop a x y
      bring
      > dropImports o-2
      > retireImports o-2
    ]]
  end)

  it("R36 of another vat that is retired leaves weak collections, and frees values", function()
    forced[[
      deliver o-1:a o-2:b o-3:c
      map m
      add m a b
      weakstore w
      wkeep w a c
      drop a b c
      bring
      > dropImports o-1
      retireImports o-1
      ? o-1 UNKNOWN/-
      bring
      > dropImports o-2 o-3
      > retireImports o-2 o-3
    ]]
    local slots <close> = new_slots()
    local map = slots:weak_map()
    map:set(slots:import("o-1"), 1)
    assert.matches("retire_imports: o%-1 was not dropped",
      errors.at_its_line(function() slots:retire_imports{ "o-1" } end))
    slots:bring_out_your_dead()
    slots:retire_imports{ "o-1" }
    assert.is_nil(map:get(slots:import("o-1")))
  end)

  it("R37 of another vat that is retired is not retired by this one too", function()
    manual[[
      set w
      deliver o-8:k o-9:l
      add w k
      add w l
      drop k l
      gc
      finalize
      bring
      > dropImports o-8 o-9
      drop w
      gc
      finalize
      retireImports o-8
      bring
      > retireImports o-9
      bring
    ]]
  end)

  -- R38, abandoned exports, is the kernel's: spec/kernel_rules_spec.lua.
end)

describe("promises and devices", function()
  it("R40 promises are held until they are resolved, and never dropped", function()
    local log = forced[[
      deliver o-1:t p-1:p
      > subscribe p-1
      promise q
      send t q -> r
      > send o-1 p+5 -> p+6
      > subscribe p+6
      drop p q r
      bring
      bring
      deliver p+5:q p-1:p
      settle q ok t
      > resolve p+5 ok o-1
      notify p-1 ok ; p+6 no
      drop t p q
      bring
      > dropImports o-1
      > retireImports o-1
    ]]
    assert.are.same({ "p+5", "p+6", "p-1" }, log[7].state.promises)
    assert.are.same({}, log[10].state.promises)
  end)

  it("R41 new promises are subscribed to: at once, or sorted after a notification", function()
    forced[[
      deliver p-3:a o-1 p-2:b p-3:c
      > subscribe p-3
      > subscribe p-2
      deliver p-3 p-10
      > subscribe p-10
      notify p-3 ok p-9 p-11 p-8 ; p-2 ok p-8 ; p-10 ok p-7
      > subscribe p-11
      > subscribe p-7
      > subscribe p-8
      > subscribe p-9
      notify p-9 ok p-20 p-21 ; p-8 ok p-21 ; p-11 no p-9
      > subscribe p-20
      > subscribe p-21
    ]]
  end)

  it("R42 a resolved promise loses its name; sent again it has a fresh one", function()
    forced[[
      deliver o-1:t o-2:a
      promise p
      send t p
      > send o-1 p+5 -> p+6
      > subscribe p+6
      settle p ok a
      > resolve p+5 ok o-2
      send t p                  -- told before: known at once
      > send o-1 p+7 -> p+8
      > resolve p+7 ok o-2
      > subscribe p+8
      deliver p-1:q
      > subscribe p-1
      notify p-1 no
      send t q                  -- the kernel's: heard once it is asked
      > send o-1 p+9 -> p+10
      > subscribe p+10
      > resolve p+9 no
    ]]
  end)

  it("R43 a result is decided once; a notification that comes late is ignored", function()
    local log = forced[[
      deliver o-1:a
      call a p-1
      > resolve p-1 ok o-1
      notify p-1 ok o-5
      deliver p-2:p
      > subscribe p-2
      notify p-2 ok o-6
      notify p-2 no o-7
      ? o-7 UNKNOWN/-
    ]]
    assert.are.same({}, log[#log].state.promises)
  end)

  it("R44 devices are held for ever, the same ones, and nothing is said of them", function()
    forced[[
      deliver d-1:a d-1:b
      same a b
      = true
      set w
      add w a
      drop a b
      bring
      deliver d-1:a
      has w a
      = true
    ]]
  end)
end)

describe("recognizers", function()
  it("R50 know presences by name and other objects as they are", function()
    forced[[
      deliver o-1:a
      make x
      map m
      add m a a
      add m x x
      drop a
      bring
      ? o-1 REACHABLE           -- as a value
      delete m x
      = true
      has m x
      = false
    ]]
    forced[[
      deliver o-1:a o-2:b
      map m
      add m a b
      drop a
      bring
      > dropImports o-1
      deliver o-1:c             -- another presence
      look m c d
      = true
      same b d
      = true
    ]]
  end)

  it("R51 hold values under names while they live, under objects while both do", function()
    forced[[
      deliver o-1:a o-2:b o-3:c
      make x
      map m
      add m a b
      add m x c
      drop a b c x
      bring
      > dropImports o-1 o-3
      > retireImports o-3
      ? o-2 REACHABLE/R
    ]]
    forced[[
      deliver o-1:a
      make x a                  -- an entry whose value holds its own key
      map m
      add m x x
      drop x a
      bring
      > dropImports o-1
      > retireImports o-1
    ]]
  end)

  it("R52 let go of their keys when they die, or an entry is deleted", function()
    forced[[
      deliver o-1:a o-2:b
      set w
      add w a
      add w b
      delete w a
      = true
      drop a b
      bring
      > dropImports o-1 o-2
      > retireImports o-1
      drop w
      bring
      > retireImports o-2
    ]]
  end)

  it("R53, the opposite: a dead map's values die with it, in the same round", function()
    forced[[
      deliver o-1:k o-2:v
      map m
      add m k v
      drop k v
      bring
      > dropImports o-1
      drop m
      bring
      > dropImports o-2
      > retireImports o-1 o-2
      bring
    ]]
    local slots <close> = new_slots()
    local probe = setmetatable({}, { __mode = "v" })
    local map = slots:weak_map()
    probe.value = {}
    map:set(slots:import("o-1"), probe.value)
    collector.all()
    assert.is_table(probe.value)
    map = nil
    collector.all() -- no callback has run
    assert.is_nil(probe.value)
    assert.is_nil(map)
  end)
end)

describe("bringing out the dead", function()
  it("R60 is the only time at which anything is said of deaths", function()
    local slots <close>, said = new_slots()
    for i = 1, 50 do
      slots:import("o-" .. i)
      local object = {}
      slots:export(object)
      slots:drop_exports{ "o+" .. i + 9 }
      if i % 10 == 0 then collector.all() end
      slots:weak_set():add(slots:import("o-1"))
    end
    slots:finalize("all")
    slots:retire_exports{ "o+10" }
    assert.are.same({}, said)
    slots:bring_out_your_dead()
    assert.are.equal(3, #said)
  end)

  it("R61 collects, runs callbacks and judges until nothing more dies", function()
    local story = { "deliver o-1:k0 o-2:v0\nmap m0\nadd m0 k0 v0\n" }
    for i = 1, 6 do -- each map is held by the one before alone
      story[#story + 1] = ("deliver o-%d:k%d\nmap m%d\nadd m%d k%d m%d\n")
        :format(i * 10, i, i, i, i, i - 1)
    end
    story[#story + 1] = "drop k0 v0 k1 k2 k3 k4 k5 k6 m0 m1 m2 m3 m4 m5\nbring\n"
      .. "> dropImports o-1 o-10 o-20 o-30 o-40 o-50 o-60\ndrop m6\nbring\n"
      .. "> dropImports o-2\n> retireImports o-1 o-10 o-2 o-20 o-30 o-40 o-50 o-60\nbring\n"
    forced(table.concat(story))
  end)

  it("R62 says at most three things, in order, and nothing empty", function()
    forced[[
      make x
      call x p-1
      > resolve p-1 ok o+10
      deliver o-1:a o-2
      set w
      add w a
      drop a x
      dropExports o+10
      bring
      > dropImports o-1 o-2
      > retireImports o-2
      > retireExports o+10
      drop w
      bring
      > retireImports o-1
      bring
    ]]
  end)

  it("R63 sorts by bytes, whatever the locale says", function()
    local before = os.setlocale(nil, "collate")
    for _, name in ipairs{ "en_US.UTF-8", "C.UTF-8" } do
      if os.setlocale(name, "collate") then break end
    end
    local slots <close>, said = new_slots()
    for _, n in ipairs{ 2, 10, 1, 100, 99, 20, 999999999999999, 9, 11, 110, 3000000000 } do
      slots:import("o-" .. n)
    end
    slots:bring_out_your_dead()
    os.setlocale(before, "collate")
    assert.are.equal("dropImports o-1 o-10 o-100 o-11 o-110 o-2 o-20 o-3000000000 o-9 o-99 "
      .. "o-999999999999999", said[1])
  end)

  it("R64 says nothing the second time", function()
    local slots <close>, said = new_slots()
    for i = 1, 30 do
      local map = slots:weak_map()
      map:set(slots:import("o-" .. i), slots:import("o-" .. i + 100))
      map:set({}, slots:weak_map())
      slots:store():set("k", slots:import("o-" .. i + 200))
    end
    assert.is_true(slots:bring_out_your_dead())
    assert.are.equal(2, #said)
    for _ = 1, 3 do
      assert.is_true(slots:bring_out_your_dead())
    end
    assert.are.equal(2, #said)
  end)

  it("R65 runs none of userspace's code", function()
    local slots <close>, said = new_slots()
    local ran = 0
    local object = setmetatable({}, {
      __index = function() ran = ran + 1 end, __eq = function() ran = ran + 1 end,
      __len = function() ran = ran + 1 end, __pairs = function() ran = ran + 1 end,
    })
    local map = slots:weak_map()
    map:set(object, object)
    slots:store():set("k", object)
    slots:export(object)
    slots:drop_exports{ "o+10" }
    object, map = nil, nil
    slots:bring_out_your_dead()
    assert.are.same({ { "retireExports o+10" }, 0 }, { said, ran })
    assert.is_nil(object or map)
  end)

  it("R66 is not done by the kernel's deliveries, which say nothing", function()
    forced[[
      make x
      call x p-1
      > resolve p-1 ok o+10
      deliver o-1:a
      set w
      add w a
      drop a
      bring
      > dropImports o-1
      drop x
      dropExports o+10
      retireExports o+10
      retireImports o-1
      bring
    ]]
  end)
end)

describe("what the kernel knows", function()
  it("R70 allows it to drop what it reaches and to retire what it dropped", function()
    local slots <close> = new_slots{ root = {} }
    local object, kept = {}, slots:import("o-1")
    slots:export(object)
    for _, case in ipairs{
      { "drop_exports", "o-1", "is no export" }, { "drop_exports", "p+1", "is no export" },
      { "drop_exports", "o+11", "is not held by the kernel" },
      { "retire_exports", "o+10", "was not dropped" }, { "retire_exports", "o-1", "is no export" },
      { "retire_exports", "o+12", "is not known to the kernel" },
      { "retire_imports", "o-1", "was not dropped" }, { "retire_imports", "o+10", "is no import" },
      { "retire_imports", "o-9", "is not known to the kernel" },
    } do
      local message = errors.at_its_line(function() slots[case[1]](slots, { case[2] }) end)
      assert.are.equal(("%s: %s %s"):format(case[1], case[2], case[3]), message)
    end
    assert.are.equal("drop_exports: o+10 is named twice",
      errors.at_its_line(function() slots:drop_exports{ "o+10", "o+10" } end))
    assert.are.equal("drop_exports: o+99 is not held by the kernel",
      errors.at_its_line(function() slots:drop_exports{ "o+10", "o+99" } end))
    slots:drop_exports{ "o+10" } -- nothing was done before
    assert.are.equal("drop_exports: o+10 is not held by the kernel",
      errors.at_its_line(function() slots:drop_exports{ "o+10" } end))
    slots:retire_exports{ "o+10" }
    assert.is_truthy(object and kept)
  end)
end)
