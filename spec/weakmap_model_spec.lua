-- Weak maps of Lua values against a naive reference, in all ways of collecting. What is held must
-- be there; what is not may have gone at any moment, and once gone stays so; after a full
-- collection it is gone. Every entry that was not taken out alive is told to on_dead, once. SEED=
-- repeats a run, LETHE_WORK multiplies its length.
local chance = require "spec.support.chance"
local collector = require "spec.support.collector"
local loop = require "lethe.loop"
local weakmap = require "lethe.weakmap"

local WORK <const> = math.max(0.05, chance.WORK)
local STEPS <const> = math.tointeger(100000 * WORK // 1)
local SEED <const> = chance.SEED
local KEYS <const> = 60

-- ---- the world --------------------------------------------------------------------------------

-- entries: key -> id of the value that should be there, if it is still alive. held: id -> value.
local function new_world(ordered, seed)
  local w = { entries = {}, held = {}, ids = 0, deaths = {}, told = {} }
  w.random = chance.below(seed)
  w.id_of = setmetatable({}, { __mode = "k" })
  w.ordered = ordered
  w.map = weakmap.new{
    ordered = ordered,
    ops_threshold = 20,
    on_dead = function(k) w.told[k] = (w.told[k] or 0) + 1 end,
  }
  return w
end

local function dead(w, k)
  w.deaths[k] = (w.deaths[k] or 0) + 1
  w.entries[k] = nil
end

-- What the map says is under k, checked; `gone` if it says so.
local function check(w, k, v)
  local id = w.entries[k]
  if v == nil then
    if id then
      assert(not w.held[id], "a held value is not there")
      dead(w, k)
    end
  else
    assert(id and w.id_of[v] == id, "another value than the one that was put")
  end
end

local function some_value(w)
  if w.random(3) == 0 then -- one that is held already, under a further key
    local id = next(w.held)
    if id then return w.held[id] end
  end
  w.ids = w.ids + 1
  local kind, v = w.random(4) -- luacheck: ignore
  if kind == 0 then
    v = function() return w end
  elseif kind == 1 then
    v = coroutine.create(check)
  else
    v = kind == 2 and setmetatable({}, { __gc = function() end }) or {}
  end
  w.id_of[v] = w.ids
  if w.random(2) == 0 then w.held[w.ids] = v end
  return v
end

-- ---- operations -------------------------------------------------------------------------------

local O = {}

function O.insert(w, k)
  local v = some_value(w)
  local old = w.map:insert(k, v)
  check(w, k, old)
  w.entries[k] = w.id_of[v]
end

function O.get(w, k)
  check(w, k, w.map:get(k))
end

function O.remove(w, k)
  check(w, k, w.map:remove(k))
  w.entries[k] = nil
end

function O.drop(w)
  local n = w.random(4)
  for id in pairs(w.held) do
    if n == 0 then
      w.held[id] = nil
      return
    end
    n = n - 1
  end
end

function O.make(w, k)
  local put
  local v, created = w.map:get_or_create(k, function()
    put = some_value(w)
    return put
  end)
  if created then
    check(w, k, nil)
    w.entries[k] = w.id_of[v]
  else
    check(w, k, v)
  end
end

-- A walk shows each live entry once, in order, also while it takes some out.
function O.walk(w)
  local seen, last = {}, nil
  for k, v in pairs(w.map) do
    assert(not seen[k], "a key came twice")
    assert(not (w.ordered and last and last >= k), "keys out of order")
    seen[k], last = true, k
    check(w, k, v)
    if w.random(8) == 0 then O.remove(w, k) end
    if w.random(8) == 0 then O.insert(w, w.random(KEYS)) end
  end
end

function O.len(w)
  local before, n = #w.map, 0
  for _ in pairs(w.map) do n = n + 1 end
  assert(n <= before and n >= #w.map, "not as many entries as the length says") -- some may die
end

function O.range(w, k)
  if not w.ordered then return end
  local hi = k + w.random(KEYS)
  for i, v in w.map:range(k, hi) do
    assert(i >= k and i <= hi)
    check(w, i, v)
  end
  for i, v in w.map:range_down(hi, k) do
    assert(i >= k and i <= hi)
    check(w, i, v)
  end
end

function O.pop(w)
  if not w.ordered then return end
  local k, v
  if w.random(2) == 0 then k, v = w.map:pop_first() else k, v = w.map:pop_last() end
  if k == nil then return end
  check(w, k, v)
  w.entries[k] = nil
end

function O.retain(w)
  local kept = w.random(5)
  w.map:retain(function(k, v)
    check(w, k, v)
    if k % 5 == kept then
      w.entries[k] = nil
      return false
    end
    return true
  end)
end

function O.split(w, k)
  if not w.ordered then return end
  local upper = w.map:split_off(k)
  for i in pairs(w.map) do assert(i < k) end
  for i in pairs(upper) do assert(i >= k) end
  w.map:append(upper)
  upper:cleanup() -- tells what has died in it
  upper:close()
end

function O.strong(w)
  local strong = w.map:upgrade()
  for k, v in pairs(strong) do check(w, k, v) end
  assert(strong:downgrade() == strong)
  strong:close()
end

function O.clear(w)
  if w.random(20) > 0 then return end
  for k in pairs(w.entries) do check(w, k, w.map:get(k)) end
  local alive = w.map:values() -- whose deaths are none of the map's any more
  for k in pairs(w.entries) do check(w, k, w.map:get(k)) end
  w.map:clear()
  w.entries = {}
  return #alive
end

function O.turn()
  loop.default():step()
end

function O.cleanup(w)
  w.map:cleanup()
end

function O.step()
  collectgarbage("step", 1)
end

local function all_deaths(w)
  for k in pairs(w.entries) do check(w, k, w.map:get(k)) end
end

-- A full collection takes all that is not held.
function O.collect(w)
  if w.random(40) > 0 then return end
  collectgarbage()
  all_deaths(w)
  local n = 0
  for k, id in pairs(w.entries) do
    assert(w.held[id], "what nobody holds is still there")
    assert(w.map:contains(k))
    n = n + 1
  end
  assert(#w.map == n and w.map:raw_len() == n, "the length is not exact")
  w.map:cleanup()
  for k, times in pairs(w.deaths) do
    assert(w.told[k] == times, ("%d deaths under %d, told %s"):format(times, k, w.told[k]))
  end
  for k in pairs(w.told) do assert(w.deaths[k], "told of what did not die") end
end

local OFTEN <const> = { "insert", "insert", "insert", "get", "get", "remove", "drop", "drop" }
local names = {}
for name in pairs(O) do names[#names + 1] = name end
table.sort(names)

local function run(ordered, steps, seed)
  local w = new_world(ordered, seed)
  for i = 1, steps do
    local list = w.random(2) == 0 and OFTEN or names
    local name = list[w.random(#list) + 1]
    local ok, message = pcall(O[name], w, w.random(KEYS))
    if not ok then error(("step %d, %s, SEED=%d: %s"):format(i, name, seed, message), 0) end
  end
  w.random = function() return 0 end
  O.collect(w)
  w.held = {}
  O.collect(w)
  assert(w.map:raw_len() == 0)
end

for _, mode in ipairs(collector.modes) do
  -- A restless collector makes every step some milliseconds long.
  local share <const> = mode.name == "a restless collector" and 0.01 or 0.5
  for _, ordered in ipairs{ true, false } do
    local what = ("%s maps agree with a naive reference under %s")
      :format(ordered and "ordered" or "hashed", mode.name)
    it(what, function()
      mode.enter()
      local ok, message = pcall(run, ordered, STEPS * share // 1, SEED)
      mode.leave()
      if not ok then error(message, 0) end
    end)
  end
end
