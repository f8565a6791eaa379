-- Eviction policies that a program writes: scores, hooks, and admission. Rules have a spec of their
-- own, and so has what goes wrong.
local cache = require "lethe.cache"
local errors = require "spec.support.errors"
local make = require "lethe.evict.make"
local policy = require "lethe.policy"
local requests = require "spec.support.requests"

local misses, records = requests.misses, requests.records

local SEEDS <const> = { 1, 2, 3 }

-- fn(records, records of several sizes) for some random traces.
local function each_trace(fn)
  for _, seed in ipairs(SEEDS) do
    local ids, sizes = requests.skewed(seed, 2000, 120)
    local by_id = {}
    for i, id in ipairs(ids) do by_id[i] = sizes[i] + id % 3 end
    fn(records(ids), records(ids, by_id))
  end
end

-- Two policies count the same misses, of entries and of bytes.
local function alike(a, b)
  each_trace(function(plain, sized)
    for _, limit in ipairs{ 1, 7, 40 } do
      assert.are.equal(misses(a, limit, plain), misses(b, limit, plain))
      assert.are.same({ misses(a, 25 * limit, sized, true) },
        { misses(b, 25 * limit, sized, true) })
    end
  end)
end

local function refusal(value)
  local made, message, code = make.make(value, 10, 1, true, 1)
  assert.is_nil(made)
  assert.are.equal("bad_policy", code)
  return message
end

-- ---- scores -----------------------------------------------------------------------------------

