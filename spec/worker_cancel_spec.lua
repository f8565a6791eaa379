-- Workers that are cancelled, whatever they are doing.
-- A worker's function takes what it needs as arguments, so their names come twice:
-- luacheck: ignore 431 432 433
local epoch = require "lethe.epoch"
local errors = require "spec.support.errors"
local workers = require "spec.support.workers"
local loop = require "lethe.loop"
local shared = require "lethe.shared"
local worker = require "lethe.worker"

local packed_join = workers.packed_join

describe("a worker that is cancelled", function()
  local function ready(fn, ...)
    local w = worker.spawn(fn, ...)
    assert.are.equal("ready", w:recv())
    return w
  end

  local cancelled = { nil, "the worker was cancelled", "cancelled", n = 3 }

  local function assert_cancelled(loops)
    for i, body in ipairs(loops) do
      local w = ready(body)
      w:cancel()
      assert.are.same(cancelled, packed_join(w), "loop " .. i)
    end
  end

  it("ends though a cache of its waits for room that no write makes any more", function()
    local w = worker.spawn(function()
      local cache, worker = require "lethe.cache", require "lethe.worker"
      local loop = require "lethe.loop"
      local c = cache.new{ limit = 3, backend = {
        load = function(_, k) return k end,
        flush = function()
          worker.parent():send("flush")
          loop.default():sleep(1000)
        end,
      } }
      for k = 1, 4 do c:insert(k, k) end
    end)
    assert.are.equal("flush", w:recv())
    w:cancel()
    assert.are.equal("cancelled", (select(3, w:join())))
  end)

  it("leaves its wait", function()
    local waits = {
      function()
        local parent = require("lethe.worker").parent()
        parent:send("ready")
        parent:recv()
      end,
      function()
        require("lethe.worker").parent():send("ready")
        require("lethe.loop").default():sleep(100)
      end,
      function(c) require("lethe.worker").parent():send("ready") c:send(1) end,
      function()
        local m = require("lethe.worker")
        local w = m.spawn(function() require("lethe.loop").default():sleep(100) end)
        m.parent():send("ready")
        w:join()
      end,
      function()
        require("lethe.worker").parent():send("ready")
        while true do coroutine.yield() end
      end,
    }
    for _, wait in ipairs(waits) do
      local w = ready(wait, worker.channel(0))
      w:cancel()
      w:cancel()
      assert.are.same(cancelled, packed_join(w))
      assert.are.same(cancelled, packed_join(w))
    end
  end)

  it("stops at the next instruction, however often that is caught", function()
    local loops = {
      function() require("lethe.worker").parent():send("ready") while true do end end,
      function()
        require("lethe.worker").parent():send("ready")
        while true do pcall(function() while true do pcall(error) end end) end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        local function again() return xpcall(again, function() return again() end) end
        while true do again() end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        while true do
          pcall(coroutine.wrap(function() while true do pcall(string.rep, "x", 10) end end))
        end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        while true do coroutine.resume(coroutine.create(function() while true do end end)) end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        local t = {}
        for i = 1, 500 do t[i] = i end
        while true do
          pcall(table.sort, t, function(a, b)
            while pcall(function() for _ = 1, 100 do end end) do end
            return a > b
          end)
        end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        local function unhook() for _ = 1, 10 do debug.sethook() end end
        while true do
          unhook()
          pcall(string.gsub, ("x"):rep(100), ".", unhook)
        end
      end,
      function()
        require("lethe.worker").parent():send("ready")
        local t = setmetatable({}, {
          __index = function() while true do pcall(pcall, pcall) end end,
        })
        while true do pcall(function() return t.x end) end
      end,
    }
    assert_cancelled(loops)
  end)

  it("stops what engines call back, and what runs in a state of its own", function()
    local loops = {
      function()
        local lethe = require "lethe"
        lethe.on_error(function()
          lethe.worker.parent():send("ready")
          while true do end
        end)
        lethe.loop.default():spawn(error, "no")
        lethe.loop.default():sleep(100)
      end,
      function()
        local lethe = require "lethe"
        local tracker = lethe.quota.new{ max = "1M", deadline = 100 }
        local p = tracker:account{ name = "a" }:participant{
          get_oldest = function() return 1 end,
          reclaim = function()
            lethe.worker.parent():send("ready")
            while true do end
          end,
        }
        p:claim("2M")
        lethe.loop.default():sleep(100)
      end,
      function()
        local lethe = require "lethe"
        local kernel = lethe.vat.kernel{}
        local root = kernel:vat("v", "return { f = function() while true do pcall(error) end end }")
        lethe.worker.parent():send("ready")
        kernel:await(kernel:send(root, "f"))
      end,
      function()
        local lethe = require "lethe"
        local cache = lethe.cache.new{ limit = 1, backend = {
          load = function(_, k) return k end,
          flush = function() end,
          evict = function()
            lethe.worker.parent():send("ready")
            while true do end
          end,
        } }
        cache:get(1)
        cache:get(2)
      end,
      function()
        local lethe = require "lethe"
        local map = lethe.weakmap.new{ on_dead = function()
          lethe.worker.parent():send("ready")
          while true do end
        end }
        map:insert(1, {})
        collectgarbage()
        collectgarbage()
        lethe.loop.default():sleep(100)
      end,
    }
    assert_cancelled(loops)
  end)

  it("stops a destructor that came home, and runs those in full that had not begun", function()
    local m <close> = epoch.new()
    local ran <close> = shared.map{ epoch = epoch.new() }
    local w = worker.spawn(function(m, ran)
      local lethe = require "lethe"
      m:register():with_pin(function(g)
        g:retire(1, function()
          lethe.worker.parent():send("ready")
          while true do end
        end)
        for _ = 1, 100 do
          g:retire(1, function()
            for _ = 1, 100 do ran:incr("n", 1, 0) end
          end)
        end
      end)
      lethe.worker.parent():send("retired")
      lethe.loop.default():sleep(100)
    end, m, ran)
    assert.are.equal("retired", w:recv())
    local frees = loop.default():spawn(function() return m:barrier() end)
    assert.are.equal("ready", w:recv())
    w:cancel()
    assert.are.same(cancelled, packed_join(w))
    assert.is_true(frees:join())
    assert.are.equal(10000, ran:get("n"))
  end)

  it("is not stopped inside a __close by what a vat does there", function()
    local w = ready(function()
      local lethe = require "lethe"
      local kernel = lethe.vat.kernel{}
      local root = kernel:vat("v", [[
        return { f = function() local n = 0 for i = 1, 200000 do n = n + i % 2 end return n end }
      ]])
      local _ <close> = setmetatable({}, { __close = function()
        lethe.worker.parent():send((kernel:await(kernel:send(root, "f"))))
      end })
      lethe.worker.parent():send("ready")
      while true do end
    end)
    w:cancel()
    assert.are.equal(100000, w:recv())
    assert.are.same(cancelled, packed_join(w))
  end)

  it("runs what is to be closed, and holds back while it does", function()
    local channel = worker.channel()
    local w = ready(function(channel)
      local function closer(name)
        return setmetatable({}, { __close = function()
          local n = 0
          for i = 1, 20000 do n = n + i % 2 end
          local co = coroutine.wrap(function()
            for i = 1, 100 do n = n + 0 * i end
            return n
          end)
          channel:send(name .. " " .. co())
        end })
      end
      local _ <close> = closer("outer")
      pcall(function()
        local _ <close> = closer("inner")
        coroutine.wrap(function()
          local _ <close> = closer("innermost")
          require("lethe.worker").parent():send("ready")
          while true do pcall(function() while true do end end) end
        end)()
        channel:send("never")
      end)
      channel:send("never")
    end, channel)
    w:cancel()
    assert.are.same(cancelled, packed_join(w))
    channel:close()
    local got = {}
    for name in function() return channel:recv() end do got[#got + 1] = name end
    assert.are.same({ "innermost 10000", "inner 10000", "outer 10000" }, got)
  end)

  it("lets a __close finish in which it is, tail calls apart, and wait", function()
    local channel = worker.channel()
    local w = ready(function(channel)
      local parent = require("lethe.worker").parent()
      do
        local _ <close> = setmetatable({}, { __close = function()
          parent:send("ready")
          for _ = 1, 20 do
            require("lethe.loop").default():sleep(0.001)
            for _ = 1, 1000 do end
          end
          channel:send("closed")
        end })
      end
      channel:send("never")
    end, channel)
    w:cancel()
    assert.are.same(cancelled, packed_join(w))
    channel:close()
    assert.are.equal("closed", channel:recv())
    assert.are.equal("closed", select(3, channel:recv()))
  end)

  it("runs what is to be closed in its other tasks, where they wait", function()
    local channel = worker.channel()
    local w = ready(function(channel)
      local main = require("lethe.loop").default()
      for i = 1, 3 do
        main:spawn(function()
          local _ <close> = setmetatable({}, { __close = function() channel:send(i) end })
          main:sleep(100)
          channel:send("never")
        end)
      end
      main:sleep(0.001)
      require("lethe.worker").parent():send("ready")
      main:sleep(100)
    end, channel)
    w:cancel()
    assert.are.same(cancelled, packed_join(w))
    channel:close()
    local got = {}
    for name in function() return channel:recv() end do got[#got + 1] = name end
    assert.are.same({ 1, 2, 3 }, got)
  end)

  it("may not have begun, or have ended", function()
    for _ = 1, 20 do
      local w = worker.spawn(function() while true do end end)
      w:cancel()
      assert.are.same(cancelled, packed_join(w))
    end
    local w = worker.spawn(function() return 1 end)
    assert.are.equal(1, w:join())
    w:cancel()
    assert.are.equal(1, w:join())
  end)

  it("is so by close, and by a to-be-closed variable", function()
    local channel = worker.channel(1)
    do
      local w <close> = ready(function(channel) -- luacheck: ignore 211
        local _ <close> = setmetatable({}, { __close = function() channel:send("gone") end })
        require("lethe.worker").parent():send("ready")
        while true do end
      end, channel)
    end
    assert.are.equal("gone", channel:recv())
  end)

  it("answers so to who joins it, when it is closed meanwhile", function()
    local home = loop.default()
    local w = ready(function()
      require("lethe.worker").parent():send("ready")
      while true do end
    end)
    local joining = home:spawn(function()
      local ok, _, code = w:join()
      return ok, code
    end)
    home:step()
    w:close()
    assert.are.same({ nil, "cancelled", n = 2 }, table.pack(joining:join()))
  end)

  it("is not reported", function()
    assert.are.same({}, errors.reported(function()
      local w = ready(function()
        require("lethe.worker").parent():send("ready")
        while true do end
      end)
      w:cancel()
      repeat
        loop.default():sleep(0.002)
      until w:send(1) == nil
      loop.default():sleep(0.005)
    end))
  end)
end)
