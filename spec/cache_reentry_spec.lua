-- What a policy of the program's own functions does to the cache that it decides for: most is
-- refused, and nothing pulls the cache away from under the call that asked.
local cache = require "lethe.cache"
local errors = require "spec.support.errors"
local lethe = require "lethe"
local loop = require "lethe.loop"

local REFUSED <const> = "a policy cannot use the cache it decides for"

local function new(policy)
  return assert(cache.new{ limit = 3, policy = policy, backend = {
    load = function(_, k) return k end,
    flush = function() end,
  } })
end

local function back(x) return x:queue("main"):back() end

describe("a policy, of the cache it decides for,", function()
  it("may change the limit, and has not left it by that", function()
    local c, said
    c = new{ on_evict = back, on_insert = function(x, h)
      x:queue("main"):push_front(h)
      c:resize{ limit = 2 }
      said = select(2, pcall(c.reload, c, "fifo"))
    end }
    assert.are.equal(1, c:get(1))
    assert.matches(REFUSED, said)
    for k = 2, 6 do assert.are.equal(k, c:get(k)) end
    assert.are.equal(2, c:len())
    c:close()
  end)

  it("cannot get, remove, invalidate, or change what is held", function()
    local c, hold
    local said = {}
    c = new{ on_hit = function() end, on_evict = function(x)
      for _, call in ipairs{
        function() return c:get(1) end,
        function() return c:insert(9, 9) end,
        function() return c:remove(1) end,
        function() return c:invalidate() end,
        function() return hold:set(5) end,
        function() return hold:mark_dirty() end,
      } do
        local ok, message = pcall(call)
        said[#said + 1] = ok and "accepted" or message
      end
      return back(x)
    end }
    hold = c:hold(1)
    for k = 2, 4 do assert.are.equal(k, c:get(k)) end
    assert.are.equal(12, #said) -- it is asked twice: what is held cannot go
    for _, message in ipairs(said) do assert.matches(REFUSED, message) end
    assert.are.same({ 1, true, 3 }, { hold.value, c:contains(1), c:len() })
    hold:close()
    c:close()
  end)

  it("may change another's limit, whose backend waits for what leaves then", function()
    local left, reports, main = {}, {}, loop.default()
    lethe.on_error(function(message) reports[#reports + 1] = message end)
    local other = assert(cache.new{ limit = 3, backend = {
      load = function(_, k) return k end,
      flush = function() main:sleep(0) end,
      evict = function(_, k)
        main:sleep(0)
        left[#left + 1] = k
      end,
    } })
    assert.are.equal(1, other:get(1))
    assert.is_true(other:insert(2, "dirty"))
    assert.are.equal(3, other:get(3))
    local c = new{ on_evict = function(x)
      other:resize{ limit = 1 }
      return back(x)
    end }
    for k = 1, 4 do assert.are.equal(k, c:get(k)) end
    for _ = 1, 20 do main:sleep(0) end
    lethe.on_error(nil)
    assert.are.same({}, reports)
    assert.are.same({ 1, 2 }, left)
    assert.are.same({ 1, 0, 0 }, { other:len(), other:stats().dirty,
      other:stats().flush_failures })
    other:close()
    c:close()
  end)

  it("may let go of what is held", function()
    local c, hold
    c = new{ on_evict = function(x)
      hold:close()
      return back(x)
    end }
    hold = c:hold(1)
    assert.are.same({}, errors.reported(function()
      for k = 2, 9 do assert.are.equal(k, c:get(k)) end
    end))
    assert.are.same({ 3, 0 }, { c:len(), c:stats().in_use })
    c:close()
  end)

  it("is out of it after three strikes: what it kept moves nothing any more", function()
    local queue
    local c = new{
      init = function(x) queue = x:queue("main") end,
      on_evict = function() error("tired") end,
    }
    errors.reported(function()
      local hold = c:hold(1)
      for k = 2, 9 do assert.are.equal(k, c:get(k)) end
      for handle = 1, 4 do
        pcall(queue.push_front, queue, handle | 1 << 32)
        pcall(queue.push_front, queue, handle | 3 << 32)
        pcall(queue.remove, queue, handle | 5 << 32)
      end
      assert.is_nil(queue:back())
      hold:close()
      for k = 10, 30 do assert.are.equal(k, c:get(k)) end
      assert.are.equal(3, c:len())
      require("lethe.core.cache").check(c)
      assert.is_true(c:reload("fifo"))
    end)
    assert.are.equal(3, c:len())
    c:close()
  end)

  for _, hook in ipairs{ "on_insert", "on_hit", "on_evict", "on_remove", "admit" } do
    it("may close it, and that is the end: " .. hook, function()
      local c, closed
      local policy = { on_evict = back }
      policy[hook] = function(x, h)
        if not closed then
          closed = true
          c:close()
        end
        if hook == "on_insert" then x:queue("main"):push_front(h) end
        if hook == "on_evict" then return back(x) end
        return true
      end
      c = new(policy)
      errors.reported(function()
        for k = 1, 6 do
          pcall(c.get, c, k)
          pcall(c.get, c, k)
        end
        pcall(c.remove, c, 6)
      end)
      assert.is_true(closed)
      assert.error_matches(function() c:len() end, "attempt to use a closed lethe.cache.Cache")
    end)
  end
end)
