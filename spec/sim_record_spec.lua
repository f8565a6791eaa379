-- Recorders: what a live cache or tracker sees becomes a trace, that replays to the same misses.

local cache = require "lethe.cache"
local program = require "spec.support.program"
local quota = require "lethe.quota"
local loops = require "lethe.loop"
local sim = require "lethe.sim"

local file = program.file

local function letters(_, key)
  return ("v"):rep(type(key) == "number" and key % 50 + 1 or #key)
end

-- Keys, some often, most seldom.
local function draw(state)
  state = (state * 1103515245 + 12345) & 0x7fffffff
  local key = (state >> 8) % 400
  return state, state % 3 > 0 and key % 30 or key
end

describe("sim.recorder of a cache", function()
  local path

  before_each(function()
    path = file()
  end)
  after_each(program.clean)

  it("writes each access, with its time and size", function()
    local loop <close> = loops.new{ clock = "virtual" }
    local c <close> = cache.new{ limit = 3, loop = loop,
      backend = { load = letters, flush = function() end } }
    local r <close> = assert(sim.recorder(c, path))
    assert.are.equal("sim.Recorder", require("lethe").type(r))
    loop:spawn(function()
      c:get(4)
      loop:sleep(10)
      c:get(7)
      c:get(4)
      c:insert(9, "four")
      c:hold("key"):close()
      c:flush()
    end)
    loop:advance(20)
    assert.are.equal(5, r:count())
    assert.is_true(r:close())
    local trace <close> = assert(sim.open(path))
    local seen = {}
    for time, id, size, next in trace:requests() do
      seen[#seen + 1] = ("%d %d %d %d"):format(time, id, size, next)
    end
    assert.are.same({ "0 4 5 3", "10 7 8 -1", "10 4 5 -1", "10 9 4 -1" },
      { table.unpack(seen, 1, 4) })
    assert.matches("^10 %-?%d+ 3 %-1$", seen[5])
  end)

  it("replays to the misses that the cache had, in entries and in bytes", function()
    for _, name in ipairs{ "lru", "sieve", "s3fifo", "gdsf" } do
      for _, unit in ipairs{ true, false } do
        local c <close> = cache.new{ limit = unit and 40 or nil, bytes = not unit and 900 or nil,
          policy = name, backend = { load = letters } }
        local r <close> = assert(sim.recorder(c, path))
        local state, key = 42
        for _ = 1, 3000 do
          state, key = draw(state)
          c:get(key)
        end
        local stats <const> = c:stats()
        r:close()
        local trace <close> = assert(sim.open(path))
        local row = sim.run{ trace = trace, policies = { name }, unit = unit, jobs = 1,
          sizes = { unit and 40 or 900 } }[1]
        assert.are.same({ 3000, stats.misses }, { row.requests, row.misses }, name)
      end
    end
  end)

  it("goes on until it is closed, and no longer", function()
    local c <close> = cache.new{ limit = 3, backend = { load = letters } }
    local r = assert(sim.recorder(c, path))
    local other <close> = assert(sim.recorder(c, file()))
    c:get(1)
    assert.is_true(r:close())
    assert.is_true(r:close())
    c:get(2)
    assert.are.equal(2, other:count())
    assert.has_error(function() r:count() end)
    local trace <close> = assert(sim.open(path))
    assert.are.equal(1, #trace)
  end)

  it("outlives the cache, and is finished when it is collected", function()
    do
      local c = cache.new{ limit = 3, backend = { load = letters } }
      local r = assert(sim.recorder(c, path))
      c:get(1)
      c:get(1)
      c:close()
      assert.are.equal(2, r:count())
    end
    require("lethe.registry").default():collect()
    local trace <close> = assert(sim.open(path))
    local _, _, _, next = trace:requests()()
    assert.are.same({ 2, 2 }, { #trace, next })
  end)

  it("says when the file cannot be written", function()
    local c <close> = cache.new{ limit = 3, backend = { load = letters } }
    local r, message, code = sim.recorder(c, "/no/such/place")
    assert.are.same({ nil, "/no/such/place: it cannot be written", "unwritable" },
      { r, message, code })
    local full = sim.recorder(c, "/dev/full")
    if full then
      c:get(1)
      local ok, _, why = full:close()
      assert.are.same({ nil, "unwritable" }, { ok, why })
    end
  end)

  it("wants a cache or a tracker, and a path", function()
    local c = cache.new{ limit = 3, backend = { load = letters } }
    assert.has_error(function() sim.recorder({}, path) end)
    assert.has_error(function() sim.recorder(c) end)
    c:close()
    local ok, message = pcall(function() sim.recorder(c, path) end)
    assert.is_false(ok)
    assert.matches("sim_record_spec.lua:%d+: .*a closed lethe.cache.Cache", message)
  end)
end)

describe("sim.recorder of a tracker", function()
  after_each(program.clean)

  it("writes each claim, as a request of its participant", function()
    local path <const> = file()
    local tracker <close> = assert(quota.new{ max = "1M" })
    local function participant(name)
      return assert(tracker:account{ name = name }:participant{
        get_oldest = function() return 1 end, reclaim = function() end })
    end
    local a, b = participant "a", participant "b"
    local r <close> = assert(sim.recorder(tracker, path))
    a:claim(1000)
    b:claim("2K")
    a:claim_wait(3000)
    a:claim(0)
    a:try_claim(10, function() return true end)
    a:release(4000)
    assert.are.equal(4, r:count())
    r:close()
    a:claim(7)
    local trace <close> = assert(sim.open(path))
    local ids, sizes = {}, {}
    for _, id, size in trace:requests() do
      ids[#ids + 1], sizes[#sizes + 1] = id, size
    end
    assert.are.same({ 1000, 2048, 3000, 10 }, sizes)
    assert.are.equal(2, trace:objects())
    assert.are.same({ ids[1], ids[1] }, { ids[3], ids[4] })
    a:close()
    b:close()
  end)

  it("lets go of a tracker that is gone", function()
    local r <close> = assert(sim.recorder(assert(quota.new{ max = "1M" }), file()))
    require("lethe.registry").default():collect()
    assert.are.equal(0, r:count())
  end)
end)
