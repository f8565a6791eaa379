-- Declared queues: policies as tables of rules, which run in C. How rules are read in detail is the
-- business of spec/c/test_evict_rules.c.
local cache = require "lethe.cache"
local loop = require "lethe.loop"
local make = require "lethe.evict.make"
local requests = require "spec.support.requests"

local misses, records = requests.misses, requests.records

local CLOCK <const> = {
  queues = { all = 1 },
  rules = { on_evict = { all = "freq >= 1 and reinsert(freq = 0) or drop" } },
}

-- S3-FIFO, where what has no place in the small queue comes in by way of its ghost alone.
local S3FIFO <const> = {
  queues = { small = 0.1, main = 0.9 },
  ghost = { small = 0.9 },
  admit = "size <= floor(limit * 0.1)",
  rules = {
    insert = "ghost and main or size < floor(limit * 0.1) and small",
    on_evict = {
      small = "freq >= 2 and move(main, freq = 0) or drop(ghost)",
      main = "freq >= 1 and reinsert(freq = min(freq, 3) - 1) or drop",
    },
  },
}

local function refusal(value)
  local made, message, code = make.make(value, 10, 1, true, 1)
  assert.is_nil(made)
  assert.are.equal("bad_policy", code)
  return message
end

-- ---- what rules do ----------------------------------------------------------------------------

