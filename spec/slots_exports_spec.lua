-- Import tracking of one vat by the numbers of its rules: exports, promises and devices.
-- The stories' words are explained in spec/support/slots_stories.lua.
local errors = require "spec.support.errors"
local stories = require "spec.support.slots_stories"

local forced, manual = stories.forced, stories.manual
local new_slots = stories.slots

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
