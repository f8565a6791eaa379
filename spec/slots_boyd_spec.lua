-- Import tracking of one vat by the numbers of its rules: recognizers, and how it brings out its
-- dead. The stories' words are explained in spec/support/slots_stories.lua.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local stories = require "spec.support.slots_stories"

local forced, new_slots = stories.forced, stories.slots

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
