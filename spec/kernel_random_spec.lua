-- Vats that do at random what they may, against the kernel's audit: no vat is told what its own
-- books do not allow, none is refused, and all counts stay right. SEED= repeats a run; LETHE_WORK
-- multiplies its length, from 10 on to 10^7 operations and more.
local lethe = require "lethe"
local chance = require "spec.support.chance"
local random_vat = require "spec.support.random_vat"

local EPISODE <const> = 4000 -- operations in one kernel
local WORK <const> = math.max(0.1, chance.WORK)
local OPERATIONS <const> = math.tointeger((WORK < 10 and 20000 or 1000000) * WORK // 1)
local SEED <const> = chance.SEED

-- The books of the kernel are in order, and no vat has ended but those that were ended.
local function checked(k, w, what)
  local ok, message = k:check()
  if not ok then error(("after %s: %s"):format(what, message), 0) end
  for name, ended in pairs(k:stats().ended) do
    if not w.ended[name] then error(("%s: %s, %s"):format(name, ended.code, ended.message), 0) end
  end
end

local function add(k, w)
  local name = "v" .. #w + 1
  local setup, books = random_vat.setup(name, w.random)
  w[#w + 1] = { name = name, root = k:raw_vat(name, setup), books = books }
end

local function operations(w)
  local n = 0
  for _, each in ipairs(w) do
    n = n + each.books.operations
  end
  return n
end

-- Messages from outside: roots of vats get to know each other.
local function stir(k, w)
  local to, what = w[w.random(#w)], w[w.random(#w)]
  k:send(to.root, "m", what.root, what.root):close()
end

local DONE <const> = {
  function(k, w) stir(k, w) end,
  function(k, w) k:run(w.random(20)) end,
  function(k, w) k:run(w.random(50)) end,
  function(k, w) k:reap(w[w.random(#w)].name) end,
  function(k, w)
    if w.random(40) == 1 then
      local name = w[w.random(#w)].name
      if k:terminate(name) then w.ended[name] = true end
      add(k, w)
    end
  end,
}

local function episode(seed)
  local k <close> = lethe.vat.kernel{ reap = "deliveries", reap_at = 7 }
  local w = { random = chance.generator(seed), ended = {} }
  for _ = 1, 2 + w.random(4) do add(k, w) end
  local tries = 0
  while operations(w) < EPISODE and tries < 100 * EPISODE do
    tries = tries + 1
    DONE[w.random(#DONE)](k, w)
    if tries % 64 == 0 then checked(k, w, ("try %d"):format(tries)) end
  end
  checked(k, w, "all")
  return operations(w)
end

describe("the kernel", function()
  it(("violates nothing in %d random operations (SEED=%d)"):format(OPERATIONS, SEED), function()
    local on_error = lethe.on_error(function() end)
    finally(function() lethe.on_error(on_error) end)
    local done, seed = 0, SEED
    while done < OPERATIONS do
      local ok, message = pcall(episode, seed)
      if not ok then error(("SEED=%d: %s"):format(seed, message), 0) end
      done, seed = done + message, seed + 1
    end
  end)
end)