describe("declared queues", function()
  it("are the built-in policies in a few words", function()
    for seed = 1, 3 do
      local ids = requests.skewed(seed, 3000, 150)
      local trace = records(ids)
      for _, limit in ipairs{ 10, 37, 90 } do
        assert.are.equal(misses("fifo", limit, trace),
          misses({ queues = { all = 1 } }, limit, trace))
        assert.are.equal(misses("lru", limit, trace),
          misses({ queues = { all = 1 }, rules = { on_hit = { all = "reinsert" } } }, limit, trace))
        assert.are.equal(misses("clock", limit, trace), misses(CLOCK, limit, trace))
        assert.are.equal(misses("s3fifo", limit, trace), misses(S3FIFO, limit, trace))
      end
    end
  end)

  it("are so on a recorded trace, of entries and of bytes", function()
    local trace = requests.recorded(15000)
    for _, limit in ipairs{ 50, 400 } do
      assert.are.equal(misses("clock", limit, trace), misses(CLOCK, limit, trace))
      assert.are.equal(misses("s3fifo", limit, trace), misses(S3FIFO, limit, trace))
    end
    for _, bytes in ipairs{ 200000, 1500000 } do
      assert.are.same({ misses("clock", bytes, trace, true) },
        { misses(CLOCK, bytes, trace, true) })
      assert.are.same({ misses("s3fifo", bytes, trace, true) },
        { misses(S3FIFO, bytes, trace, true) })
    end
  end)

  it("have one rule for all where it is a text", function()
    local trace = records((requests.skewed(4, 2000, 100)))
    assert.are.equal(misses("lru", 20, trace),
      misses({ queues = { a = 0.5, b = 0.5 }, rules = {
        insert = "size > 0 and a or b", on_hit = "reinsert", on_evict = "drop",
      } }, 20, trace))
  end)

  it("count hits from 0 after insertion, and keep what freq is set to", function()
    -- 1 is hit twice, and so stays once; then it is 5, and stays for good
    local p = { queues = { all = 1 }, rules = {
      on_evict = { all = "freq >= 2 and reinsert(freq = 5) or drop" },
    } }
    assert.are.equal(6, misses(p, 2, records({ 1, 1, 1, 2, 3, 4, 5, 6, 1 })))
    p.rules.on_evict.all = "freq >= 3 and reinsert(freq = 5) or drop"
    assert.are.equal(7, misses(p, 2, records({ 1, 1, 1, 2, 3, 4, 5, 6, 1 })))
  end)

  it("let go at a hit of what on_hit drops", function()
    local p = { queues = { all = 1 }, rules = { on_hit = "freq >= 2 and drop" } }
    assert.are.equal(2, misses(p, 5, records({ 1, 1, 1, 1 })))
    assert.are.equal(4, misses(p, 5, records({ 1, 2, 1, 1, 2, 2, 2, 1 })))
    for seed = 1, 3 do -- the same as a list: first in, first out, and out at the third access
      local ids = requests.skewed(seed, 3000, 90)
      local queue, hits, missed = {}, {}, 0
      for _, id in ipairs(ids) do
        if not hits[id] then
          missed = missed + 1
          if #queue == 20 then hits[table.remove(queue, 1)] = nil end
          queue[#queue + 1], hits[id] = id, 0
        else
          hits[id] = hits[id] + 1
          if hits[id] == 2 then
            hits[id] = nil
            for i, other in ipairs(queue) do
              if other == id then
                table.remove(queue, i)
                break
              end
            end
          end
        end
      end
      assert.are.equal(missed, misses(p, 20, records(ids)))
    end
  end)

  it("remember what on_hit drops where they say so", function()
    local p = { queues = { small = 0.5, main = 0.5 }, ghost = { small = 0.5 }, rules = {
      insert = "ghost and main or small", on_hit = { small = "drop(ghost)" },
    } }
    -- dropped from small at the first hit, it comes back to main, and stays
    assert.are.equal(2, misses(p, 10, records({ 1, 1, 1, 1, 1 })))
    p.rules.on_hit.small = "drop()"
    assert.are.equal(3, misses(p, 10, records({ 1, 1, 1, 1, 1 })))
  end)

  it("let go in a cache at once, once written and not in use", function()
    local written, left <const> = {}, {}
    local c <close> = cache.new{
      limit = 5,
      backend = {
        load = function(_, k) return k end,
        flush = function(_, k, v) written[k] = v end,
      },
      policy = { queues = { all = 1 }, rules = { on_hit = "freq >= 2 and drop" } },
    }
    c:on_evict(function(k, _, reason) left[#left + 1] = k .. " " .. reason end)
    for _ = 1, 2 do c:get("a") end
    assert.is_true(c:contains("a"))
    assert.are.equal("a", c:get("a"))
    assert.is_false(c:contains("a"))
    c:get("b")
    local hold <const> = assert(c:hold("b"))
    hold:set("changed")
    assert.are.equal("changed", c:get("b"))
    assert.is_true(c:contains("b"))
    hold:close()
    loop.default():sleep(0)
    assert.is_false(c:contains("b"))
    assert.are.same({ b = "changed" }, written)
    assert.are.equal(0, c:len())
    loop.default():sleep(0)
    assert.are.same({ "a capacity", "b capacity" }, left)
    assert.are.equal(2, c:stats().evictions)
  end)

  it("do not store what insert has no queue for", function()
    local p = { queues = { all = 1 }, rules = { insert = "size < 10 and all" } }
    assert.are.equal(5, misses(p, 100, records({ 1, 1, 2, 2, 3, 3, 2 }, { 5, 5, 50, 50, 5, 5, 50 }),
      true))
  end)

  it("ask the largest if it is over its share, else the smallest", function()
    -- odd sizes go to the small queue of 3, even ones to the large one of 7
    local p = {
      queues = { small = 0.3, large = 0.7 },
      rules = { insert = "size % 2 == 1 and small or large" },
    }
    local ids, sizes = {}, {}
    for i = 1, 5 do ids[i], sizes[i] = i, 2 end            -- large: 10 of 7
    ids[6], sizes[6] = 6, 1                                -- drives out 1: large is over
    ids[7], sizes[7] = 7, 1                                -- small: 2, large: 8
    ids[8], sizes[8] = 8, 1                                -- drives out 2: large is over: 6
    ids[9], sizes[9] = 9, 1                                -- small: 4
    ids[10], sizes[10] = 10, 1                             -- drives out 6, the smallest queue's
    for i, id in ipairs{ 3, 4, 5, 7, 8, 9, 10 } do ids[10 + i], sizes[10 + i] = id, 1 end
    local before = misses(p, 10, records(ids, sizes), true)
    assert.are.equal(10, before)
    ids[#ids + 1], sizes[#sizes + 1] = 6, 1
    assert.are.equal(11, misses(p, 10, records(ids, sizes), true))
  end)

  it("read ages and sizes in conditions", function()
    local trace = records((requests.skewed(5, 2000, 100)))
    local p = { queues = { all = 1 }, rules = {
      on_hit = "age >= since and since > 0 and L == 0 and cost == 1 and limit == 20 and reinsert",
    } }
    assert.are.equal(misses("lru", 20, trace), misses(p, 20, trace))
  end)
end)

-- ---- what is refused --------------------------------------------------------------------------

describe("a table of rules is refused", function()
  local function with(rules, queues, ghost)
    return { queues = queues or { small = 0.1, main = 0.9 }, ghost = ghost, rules = rules }
  end

  it("with the rule and the column", function()
    for message, rules in pairs{
      ['bad rule: insert: column 1: unknown queue "mian" (did you mean "main"?)'] = {
        insert = "mian",
      },
      ["bad rule: on_evict.main: column 5: expected \"(\", got the end"] = {
        insert = "small", on_evict = { main = "move" },
      },
      ['bad rule: on_hit.small: column 8: unknown name "siz" (did you mean "size"?)'] = {
        insert = "small", on_hit = { small = "freq > siz and reinsert" },
      },
      ['bad rule: on_evict.main: column 6: queue "main" has no ghost'] = {
        insert = "small", on_evict = { main = "drop(ghost)" },
      },
      ['on_hit: unknown queue "smal" (did you mean "small"?)'] = {
        insert = "small", on_hit = { smal = "reinsert" },
      },
      ["bad rule: insert must say to which of the queues an entry goes"] = {},
    } do
      assert.are.equal(message, refusal(with(rules)))
    end
  end)

  it("where shares make no sense", function()
    assert.matches("make 1.5, more than 1",
      refusal(with({ insert = "a" }, { a = 0.5, b = 1.0 })))
    assert.matches('share of queue "a" must be above 0', refusal(with(nil, { a = 0 })))
    assert.matches('unknown queue "b"', refusal(with(nil, { a = 1 }, { b = 1 })))
    assert.matches('"ghost" cannot name a queue', refusal(with(nil, { ghost = 1 })))
    assert.matches("1 to 16 queues expected, got 0", refusal(with(nil, {})))
    assert.matches("ghost and rules need queues", refusal{ rules = {} })
    local many = {}
    for i = 1, 17 do many["q" .. i] = 0.05 end
    assert.matches("at most 16 queues", refusal(with(nil, many)))
  end)

  it("by raising where it is misuse", function()
    local function new(value) return make.make(value, 10, 1, true, 1) end
    for message, value in pairs{
      ["queues must be a table of names and shares %(got string%)"] = { queues = "main" },
      ["queues must be a table of names and shares %(got 1 = main%)"] = { queues = { "main" } },
      ['unknown option "on_miss" %(did you mean "on_hit"%?%)'] = with{ on_miss = "x" },
      ["on_hit.small must be a rule %(got number%)"] = with{ on_hit = { small = 5 } },
      ["on_hit must be a rule or a table of rules %(got number%)"] = with{ on_hit = 5 },
      ["insert must be a rule %(got table%)"] = with{ insert = {} },
      ["rules must be a table %(got string%)"] = with("x"),
      ["ghost must be a table of shares by queue %(got number%)"] = with(nil, nil, 5),
      ["ghost.small must be a share %(got string%)"] = with(nil, nil, { small = "x" }),
    } do
      assert.error_matches(function() new(value) end, message)
    end
  end)

  it("where a rule makes no sense when it is asked, as a strike", function()
    local result = requests.replay({
      queues = { all = 1 },
      rules = { on_evict = "size + nil > 1 and drop or drop" },
    }, 2, records({ 1, 2, 3, 4, 5, 6 }))
    assert.are.equal("on_evict: arithmetic on nil", ("%s: %s"):format(result.failures[1].call,
      result.failures[1].message))
    assert.are.equal(3, #result.failures)
  end)
end)
