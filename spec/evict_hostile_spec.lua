-- Eviction policies in files that are out for trouble: each is stopped before it has spent more
-- than its budget and a tenth, and from then on the cache does what it does under lru.
local core = require "lethe.core.policy"
local evict = require "lethe.core.evict"
local chance = require "spec.support.chance"
local requests = require "spec.support.requests"

local FOLDER <const> = "spec/data/policies/hostile/"
local LIMIT <const>, BYTES <const> = 60, 1500

-- Which call fails for the first time, and how.
local HOSTILE <const> = {
  { "admit", "admit", "budget" },
  { "arguments", "on_evict", "budget" },
  { "caught_stale", "on_evict", "^stale handle %d+: its entry has left$" },
  { "compare", "on_evict", "budget" },
  { "concat", "on_evict", "budget" },
  { "coroutine", "on_evict", "budget" },
  { "duplicate", "on_evict", "^on_evict returned a handle twice$", bytes = true },
  { "errors", "on_insert", "error object is a table value" },
  { "foreign", "on_evict", "^handle 12884918888 is none of this cache's$" },
  { "gc", "on_evict", "budget" },
  { "handler", "on_hit", "budget" },
  { "load", "on_evict", "budget" },
  { "look_up", "on_evict", "budget" },
  { "memory", "on_evict", "budget" },
  { "nan", "score", "^score must be a number %(got NaN%)$" },
  { "next", "on_evict", "budget" },
  { "none", "on_evict", "^on_evict returned no victim$" },
  { "order", "on_hit", "budget" },
  { "pairs", "on_evict", "budget" },
  { "pattern", "on_evict", "budget" },
  { "pcall", "on_evict", "budget" },
  { "recursion", "on_evict", "budget" },
  { "remove", "on_remove", "budget" },
  { "rep", "on_evict", "budget" },
  { "rules", "on_evict", "^the rules dropped nothing in %d+ steps$" },
  { "sample", "score", "budget" },
  { "sort", "on_evict", "budget" },
  { "stale", "on_evict", "^stale handle %d+: its entry has left$" },
  { "strange", "on_evict", "^on_evict must return handles %(got string%)$" },
  { "text_score", "score", "^score must return a number %(got string%)$" },
  { "too_many", "on_evict", "^on_evict returned 2 victims where 1 were wanted$" },
  { "walk", "on_evict", "budget" },
}

local function trace()
  local ids, sizes = requests.skewed(11, 3000, 200)
  local by_request = {}
  for i, id in ipairs(ids) do by_request[i] = sizes[id % 40 + 1] + (id % 17 == 0 and 200 or 0) end
  return requests.records(ids, by_request)
end

local function run(policy, bytes)
  local before = os.clock()
  local result = requests.replay(policy, bytes and BYTES or LIMIT, trace(), bytes)
  return result, os.clock() - before
end

describe("a hostile policy", function()
  for _, row in ipairs(HOSTILE) do
    local name, call, message <const> = row[1], row[2], row[3]
    it(("is stopped within its budget, and lru goes on: %s"):format(name), function()
      local result = run(FOLDER .. name .. ".lua", row.bytes)
      assert.are.equal(3, #result.failures)
      assert.are.equal(call, result.failures[1].call)
      assert.matches(message, result.failures[1].message)
      for _, failure in ipairs(result.failures) do
        local most <const> = failure.budget > 0 and failure.budget or math.huge
        assert.is_true(failure.spent < 1.1 * most,
          ("%d of %d were spent"):format(failure.spent, failure.budget))
      end
      local lru <const> = run("lru", row.bytes)
      assert.are.equal(lru.misses, result.misses)
      assert.are.equal(lru.missed, result.missed)
    end)
  end

  it("made at random gets no further", function()
    local program <const> = dofile("spec/support/hostile.lua")
    local work <const> = chance.WORK
    for seed = 1, math.max(10, math.tointeger(60 * work // 1)) do
      local path = requests.file(("return { budget = 40000,\n on_hit = function(c) %s end,\n"
        .. " on_evict = function(c) %s\n return c:queue('main'):back() end }")
        :format(program(2 * seed), program(2 * seed + 1)))
      local ok, result = pcall(requests.replay, path, 12, requests.records(
        (requests.skewed(seed, 60, 40))))
      os.remove(path)
      assert.is_true(ok, result)
      for _, failure in ipairs(result.failures) do
        assert.is_true(failure.spent <= 1.1 * failure.budget, ("seed %d"):format(seed))
      end
    end
  end)

  it("costs little more time than one that does nothing", function()
    local _, empty = run("spec/data/policies/empty.lua")
    local worst, slowest = 0, nil
    for _, row in ipairs(HOSTILE) do
      local _, seconds = run(FOLDER .. row[1] .. ".lua", row.bytes)
      if seconds > worst then
        worst, slowest = seconds, row[1]
      end
    end
    assert.is_string(slowest)
    print(("# hostile policies: %s took longest, %.1f times as long as an empty one")
      :format(slowest, worst / math.max(empty, 1e-6)))
  end)

  it("is refused if it fails at once", function()
    for source, message in pairs{
      ["while true do end"] = "budget of 10000000 instructions",
      ["return { init = function(c) c:size(5) end }"] = "init: handle 5 is none of this cache's",
      ["return { init = function() pcall(error) error('x', 0) end }"] = "init: x",
      ["return setmetatable({}, { __index = function() while true do end end })"] = "budget",
      ["return { budget = 1 << 60, init = function() while true do end end }"] =
        "init: policy passed its budget of 10000000 instructions",
    } do
      local path = requests.file(source)
      local made, why, code = core.make(path, 10, 1, true)
      os.remove(path)
      assert.is_nil(made)
      assert.are.equal("bad_policy", code)
      assert.matches(message, why, 1, true)
    end
  end)

  it("reaches nothing outside", function()
    local path = requests.file([[
      for _, name in ipairs{ "io", "os", "debug", "package", "require", "collectgarbage", "print",
        "dofile", "loadfile" } do
        assert(_G[name] == nil, name)
      end
      return {
        init = function(c)
          assert(getmetatable(c) == false)
          assert(not pcall(setmetatable, c, {}))
          assert(getmetatable(c:queue("main")) == false)
        end,
        on_evict = function(c) return c:queue("main"):back() end,
      }
    ]])
    local made <close> = assert(core.make(path, 10, 1, true))
    os.remove(path)
    local replay <close> = assert(evict.replay(made, 10, true))
    assert(replay:run(trace()))
    assert.are.same({}, replay:failures())
  end)

  it("has a memory of its own: what it took ends with it", function()
    collectgarbage()
    local before = collectgarbage("count")
    run(FOLDER .. "memory.lua")
    collectgarbage()
    assert.is_true(collectgarbage("count") - before < 1000)
  end)
end)
