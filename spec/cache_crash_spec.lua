-- What a crash may leave of two caches with an order between them, and what one failing call does
-- to them. The workload is the image of spec/examples: a reference must never be durable without
-- its count.
local backend = require "lethe.backend"
local image = require "spec.examples.lib.image"
local lethe = require "lethe"
local loop = require "lethe.loop"
local chance = require "spec.support.chance"

local WORK <const> = chance.WORK
local SEED <const> = chance.SEED

-- An empty image in memory: its table, and a copy of what is in it.
local function formatted(shape)
  local data, before = {}, {}
  local memory = backend.memory{ data = data }
  image.format(memory, shape)
  for k, v in pairs(data) do
    before[k] = v
  end
  return memory, data, before
end

-- Runs fn as a task of a virtual loop, whose clock moves as long as it is not done.
local function in_virtual_time(virtual, fn)
  local done, err
  local before <const> = lethe.on_error(function() end) -- writes that failed while nobody waited
  virtual:spawn(function()
    done, err = xpcall(fn, debug.traceback)
    if not done then done = false end
  end)
  for _ = 1, 100000 do
    if done ~= nil then break end
    virtual:advance(1)
  end
  lethe.on_error(before)
  assert(done ~= nil, "it hangs")
  assert(done, err)
end

-- Links in spells, then unlinks in spells, so that much is dirty at once.
local function play(disk, changes, random)
  local slots = disk.shape.tables * disk.shape.entries
  local spell, linking = 0, true
  for _ = 1, changes do
    if spell == 0 then
      spell, linking = random(12), not linking
    end
    spell = spell - 1
    local slot = random(slots) - 1
    local b = disk:lookup(slot)
    if b and not linking then
      disk:unlink(slot)
    elseif not b then
      disk:link(slot)
    end
    if random(10) == 1 then disk:flush() end
  end
end

-- Calls that take a while, and of a hundred three that go wrong.
local function random_plan(random, wrong)
  local plan = {}
  for n = 1, 3000 do
    local dice = random(100)
    if wrong and dice <= 3 then
      plan[n] = ({ "fail", "tear", "cancel" })[dice]
    elseif dice <= 50 then
      plan[n] = random(5) - 1
    end
  end
  return plan
end

-- One run: how many states a crash may leave, how many of them are broken, and what is stored in
-- the end.
local function run(seed, how)
  local random <const> = chance.generator(seed)
  local shape <const> = { block = 1024, entries = 4 + random(8), tables = 2 + random(4) }
  local memory, data, before = formatted(shape)
  local logged <close> = backend.faulty(memory, random_plan(random, how.wrong))
  local virtual <close> = loop.new{ clock = "virtual" }
  local used = logged
  if how.no_barriers then
    used = {
      load = function(_, k) return logged:load(k) end,
      flush = function(_, k, v) return logged:flush(k, v) end,
    }
  end
  in_virtual_time(virtual, function()
    local disk = image.open(used, shape, { limit = 1 + random(shape.tables), loop = virtual,
      unordered = how.unordered, tries = 50 })
    play(disk, how.changes or 60, random)
    disk:close()
  end)
  local states, broken, example = 0, 0, nil
  for read in logged:crash_states{ before = before, limit = how.limit or 4096, seed = seed } do
    states = states + 1
    local ok, message = image.check(read, shape)
    if not ok then broken, example = broken + 1, message end
    if broken > 0 and how.first then break end
  end
  memory:close()
  return { states = states, broken = broken, example = example, data = data, shape = shape }
end

describe("what a crash may leave", function()
  it("has no reference without its count", function()
    local states = 0
    for seed = SEED, SEED + math.max(1, math.floor(48 * WORK)) - 1 do
      local result = run(seed, { limit = math.max(64, math.floor(1024 * math.min(WORK, 4))) })
      assert(result.broken == 0, ("SEED=%d: %s"):format(seed, result.example))
      states = states + result.states
    end
    assert.is_true(states > 10000 * WORK, ("%d states"):format(states))
  end)

  it("has none either where calls fail, are torn, and lose their answers", function()
    for seed = SEED, SEED + math.max(1, math.floor(6 * WORK)) - 1 do
      local result = run(seed, { limit = 256, wrong = true })
      assert(result.broken == 0, ("SEED=%d: %s"):format(seed, result.example))
      local ok, used = image.check(function(k) return result.data[k] end, result.shape)
      assert.is_true(ok)
      assert.is_true(used > 0)
    end
  end)

  it("has some where barriers are switched off, so that this could have failed", function()
    for seed = SEED, SEED + 3 do
      local result = run(seed, { limit = 256, no_barriers = true, first = true })
      assert.is_true(result.broken > 0, ("SEED=%d"):format(seed))
    end
  end)

  it("has some where nothing depends on anything", function()
    for seed = SEED, SEED + 3 do
      local result = run(seed, { limit = 256, unordered = true, first = true })
      assert.is_true(result.broken > 0, ("SEED=%d"):format(seed))
    end
  end)
end)

