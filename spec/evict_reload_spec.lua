-- Policies of caches that are in use: exchanged for others, tried beside them, and reported where
-- they fail.
local cache = require "lethe.cache"
local lethe = require "lethe"
local requests = require "spec.support.requests"

local STORE <const> = { load = function(_, k) return "value " .. k end }

local SIEVE <const> = [[
  return {
    init = function(c) c.q = c:queue("main") end,
    on_insert = function(c, h) c.q:push_front(h) end,
    on_hit = function(c, h) c:mark(h, true) end,
    on_evict = function(c)
      local victim
      victim, c.hand = c.q:scan(c.hand)
      return victim
    end,
    export = function(c) return { hand = c.hand } end,
    import = function(c, t) c.hand = t.hand end,
  }
]]

local caches, files, reports

-- A cache over a store of everything, closed when the spec ends.
local function new(options)
  options.backend = STORE
  local c = assert(cache.new(options))
  caches[#caches + 1] = c
  return c
end

local function file(source)
  local path = requests.file(source)
  files[#files + 1] = path
  return path
end

local function get(c, ids)
  for _, id in ipairs(ids) do assert(c:get(id)) end
end

-- A policy that is put in charge again and again counts the misses of one that stays.
local function same_when_reloaded(policy, ids)
  local whole, often = new{ limit = 25, policy = policy }, new{ limit = 25, policy = policy }
  for i, id in ipairs(ids) do
    assert(whole:get(id))
    assert(often:get(id))
    if i % 50 == 0 then assert.is_true(often:reload(policy)) end
  end
  assert.are.equal(whole:stats().misses, often:stats().misses,
    type(policy) == "string" and policy or nil)
end

-- Which of the keys are there.
local function held(c, from, to)
  local list = {}
  for k = from, to do
    if c:contains(k) then list[#list + 1] = k end
  end
  return list
end

describe("a cache with a policy of its own", function()
  local before

  before_each(function()
    caches, files, reports = {}, {}, {}
    before = lethe.on_error(function(message, details)
      reports[#reports + 1] = { message = message, details = details }
    end)
  end)

  after_each(function()
    for _, c in ipairs(caches) do c:close() end
    for _, path in ipairs(files) do os.remove(path) end
    lethe.on_error(before)
  end)

  it("counts as the policy does in a replay", function()
    local ids = requests.skewed(3, 1500, 80)
    for _, p in ipairs{
      "sieve", { score = "freq" }, { queues = { all = 1 } }, file(SIEVE),
      { on_evict = function(c) return c:queue("main"):back() end },
    } do
      local c = new{ limit = 20, policy = p }
      get(c, ids)
      assert.are.equal(requests.misses(p, 20, requests.records(ids)), c:stats().misses)
    end
    assert.are.same({}, reports)
  end)

  it("hands its keys to hooks, strings and integers, also in a state of their own", function()
    local path = file([[
      return {
        on_evict = function(c)
          local q = c:queue("main")
          local h = q:back()
          while h and tostring(c:key(h)):sub(1, 4) == "keep" do h = q:prev(h) end
          return h
        end,
      }
    ]])
    local c = new{ limit = 3, policy = path }
    get(c, { "keep 1", 2, "keep 3", 4, 5, 6 })
    assert.are.same({ true, false, true, false, false, true }, { c:contains("keep 1"),
      c:contains(2), c:contains("keep 3"), c:contains(4), c:contains(5), c:contains(6) })
  end)

  it("never lets go of what is in use, whatever the policy says", function()
    local c = new{ limit = 3, policy = {
      on_evict = function(x) return x:queue("main"):back() end,
    } }
    local hold <close> = assert(c:hold(1))
    get(c, { 2, 3, 4, 5, 6 })
    assert.is_true(c:contains(1))
    assert.are.equal("value 1", hold.value)
    assert.are.same({}, reports)
  end)

  it("weighs bytes where these are limited", function()
    local c = new{
      bytes = 100,
      weigh = function(k) return k end,
      policy = { score = "-size", admit = function(size) return size < 90 end },
    }
    get(c, { 50, 10, 30, 95, 20 })
    assert.are.same({ 10, 20, 30 }, held(c, 1, 100))
  end)

  it("cannot be used by its policy", function()
    local c
    c = new{ limit = 2, policy = { on_hit = function() c:get(5) end } }
    get(c, { 1, 1, 2 })
    assert.matches("a policy cannot use the cache it decides for", reports[1].message)
  end)

  -- ---- failures -------------------------------------------------------------------------------

  it("tells lethe.on_error of each strike, with a dump", function()
    local c = new{ limit = 2, policy = file("return {\n on_evict = function(c, want)\n"
      .. " error('no idea')\n end }") }
    get(c, { 1, 2, 3, 4, 5, 6 })
    assert.are.equal(3, #reports)
    local name <const> = files[1]:match("[^/]+$")
    assert.are.equal(("policy %s failed in on_evict: %s:3: no idea (strike 1 of 3: "
      .. '"lru" decides the next eviction)'):format(name, name), reports[1].message)
    assert.matches('strike 3 of 3: "lru" decides from now on', reports[3].message)
    local d = reports[3].details
    assert.are.equal(name, d.policy)
    assert.are.equal("on_evict", d.call)
    assert.are.same({ 1 }, d.arguments)
    assert.matches(":3: in function", d.traceback)
    assert.is_true(d.final)
    assert.are.equal(3, d.strike)
    assert.is_true(d.spent < d.budget)
    local events = {}
    for i, event in ipairs(d.events) do events[i] = event.type end
    assert.are.equal("insert insert fail evict insert fail evict insert fail",
      table.concat(events, " "))
    assert.are.same({ 5, 6 }, held(c, 1, 6))
  end)

  it("keeps the last 64 events", function()
    local n = 0
    local c = new{ limit = 2, policy = {
      on_hit = function()
        n = n + 1
        if n > 97 then error("enough") end
      end,
    } }
    for _ = 1, 110 do c:get(1) end
    c:get(2) -- hits themselves tell nothing
    assert.are.equal(64, #reports[3].details.events)
    assert.are.same({ type = "fail", at = 101 }, reports[3].details.events[64])
  end)

  it("is told of failures though it was closed at once", function()
    local c = new{ limit = 1, policy = { on_insert = function() error("x") end } }
    c:get(1)
    c:close()
    lethe.loop.default():run()
    assert.are.equal(1, #reports)
  end)

  -- ---- reload ---------------------------------------------------------------------------------

  it("takes another policy under load", function()
    local c = new{ limit = 4 }
    get(c, { 1, 2, 3, 4, 1 })
    for _, p in ipairs{
      { score = "freq" }, "sieve", { queues = { a = 0.5, b = 0.5 }, rules = { insert = "a" } },
      { on_evict = function(x) return x:queue("main"):back() end }, file(SIEVE), "arc", "lru",
    } do
      assert.is_true(c:reload(p))
      assert.are.same({ 1, 2, 3, 4 }, held(c, 1, 4))
    end
    get(c, { 5, 6, 7, 8, 9 })
    assert.are.equal(4, c:len())
    assert.are.same({}, reports)
  end)

  it("keeps the order of queues, their marks, and what export says", function()
    same_when_reloaded(file(SIEVE), requests.skewed(9, 2000, 90))
  end)

  it("keeps scores, rules' queues and ghosts likewise", function()
    local ids = requests.skewed(10, 2000, 90)
    for _, p in ipairs{
      { score = "L + freq * 1e6 / (1 + size)", admit = "ghost or size > 0" },
      { score = function(freq, _, _, _, _, L) return L + freq end },
      { queues = { small = 0.1, main = 0.9 }, ghost = { small = 0.9 }, rules = {
        insert = "ghost and main or small",
        on_evict = {
          small = "freq >= 2 and move(main, freq = 0) or drop(ghost)",
          main = "freq >= 1 and reinsert(freq = min(freq, 3) - 1) or drop",
        },
      } },
    } do
      same_when_reloaded(p, ids)
    end
  end)

  it("keeps all that a built-in policy knows where it stays in charge", function()
    local ids = requests.skewed(11, 1500, 90)
    for _, p in ipairs{ "clock", "sieve", "s3fifo", "arc", "gdsf", "random" } do
      same_when_reloaded(p, ids)
    end
  end)

  it("keeps ghost lists that hooks ask for as they go", function()
    local ids = requests.skewed(12, 2000, 90)
    local path <const> = file([[
      local p = {}
      function p.on_insert(c, h)
        c:queue(c:ghost("left", 20):has(h) and "hot" or "main"):push_front(h)
      end
      function p.on_hit() end
      function p.on_evict(c)
        local hot, h = c:queue("hot")
        h = hot:len() > 12 and hot:back() or c:queue("main"):back() or hot:back()
        c:ghost("left", 20):add(h)
        return h
      end
      return p]])
    local whole, often = new{ limit = 25, policy = path }, new{ limit = 25, policy = path }
    for i, id in ipairs(ids) do
      assert(whole:get(id))
      assert(often:get(id))
      if i % 50 == 0 then
        assert.is_true(often:reload(path))
        assert.is_true(often:reload(path))
      end
    end
    assert.are.equal(whole:stats().misses, often:stats().misses)
    assert.are.same({}, reports)
  end)

  it("may have ghost lists of other names, as many as any policy, after another", function()
    local function back(x) return x:queue("main"):back() end
    local function keeping(letter)
      return { on_evict = function(x)
        for i = 1, 16 do
          x:ghost(letter .. i, 9):add(back(x))
        end
        return back(x)
      end }
    end
    local c = new{ limit = 3, policy = keeping "a" }
    get(c, { 1, 2, 3, 4, 5 })
    for _, letter in ipairs{ "b", "c" } do
      assert.is_true(c:reload(keeping(letter)))
      get(c, { 6, 7, 8, 9 })
    end
    assert.are.same({}, reports)
  end)

  it("scores entries anew by another expression", function()
    local c = new{ limit = 3, policy = { score = "freq" } }
    get(c, { 1, 2, 3, 1, 1, 2 })
    assert.is_true(c:reload{ score = "-freq" })
    get(c, { 4 })
    assert.are.same({ 2, 3, 4 }, held(c, 1, 4))
  end)

  it("leaves the old policy where the new one is not fit, and says why", function()
    local path <const> = file(SIEVE)
    local c = new{ limit = 3, policy = path }
    get(c, { 1, 2, 3, 1, 2 })
    for message, p in pairs{
      ['unknown policy "sieev"'] = "sieev",
      ['unknown name "frq"'] = { score = "frq" },
      ["score: score must be a number"] = { score = "freq > 0" },
      ["on_evict: .*:1: broken"] = file("return { on_evict = function() error('broken') end }"),
      ["budget of 1000 instructions"] = file("return { budget = 1000,"
        .. " on_hit = function() while true do end end }"),
      ["import: .*:2: entries stay as they are"] = file("return {\n import = function(c, t)"
        .. " c:queue('other'):push_front(t.hand or c:queue('main'):front()) end }"),
      ["import: .*:1: cannot"] = file("return { import = function() error('cannot') end }"),
      ["on_insert: .*: new here"] = { on_insert = function() error("new here") end },
      ["score: .*: not you"] = { score = function() error("not you") end },
    } do
      local ok, why, code = c:reload(p)
      if type(p) == "table" and p.on_insert then -- of the same form: nothing is inserted
        assert.is_true(ok)
        assert.is_true(c:reload(path))
      else
        assert.is_nil(ok)
        assert.are.equal("bad_policy", code)
        assert.matches(message, why)
      end
    end
    get(c, { 4 })
    assert.are.same({ 1, 2, 4 }, held(c, 1, 4)) -- 3 was not marked
  end)

  it("leaves the old policy where export fails, or gives what cannot travel", function()
    local c = new{ limit = 3, policy = {
      on_evict = function(x) return x:queue("main"):front() end,
      export = function() return { fn = print } end,
    } }
    get(c, { 1, 2, 3 })
    local ok, why, code = c:reload(file(SIEVE))
    assert.is_nil(ok)
    assert.are.equal("bad_policy", code)
    assert.matches("export: .*fn is a function", why)
    get(c, { 4 })
    assert.are.same({ 1, 2, 4 }, held(c, 1, 4))
  end)

  it("replaces a policy that lru stands in for, in the order of lru", function()
    local c = new{ limit = 3, policy = { on_hit = function() error("x") end } }
    get(c, { 1, 2, 3, 1, 1, 2, 3, 1 })
    assert.is_true(c:reload{ on_evict = function(x) return x:queue("main"):back() end })
    assert.are.equal(3, #reports)
    get(c, { 4 })
    assert.are.same({ 1, 3, 4 }, held(c, 1, 4))
  end)

  it("keeps entries in use where they are", function()
    local back <const> = { on_evict = function(x) return x:queue("main"):back() end }
    local c = new{ limit = 3, policy = back }
    local hold = assert(c:hold(1))
    get(c, { 2, 3, 4 })
    for _, p in ipairs{ back, { score = "0" }, "lru", back } do
      assert.is_true(c:reload(p))
      get(c, { 5, 6, 7 })
      assert.is_true(c:contains(1))
    end
    hold:close()
    get(c, { 8, 9, 10, 11 })
    assert.is_false(c:contains(1))
  end)

  -- ---- shadows --------------------------------------------------------------------------------

  it("has shadows that count what another policy would miss", function()
    local ids = requests.skewed(12, 4000, 150)
    local c = new{ limit = 40 }
    local shadows = { lru = assert(c:shadow("lru")), sieve = assert(c:shadow("sieve")) }
    get(c, ids)
    for name, shadow in pairs(shadows) do -- of so small a cache every access is looked at
      local stats = shadow:stats()
      assert.are.equal(requests.misses(name, 40, requests.records(ids)), stats.misses)
      assert.are.equal(#ids, stats.hits + stats.misses)
      assert.are.equal(stats.misses / #ids, stats.miss_ratio)
      assert.are.equal(0, stats.error_bound)
    end
    assert.are.equal(shadows.lru:stats().misses, c:stats().misses)
  end)

  it("has shadows that look at a sample, within their bound", function()
    local ids = requests.skewed(13, 30000, 6000)
    local c = new{ limit = 1000 }
    local shadows = {}
    for _, name in ipairs{ "lru", "sieve", "s3fifo" } do
      shadows[name] = assert(c:shadow(name, { sample = 1 / 8 }))
    end
    get(c, ids)
    for name, shadow in pairs(shadows) do
      local stats = shadow:stats()
      local exact = requests.misses(name, 1000, requests.records(ids)) / #ids
      assert.is_true(stats.sampled < #ids / 2)
      assert.is_true(stats.error_bound > 0 and stats.error_bound < 0.15)
      assert.is_true(math.abs(stats.miss_ratio - exact) <= stats.error_bound,
        ("%s: %.4f and not %.4f"):format(name, stats.miss_ratio, exact))
    end
  end)

  it("has shadows of scripts, which get keys and go on failing alone", function()
    local keys = {}
    local c = new{ limit = 3 }
    local shadow = assert(c:shadow{ name = "beside", on_evict = function(x)
      local h = x:queue("main"):back()
      keys[#keys + 1] = x:key(h)
      if #keys > 2 then error("tired") end
      return h
    end })
    get(c, { "a", 2, 3, 4, 5, 6, 7, 8, 9 })
    assert.are.same({ "a", 2, 3, 4, 5 }, keys)
    assert.are.equal(3, shadow:stats().strikes)
    assert.matches("policy beside failed", reports[1].message)
    assert.are.equal(9, shadow:stats().misses)
    shadow:close()
    assert.error_matches(function() shadow:stats() end, "closed lethe.cache.Shadow")
    get(c, { 10 })
  end)

  it("has shadows that follow its limit, and outlive it", function()
    local c = new{ limit = 10 }
    local shadow = assert(c:shadow("lru"))
    c:resize{ limit = 3 }
    get(c, { 1, 2, 3, 4, 1 })
    assert.are.equal(5, shadow:stats().misses)
    c:close()
    assert.are.equal(5, shadow:stats().misses)
  end)

  it("refuses a shadow as it refuses a policy", function()
    local c = new{ limit = 3 }
    local shadow, message, code = c:shadow("siev")
    assert.is_nil(shadow)
    assert.are.equal('unknown policy "siev" (did you mean "sieve"?)', message)
    assert.are.equal("bad_policy", code)
    for _, sample in ipairs{ 0, -1, 1.5, "x", 0 / 0 } do
      assert.error_matches(function() c:shadow("lru", { sample = sample }) end, "sample must be")
    end
    assert.error_matches(function() c:shadow("lru", { smple = 1 }) end, 'did you mean "sample"')
    assert.error_matches(function() c:shadow(5) end, "policy must be a name")
    assert.error_matches(function() c:reload(5) end, "policy must be a name")
  end)
end)
