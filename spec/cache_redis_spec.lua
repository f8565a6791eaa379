-- A cache over a Redis server that is killed and started again: no dirty entry is lost.
local backend = require "lethe.backend"
local cache = require "lethe.cache"
local errors = require "spec.support.errors"
local loop = require "lethe.loop"
local redis = require "spec.support.redis"

local N <const> = 100

describe("a cache over Redis", function()
  local server, b

  before_each(function()
    server = redis.start{ durable = true }
    b = assert(backend.redis{ port = server.port, prefix = "cache:" })
  end)

  after_each(function()
    b:close()
    server:close()
  end)

  it("writes and loads what it has no room for", function()
    local c <close> = cache.new{ backend = b, limit = 10 }
    for i = 1, N do
      assert(c:insert(i, "v" .. i))
    end
    assert.is_true(c:flush())
    for i = 1, N do
      assert.are.equal("v" .. i, c:get(i))
    end
    assert.are.equal(("%d"):format(N), server:command("dbsize"))
    assert.are.same({ nil, "not_found" }, { c:get("nothing"), select(3, c:get("nothing")) })
  end)

  it("loads 1,000 keys at once on one connection", function()
    local c <close> = cache.new{ backend = b, limit = 1000, write_depth = 1000 }
    local keys = {}
    for i = 1, 1000 do
      keys[i] = i
      assert(c:insert(i, "v" .. i))
    end
    assert.is_true(c:flush())
    assert.is_true(c:invalidate())
    local values, failures = c:get_many(keys)
    for i = 1, 1000 do
      assert(values[i] == "v" .. i)
    end
    assert.are.same({}, failures)
    assert.are.same({ 1, 2001 }, { b:stats().connections, b:stats().commands })
  end)

  it("keeps what is dirty while the server is gone, and writes it when it is back", function()
    local c <close> = cache.new{ backend = b, limit = 2 * N }
    for i = 1, N do
      assert(c:insert(i, "old"))
    end
    assert.is_true(c:flush())
    for i = 1, N do
      assert(c:insert(i, "new" .. i))
    end
    server:kill()
    local ok, message, code, keys = c:flush()
    assert.is_nil(ok)
    assert.are.same({ "flush_failed", N }, { code, #keys })
    assert.matches("no Redis at 127.0.0.1:", message, 1, true)
    assert.are.same({ N, N }, { c:stats().dirty, c:len() })
    assert.are.equal("new7", c:get(7))
    server:start()
    assert.is_true(c:flush())
    assert.are.equal(0, c:stats().dirty)
    for i = 1, N do
      assert(b:load(i) == "new" .. i)
    end
  end)

  it("loses nothing where the server dies in the midst of a flush, again and again", function()
    local c <close> = cache.new{ backend = b, limit = 2 * N }
    local expected = {}
    for round = 1, 4 do
      for i = 1, N do
        expected[i] = ("%d of round %d"):format(i, round)
        assert(c:insert(i, expected[i]))
      end
      local task = loop.default():spawn(function() return c:flush() end)
      for _ = 1, round do
        loop.default():step()
      end
      server:kill()
      local done = task:join()
      local dirty = c:stats().dirty
      server:start()
      for i = 1, N do -- what is clean was written and survived, what was not is dirty
        if dirty == 0 then assert(b:load(i) == expected[i]) end
        assert(c:get(i) == expected[i])
      end
      assert.are.equal(done == true, dirty == 0)
      assert.is_true(c:flush())
      assert.is_true(c:invalidate())
      for i = 1, N do
        assert(c:get(i) == expected[i])
      end
    end
  end)

  it("makes no room by dropping what it cannot write", function()
    local c <close> = cache.new{ backend = b, limit = 3, wait = 0.02 }
    for i = 1, 3 do
      assert(c:insert(i, "new"))
    end
    server:kill()
    local reports = errors.reported(function()
      local v, _, code = c:get("another")
      assert.is_nil(v)
      assert.are.equal("load_failed", code)
      v, _, code = c:insert(4, "more")
      assert.is_nil(v)
      assert.is_true(code == "flush_failed" or code == "all_in_use", code)
    end)
    assert.is_true(#reports <= 3)
    assert.are.equal(3, c:stats().dirty)
    server:start()
    assert.is_true(c:flush())
    assert.are.equal("new", b:load(2))
  end)
end)
