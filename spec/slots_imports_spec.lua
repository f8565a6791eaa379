-- Import tracking of one vat by the numbers of its rules: imports, and what keeps them.
-- The stories' words are explained in spec/support/slots_stories.lua.
local collector = require "spec.support.collector"
local stories = require "spec.support.slots_stories"

local forced, manual = stories.forced, stories.manual
local new_slots = stories.slots

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
