-- Eviction policies of a program under want of memory: a policy is made whole or not at all, an
-- exchange leaves the old one or the new one, and whatever a policy lacks memory for, its cache works.
local cache = require "lethe.cache"
local lethe = require "lethe"
local policy = require "lethe.policy"
local loop = lethe.loop.new{ clock = "virtual" }
require "lethe.cache.policy"
require "lethe.evict.check"

local FORMS <const> = {
  { score = "L + freq / (size + 1)", admit = "ghost or size > 0" },
  { score = function(freq, age) return freq / (age + 1) end, index = "sample:4" },
  {
    queues = { small = 0.3, main = 0.7 },
    ghost = { small = 1 },
    rules = {
      insert = "ghost and main or small",
      on_evict = { small = "freq >= 1 and move(main, freq = 0) or drop(ghost)" },
    },
  },
  {
    name = "hooks",
    init = function(c)
      c.q, c.gone = c:queue("q"), c:ghost("gone", 5)
    end,
    on_insert = function(c, h) c.q:push_front(h) end,
    on_hit = function(c, h) c:mark(h, true) end,
    on_evict = function(c)
      local h
      h, c.hand = c.q:scan(c.hand)
      return h
    end,
    on_remove = function(c, h) c.gone:add(h) end,
    export = function(c) return { hand = c.hand, note = "some text" } end,
    import = function(c, t) c.hand = t.hand end,
  },
}

local function load(_, key)
  return key
end

local cached
-- Lua's buffers are boxes of a metatable that stock Lua leaves half made for want of memory.
assert(#table.concat({ ("x"):rep(5000), ("y"):rep(5000) }) == 10000)
begin()

local function work()
  for i, form in ipairs(FORMS) do
    local replay <close> = got(policy.replay{ policy = form, limit = 3 })
    for key = 1, 8 do replay:access(key % 5) end
    replay:failures()
    cached = got(cache.new{ backend = { load = load }, limit = 3, loop = loop, policy = form })
    local shadow <close> = got(cached:shadow(FORMS[i % #FORMS + 1]))
    for key = 1, 6 do cached:get(key) end
    got(cached:reload(FORMS[(i + 1) % #FORMS + 1]))
    got(cached:reload(form))
    got(cached:reload(form))
    cached:get("text")
    shadow:stats()
    cached:close()
  end
end

local function check()
  loop:advance(1)
  if not cached or not lethe.type(cached) or not pcall(cached.len, cached) then return end
  for key = 1, 9 do assert(cached:get(key) == key) end
  assert(cached:len() <= 3)
  assert(cached:reload("lru"))
  for key = 11, 19 do assert(cached:get(key) == key) end
  cached:close()
end

return work, check