describe("a score", function()
  it("lets the lowest leave first: built-in policies in one line", function()
    alike({ score = "freq" }, "lfu")
    alike({ score = "L + freq * 1e6 / size" }, "gdsf")
    alike({ score = "0" }, "lru")
  end)

  it("may be a function, or be all of the policy", function()
    local function gdsf(freq, _, _, size, _, L) return L + freq * 1e6 / size end
    alike({ score = gdsf }, "gdsf")
    alike(gdsf, "gdsf")
  end)

  it("lets the older last access leave first where it is equal", function()
    local left = {}
    local ids = { 1, 2, 3, 1, 4, 5 } -- 2, then 3
    misses({
      score = function() return 7 end,
      admit = function() return true end,
    }, 3, records(ids))
    local hook = {
      on_evict = function(c)
        local h = c:queue("main"):back()
        left[#left + 1] = c:key(h)
        return h
      end,
    }
    misses(hook, 3, records(ids))
    assert.are.same({ 2, 3 }, left)
    alike({ score = function() return 7 end }, "lru")
  end)

  it("is given how often, how long ago, how large, what it cost, and the last victim's", function()
    local calls = {}
    misses({
      score = function(...)
        calls[#calls + 1] = { ... }
        return #calls
      end,
    }, 2, records({ 1, 2, 1, 3, 1 }))
    assert.are.same({
      { 1, 0, 0, 1, 1.0, 0.0 },
      { 1, 0, 0, 1, 1.0, 0.0 },
      { 2, 2, 2, 1, 1.0, 0.0 }, -- 1 again, two accesses after it came
      { 1, 0, 0, 1, 1.0, 2.0 }, -- 3, for which 2 has left with the score 2
      { 3, 4, 2, 1, 1.0, 2.0 },
    }, calls)
    assert.are.equal("integer", math.type(calls[1][1]))
  end)

  it("reads the cache by name in an expression", function()
    each_trace(function(plain)
      assert.are.equal(misses("lru", 30, plain),
        misses({ score = "used == len and limit == 30 and 0 or nil" }, 30, plain))
    end)
  end)

  it("may be looked up in a sample, at eviction", function()
    each_trace(function(plain)
      local exact, sampled = misses({ score = "freq" }, 30, plain),
        misses({ score = "freq", index = "sample:64" }, 30, plain)
      assert.is_true(math.abs(exact - sampled) < 60, ("%d and %d"):format(exact, sampled))
    end)
    local calls = 0
    misses({
      index = "sample:5",
      score = function(freq)
        calls = calls + 1
        return freq
      end,
    }, 3, records({ 1, 2, 3, 1, 2, 4, 5 }))
    assert.are.equal(10, calls) -- two evictions
  end)

  it("is drawn out of cells as hyperbolic draws, out of all alike as random does", function()
    each_trace(function(plain, sized)
      for _, trace in ipairs{ plain, sized } do
        assert.are.equal(misses("hyperbolic", 30, trace),
          misses({ score = "freq / (age + 1)", index = "cells:64" }, 30, trace))
        assert.are.equal(misses("random", 30, trace),
          misses({ score = "0", index = "sample:1" }, 30, trace))
      end
    end)
  end)

  it("draws nobody out of cells once it has struck out, and lru decides", function()
    local ids <const> = requests.skewed(5, 2000, 100)
    local replay <close> = assert(policy.replay{
      limit = 20,
      policy = { score = function(_, age) return age < 50 and 1 or "x" end, index = "cells:8" },
    })
    local lru <close> = assert(policy.replay{ limit = 20, policy = "lru" })
    local out, differ = 0, 0
    errors.reported(function()
      for _, id in ipairs(ids) do
        local hit <const> = replay:access(id)
        local would <const> = lru:access(id)
        out = #replay:failures() == 3 and out + 1 or out
        if out > 100 and hit ~= would then differ = differ + 1 end
        assert.is_true(replay:check())
      end
    end)
    assert.is_true(out > 500, out)
    assert.are.equal(0, differ)
  end)

  it("ages in a sample as time goes by", function()
    local since = {}
    misses({
      index = "sample:8",
      score = function(_, age, last)
        assert(age >= last)
        since[last] = true
        return -last
      end,
    }, 2, records({ 1, 2, 3 }))
    assert.are.same({ [1] = true, [2] = true }, since)
  end)

  it("may be infinite", function()
    alike({ score = "1/0" }, "lru")
    alike({ score = function() return -math.huge end }, "lru")
  end)
end)

-- ---- admission --------------------------------------------------------------------------------

describe("admission", function()
  it("keeps out what is not worth a place", function()
    local ids = { 1, 1, 2, 2, 3, 3 }
    local sizes = { 5, 5, 50, 50, 5, 5 }
    for _, admit in ipairs{ "size < 10", function(size) return size < 10 end } do
      assert.are.equal(4, misses({ score = "freq", admit = admit }, 100, records(ids, sizes), true))
    end
    local hooks = { admit = function(c, size) return size < c:limit() / 10 end }
    assert.are.equal(4, misses(hooks, 100, records(ids, sizes), true))
    local queues = { queues = { all = 1 }, admit = "size < limit / 10" }
    assert.are.equal(4, misses(queues, 100, records(ids, sizes), true))
  end)

  it("knows the keys that left last, as many as there are entries", function()
    local seen = {}
    local p = {
      score = "0",
      admit = function(_, ghost)
        seen[#seen + 1] = ghost
        return true
      end,
    }
    misses(p, 2, records({ 1, 2, 3, 4, 2, 1, 5, 2 }))
    -- 3 drives out 1, 4 drives out 2; 2 comes back, then 1; 5; 2, which left last but one
    assert.are.same({ false, false, false, false, true, false, false, true }, seen)
    assert.are.equal(8, misses({ score = "0", admit = "ghost or len < limit" }, 2,
      records({ 1, 2, 3, 3, 3, 4, 4, 1, 2, 5 })))
  end)
end)

-- ---- hooks ------------------------------------------------------------------------------------

describe("hooks", function()
  local function back(c) return c:queue("main"):back() end

  it("need no more than on_evict", function()
    alike({ on_evict = back }, "lru")
  end)

  it("may leave even that out", function()
    alike({ admit = function() return true end }, "lru")
  end)

  it("decide what an access changes", function()
    alike({ on_evict = back, on_hit = function() end }, "fifo")
    alike({
      on_insert = function(c, h) c:queue("q"):push_front(h) end,
      on_hit = function(c, h) c:queue("q"):to_front(h) end,
      on_evict = function(c) return c:queue("q"):back() end,
    }, "lru")
  end)

  it("scan for an unmarked entry: sieve in five lines", function()
    alike({
      init = function(c) c.q = c:queue("main") end,
      on_insert = function(c, h) c.q:push_front(h) end,
      on_hit = function(c, h) c:mark(h, true) end,
      on_evict = function(c)
        local victim
        victim, c.hand = c.q:scan(c.hand)
        return victim
      end,
    }, "sieve")
  end)

  it("move entries to and fro: clock", function()
    alike({
      init = function(c) c.q = c:queue("clock") end,
      on_insert = function(c, h) c.q:push_front(h) end,
      on_hit = function(c, h) c:mark(h, true) end,
      on_evict = function(c)
        local h = c.q:back()
        while c:mark(h) do
          c:mark(h, false)
          c.q:to_front(h)
          h = c.q:back()
        end
        return h
      end,
    }, "clock")
  end)

  it("are told of whatever leaves, while it can still be asked about", function()
    local gone = {}
    misses({
      on_evict = back,
      on_remove = function(c, h) gone[#gone + 1] = c:key(h) end,
    }, 2, records({ 1, 2, 3, 4 }))
    assert.are.same({ 1, 2 }, gone)
  end)

  it("walk queues", function()
    local seen
    misses({
      on_insert = function(c, h)
        local q = c:queue("q")
        q:push_back(h)
        if c:key(h) < 4 then return end
        seen = { q:len(), q:used() }
        local at = q:front()
        while at do
          seen[#seen + 1] = c:key(at)
          assert(q:next(at) == nil or q:prev(q:next(at)) == at)
          at = q:next(at)
        end
        local other, first = c:queue("other"), q:front()
        assert(q:remove(first) and not q:remove(first) and not other:remove(h))
        other:push_front(first)
        seen[#seen + 1] = c:key(q:front())
      end,
      on_evict = function(c) return c:queue("q"):front() end,
    }, 4, records({ 1, 2, 3, 4 }))
    assert.are.same({ 4, 4, 1, 2, 3, 4, 2 }, seen)
  end)

  it("know an entry's size, accesses and key", function()
    local seen = {}
    misses({
      on_hit = function(c, h)
        seen[#seen + 1] = { c:size(h), c:freq(h), c:inserted(h), c:last(h), c:key(h), c:cost(h),
          c:now(), c:len(), c:used(), c:limit() }
      end,
      on_evict = back,
    }, 100, records({ 7, 8, 7, 7 }, { 30, 40, 30, 30 }), true)
    assert.are.same({
      { 30, 2, 1, 1, 7, 1.0, 3, 2, 70, 100 },
      { 30, 3, 1, 3, 7, 1.0, 4, 2, 70, 100 },
    }, seen)
  end)

  it("remember keys in ghost lists", function()
    local seen = {}
    misses({
      init = function(c) c.gone = c:ghost("gone", 2) end,
      on_insert = function(c, h)
        seen[#seen + 1] = c.gone:has(h) and "again" or c.gone:len()
        if c.gone:has(h) then assert(c.gone:remove(h) and not c.gone:remove(h)) end
        c:queue("main"):push_front(h)
      end,
      on_evict = back,
      on_remove = function(c, h) c.gone:add(h) end,
    }, 1, records({ 1, 2, 1, 3, 4, 5, 4 }))
    assert.are.same({ 0, 1, "again", 2, 2, 2, "again" }, seen)
  end)

  it("drop the oldest key of a ghost list", function()
    local seen = {}
    misses({
      on_evict = back,
      on_remove = function(c, h)
        local g = c:ghost("gone", 9)
        g:add(h)
        if g:len() == 3 then seen = { g:used(), g:drop(), g:drop(), g:drop(), g:drop() } end
      end,
    }, 10, records({ 1, 2, 3, 4 }, { 6, 7, 8, 9 }), true)
    assert.are.same({ 21, 6, 7, 8 }, seen)
  end)

  it("are asked for as many as are needed, and may name several", function()
    local wants = {}
    local ids, sizes = {}, {}
    for i = 1, 20 do ids[i], sizes[i] = i, 5 end
    ids[21], sizes[21] = 99, 50
    misses({
      on_evict = function(c, want)
        wants[#wants + 1] = want
        local q, list = c:queue("main"), {}
        local h = q:back()
        for i = 1, want do
          list[i], h = h, q:prev(h)
        end
        return table.unpack(list)
      end,
    }, 100, records(ids, sizes), true)
    assert.are.same({ 10 }, wants)
  end)

  it("keep what they set in fields of their object", function()
    local c1
    misses({
      init = function(c)
        c.count, c1 = 0, c
      end,
      on_hit = function(c) c.count = c.count + 1 end,
      on_evict = back,
    }, 5, records({ 1, 1, 2, 2, 2 }))
    assert.are.equal(3, c1.count)
    assert.are.equal("lethe.policy.Cache", tostring(c1))
    assert.error_matches(function() c1:len() end, "the policy is over")
  end)

  it("find the methods of their objects whatever they assign to fields", function()
    misses({
      init = function(c)
        local q = c:queue("main")
        assert.are.equal("policy.Cache", require("lethe").type(c))
        assert.are.equal("policy.Queue", require("lethe").type(q))
        c.len, q.back = function() return "mine" end, 5
        assert.are.equal("mine", c:len())
        c.len, q.back = nil, nil
        assert.are.equal(0, c:len())
        assert.is_nil(q:back())
        assert.error_matches(function() setmetatable(c, {}) end, "protected metatable")
        assert.error_matches(function() setmetatable(q, {}) end, "protected metatable")
        assert.are.equal(q, c:queue("main"))
      end,
      on_evict = back,
    }, 5, records({ 1, 2 }))
  end)

  it("tell apart their own objects from others", function()
    for source, message in pairs{
      ["c.len(5)"] = "lethe.policy.Cache expected",
      ["c:queue('a').push_front(c, 1)"] = "lethe.policy.Queue expected",
      ["c:queue(5)"] = "string expected",
      ["c:ghost('a')"] = "number expected",
      ["c:ghost('a', -1)"] = "a number of keys expected",
      ["c:ghost('a', 1).add(c:queue('a'), 1)"] = "lethe.policy.Ghost expected",
      ["c:size('x')"] = "number expected",
      ["for i = 1, 100 do c:queue('q' .. i) end"] = "a policy has 64 queues at most",
      ["c:queue(('x'):rep(64))"] = "names of at most 63 bytes",
      ["for i = 1, 100 do c:queue('q\\0' .. i) end"] = "a name without zero bytes expected",
      ["for i = 1, 100 do c:ghost('g\\0' .. i, 1) end"] = "a name without zero bytes expected",
    } do
      local said = refusal{ init = assert(load("local c = ... " .. source)) }
      assert.matches("^init: ", said)
      assert.matches(message, said)
    end
  end)

  it("make queues and ghost lists by the methods of their own c alone", function()
    local others, refused = {}, 0
    for i = 1, 80 do
      misses({ init = function(c) others[i] = { queue = c.queue, ghost = c.ghost } end,
        on_evict = back }, 5, records({}))
    end
    local function try(method, ...)
      local ok, message = pcall(method, ...)
      if not ok and message:find("lethe.policy.Cache expected", 1, true) then
        refused = refused + 1
      end
    end
    misses({
      on_insert = function(c, h)
        c:queue("main"):push_front(h)
        for _, other in ipairs(others) do
          try(other.queue, c, "main")
          try(other.ghost, c, "main", 1)
        end
      end,
      on_evict = back,
    }, 5, records({ 1 }))
    assert.are.equal(160, refused)
  end)
end)

-- ---- what is refused --------------------------------------------------------------------------

describe("a policy is refused", function()
  it("where it makes no sense, with the place", function()
    for message, value in pairs{
      ['unknown policy "siev" (did you mean "sieve"?)'] = "siev",
      ['cannot read policy file "no/such.lua"'] = "no/such.lua",
      ['bad expression: column 8: unknown name "siez" (did you mean "size"?)'] = {
        score = "freq * siez",
      },
      ["bad expression: column 7: expected a value, got the end"] = {
        score = "1", admit = "size <",
      },
      ['index must be "heap" or "sample:1" to "sample:1024", or "cells:1" to "cells:1024" ' ..
        '(got "tree")'] = { score = "1", index = "tree" },
      ["index needs a score"] = { index = "heap" },
      ["a policy needs a score, queues or hooks"] = { name = "none" },
      ["score and on_evict do not go together: a policy is a score, queues or hooks"] = {
        score = "1", on_evict = print,
      },
      ["score: a zero byte"] = { score = "1\0" },
    } do
      assert.are.equal(message, refusal(value))
    end
    for _, kind in ipairs{ "sample:", "cells:" } do
      for _, n in ipairs{ "", "0", "1025", "5x", "-1", "99999999999999999999" } do
        assert.matches("index must be", refusal{ score = "1", index = kind .. n })
      end
    end
  end)

  it("by raising where it is misuse", function()
    local function new(value)
      return cache.new{ limit = 5, backend = { load = print }, policy = value }
    end
    for message, value in pairs{
      ["policy must be a name, a function or a table %(got number%)"] = 5,
      ['unknown option "scor" %(did you mean "score"%?%)'] = { scor = "1" },
      ["score must be a function or an expression %(got number%)"] = { score = 5 },
      ["on_evict must be a function %(got string%)"] = { on_evict = "x" },
      ["name must be a string"] = { score = "1", name = 5 },
      ["budget must be a number of instructions above 0"] = { score = "1", budget = 0 },
      ["index must be a string"] = { score = "1", index = 16 },
    } do
      assert.error_matches(function() new(value) end, message)
    end
  end)

  it("where a text is wrong, with its file and line", function()
    for source, message in pairs{
      ["return {\n score = ,}"] = ":2: unexpected symbol near ','",
      ["error('no')"] = ":1: no",
      ["return 5"] = ": a policy must be a name, a function or a table %(got number%)",
      ["return { scor = '1' }"] = ': unknown option "scor"',
      ["return { score = 'x' }"] = ': bad expression: column 1: unknown name "x"',
      ["return { init = function() error('bad') end }"] = ": init: .-:1: bad",
    } do
      local path = requests.file(source)
      local said = refusal(path)
      os.remove(path)
      assert.matches("^" .. path:match("[^/]+$"):gsub("%p", "%%%0") .. message, said)
    end
  end)
end)
