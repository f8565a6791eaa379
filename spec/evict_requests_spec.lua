-- What hooks of an eviction policy are told of the key that is asked for and not there, and how
-- they make room that the limit alone would not ask for.
local lethe = require "lethe"
local policy = require "lethe.policy"

local function replay(hooks, limit)
  return assert(policy.replay{ policy = hooks, limit = limit })
end

local function sound(r)
  assert.are.same({}, r:failures())
  assert.is_true(r:check())
end

describe("the hooks of an eviction policy", function()
  local before

  before_each(function()
    before = lethe.on_error(function() end)
  end)
  after_each(function()
    lethe.on_error(before)
  end)

  it("see the key and the size that are asked for, in every call about them", function()
    local seen = {}
    local function note(call)
      return function(c, h)
        seen[#seen + 1] = ("%s %s %s"):format(call, c:key(), c:size())
        if call == "on_insert" then c:queue("main"):push_front(h) end
        return call == "admit" or call == "on_evict" and c:queue("main"):back() or nil
      end
    end
    local r <close> = assert(policy.replay{
      policy = {
        admit = note("admit"), full = note("full"), on_evict = note("on_evict"),
        on_insert = note("on_insert"),
      },
      bytes = 10,
    })
    r:access(7, 6)
    r:access(8, 5)
    assert.are.same({
      "admit 7 6", "on_insert 7 6", "admit 8 5", "on_evict 8 5", "on_insert 8 5",
    }, seen)
    sound(r)
  end)

  it("see nothing asked for where nothing is", function()
    local seen = {}
    local function note(c)
      seen[#seen + 1] = tostring(c:key()) .. " " .. tostring(c:size()) .. " " .. tostring(c:found())
    end
    local r <close> = replay({ on_hit = note, on_remove = note, init = note }, 1)
    for _, id in ipairs{ 7, 7, 8 } do r:access(id) end
    assert.are.same({ "nil nil nil", "nil nil nil", "nil nil nil" }, seen)
    sound(r)
  end)

  it("get what admit found, each for its own request", function()
    local found = {}
    local answers = { [1] = true, [2] = false, [3] = 42, [4] = 0 }
    local r <close> = replay({
      admit = function(c) return true, answers[c:key()] end,
      on_insert = function(c, h)
        found[c:key(h)] = c:found() or "nothing"
        c:queue("main"):push_front(h)
      end,
    }, 10)
    for id = 1, 5 do r:access(id) end
    assert.are.same({ 1, "nothing", 42, "nothing", "nothing" }, found)
    sound(r)
  end)

  it("ask ghost lists for it without a handle", function()
    local known = {}
    local r <close> = replay({
      admit = function(c)
        local ghost <const> = c:ghost("left", 10)
        known[#known + 1] = ghost:has() and ghost:remove() and not ghost:has()
        return true
      end,
      on_remove = function(c, h) c:ghost("left", 10):add(h) end,
    }, 1)
    for _, id in ipairs{ 1, 2, 1, 3 } do r:access(id) end
    assert.are.same({ false, false, true, false }, known)
    sound(r)
  end)

  it("have no key to ask for outside of a request: an error of the policy", function()
    local r <close> = replay({ on_hit = function(c) return c:ghost("left", 10):has() end }, 2)
    r:access(1)
    r:access(1)
    assert.matches("bad argument #1 to 'has' %(number expected, got no value%)",
      r:failures()[1].message)
  end)

  it("make room that the limit does not ask for, before an entry comes", function()
    local r <close> = replay({ full = function(c) return c:len() > 2 end }, 10)
    for id = 1, 8 do r:access(id) end
    assert.are.equal(3, r:stats().entries)
    sound(r)
  end)

  it("make room after a hit where on_hit says so", function()
    local r <close> = replay({
      on_hit = function(c, h) return c:key(h) == 1 end,
      full = function(c) return c.strict and c:len() > 1 end,
      admit = function(c)
        c.strict = c:key() == 4
        return true
      end,
    }, 10)
    for id = 1, 3 do r:access(id) end
    r:access(2)
    assert.are.equal(3, r:stats().entries)
    r:access(4)
    assert.are.equal(2, r:stats().entries)
    sound(r)
  end)

  it("are asked at once after such a hit, and not after another", function()
    local asked = 0
    local r <close> = replay({
      on_hit = function(c, h) return c:key(h) == 1 end,
      full = function(c)
        if c:key() == nil then asked = asked + 1 end
        return false
      end,
    }, 10)
    for _, id in ipairs{ 1, 2, 2, 2 } do r:access(id) end
    assert.are.equal(0, asked)
    r:access(1)
    assert.are.equal(1, asked)
    sound(r)
  end)

  it("fail like others where full does: lru decides", function()
    local r <close> = replay({ full = function() error("no") end }, 2)
    for id = 1, 6 do r:access(id) end
    assert.are.equal(3, #r:failures())
    assert.are.equal("full", r:failures()[1].call)
    assert.matches("no$", r:failures()[1].message)
    assert.are.equal(2, r:stats().entries)
    assert.is_true(r:check())
  end)

  it("that always ask for room are left with one entry", function()
    local r <close> = replay({ full = function() return true end }, 5)
    for id = 1, 6 do r:access(id) end
    assert.are.equal(1, r:stats().entries)
    sound(r)
  end)

  it("tell queues apart", function()
    local inside = {}
    local r <close> = replay({
      on_insert = function(c, h)
        local a <const>, b <const> = c:queue("a"), c:queue("b")
        a:push_front(h)
        inside = { a:has(h), b:has(h) }
      end,
      on_evict = function(c) return c:queue("a"):back() end,
    }, 1)
    r:access(1)
    assert.are.same({ true, false }, inside)
    sound(r)
  end)
end)