describe("one call that goes wrong", function()
  local SHAPE <const> = { block = 64, entries = 4, tables = 3 }

  -- The same changes each time; what is stored in the end, and how many calls there were.
  local function changes(plan, seed)
    local memory <close>, data = formatted(SHAPE)
    local logged <close> = backend.faulty(memory, plan)
    local virtual <close> = loop.new{ clock = "virtual" }
    in_virtual_time(virtual, function()
      local disk = image.open(logged, SHAPE, { limit = 2, loop = virtual, tries = 3 })
      disk:play(12, chance.generator(seed))
      disk:close()
    end)
    return data, logged:calls()
  end

  for _, action in ipairs{ "fail", "tear", "cancel", 5 } do
    it(("loses nothing, whichever it is: %s"):format(action), function()
      local expected, calls = changes({}, SEED)
      assert.is_true(calls > 20, calls)
      for n = 1, calls do
        local data = changes({ [n] = action }, SEED)
        for k, v in pairs(expected) do
          assert(data[k] == v, ("call %d, block %d"):format(n, k))
        end
      end
    end)
  end

  it("leaves what is dirty in the cache after a crash, and tells which", function()
    local cache = require "lethe.cache"
    local memory <close> = backend.memory{ data = { a = "old" } }
    local logged <close> = backend.faulty(memory, { [2] = "crash" })
    local c = cache.new{ backend = logged, limit = 10 }
    assert.are.equal("old", c:get("a"))
    assert.is_true(c:insert("a", "new"))
    assert.is_true(c:insert("b", "new"))
    local ok, _, code, keys = c:flush()
    table.sort(keys)
    assert.are.same({ nil, "flush_failed", { "a", "b" } }, { ok, code, keys })
    assert.are.same({ 2, 2 }, { c:stats().dirty, c:len() })
    assert.are.equal("new", c:get("a"))
    c:invalidate()
    c:close()
  end)
end)

describe("crash_states", function()
  -- All of them, as texts: "k=v k=v", sorted.
  local function states(f, keys, options)
    local found, list = {}, {}
    for read in f:crash_states(options) do
      local parts = {}
      for _, k in ipairs(keys) do
        parts[#parts + 1] = ("%s=%s"):format(k, read(k))
      end
      found[table.concat(parts, " ")] = true
    end
    for text in pairs(found) do
      list[#list + 1] = text
    end
    table.sort(list)
    return list
  end

  it("goes through every choice of what no barrier covers", function()
    local f <close> = backend.faulty(backend.memory{})
    f:flush("a", "1")
    f:flush("b", "1")
    assert.are.same({ "a=1 b=1", "a=1 b=nil", "a=nil b=1", "a=nil b=nil" },
      states(f, { "a", "b" }))
    f:barrier()
    f:flush("a", "2")
    local last = ""
    for read, at in f:crash_states() do
      if at == 8 then last = last .. read("a") .. read("b") .. " " end
    end
    assert.are.equal("11 21 ", last)
  end)

  it("tears by sectors, and only where something changed", function()
    local f <close> = backend.faulty(backend.memory{})
    f:flush("k", "aabbcc")
    assert.are.same({ "k=AAbbCC", "k=AAbbcc", "k=aabbCC", "k=aabbcc" },
      states(f, { "k" }, { sector = 2, before = { k = "AAbbCC" } }))
    assert.are.same({ "k=AAbbCC", "k=aabbcc" },
      states(f, { "k" }, { before = { k = "AAbbCC" } }))
    assert.are.same({ "k=\0\0\0\0cc", "k=\0\0bb", "k=\0\0bbcc", "k=aa", "k=aa\0\0cc", "k=aabb",
      "k=aabbcc", "k=nil" }, states(f, { "k" }, { sector = 2 }))
  end)

  it("keeps what failed in doubt until it is written again and durable", function()
    local f <close> = backend.faulty(backend.memory{}, { [1] = "tear", [2] = "cancel" })
    f:flush("k", "1111")
    f:flush("k", "2222")
    f:barrier()
    local doubts <const> = states(f, { "k" }, { sector = 2 })
    assert.are.same({ "k=\0\0" .. "22", "k=11", "k=1122", "k=22", "k=2222", "k=nil" }, doubts)
    f:flush("k", "3333")
    f:barrier()
    local last = {}
    for read, at in f:crash_states{ sector = 2 } do
      if at == 10 then last[#last + 1] = read("k") end
    end
    assert.are.same({ "3333" }, last)
  end)

  it("draws at random where there are too many, and the same for the same seed", function()
    local f <close> = backend.faulty(backend.memory{})
    for i = 1, 70 do
      f:flush(i, "x")
    end
    local function drawn(seed)
      local list = {}
      for read, at in f:crash_states{ limit = 20, seed = seed } do
        if at == 139 then
          local text = {}
          for i = 1, 70 do
            text[i] = read(i) or "-"
          end
          list[#list + 1] = table.concat(text)
        end
      end
      return list
    end
    local list = drawn(7)
    assert.are.equal(20, #list)
    assert.are.same({ ("-"):rep(70), ("x"):rep(70) }, { list[1], list[2] })
    assert.are.same(list, drawn(7))
    assert.are_not.same(list, drawn(8))
  end)

  it("refuses options that make no sense", function()
    local f <close> = backend.faulty(backend.memory{})
    assert.has_error(function() f:crash_states{ limit = 0 } end)
    assert.has_error(function() f:crash_states{ limits = 1 } end)
    assert.has_error(function() f:crash_states{ before = 1 } end)
  end)
end)
