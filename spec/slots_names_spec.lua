-- Import tracking of one vat by the numbers of its rules: names, and what is watched.
-- The stories' words are explained in spec/support/slots_stories.lua.
local collector = require "spec.support.collector"
local errors = require "spec.support.errors"
local stories = require "spec.support.slots_stories"
local core = require "lethe.core.slots"

local forced, new_slots = stories.forced, stories.slots

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
