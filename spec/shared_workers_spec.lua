-- The shared structures among workers: by name, and carried in messages.

local epoch = require "lethe.epoch"
local shared = require "lethe.shared"
local worker = require "lethe.worker"

-- The results of every worker, or its error.
local function join_all(workers)
  local results = {}
  for i, w in ipairs(workers) do
    local value, message = w:join()
    assert(value ~= nil, message)
    results[i] = value
  end
  return results
end

describe("shared structures among workers", function()
  it("count together under one name", function()
    local map <close> = assert(shared.map{ epoch = epoch.new{}, name = "counted together" })
    local workers = {}
    for i = 1, 4 do
      workers[i] = worker.spawn(function(n)
        local mine = assert(require("lethe.shared").open("counted together"))
        for k = 1, n do
          assert(mine:incr("total", 1, 0))
          assert(mine:incr("key" .. k % 10, 1, 0))
        end
        return true
      end, 1000)
    end
    join_all(workers)
    assert.are.equal(4000, map:get("total"))
    local sum = 0
    for k, v in pairs(map) do
      if k ~= "total" then sum = sum + v end
    end
    assert.are.equal(4000, sum)
  end)

  it("say so to a thread that finds no place in their manager", function()
    local manager <close> = epoch.new{ max_threads = 1 }
    local map, queue = shared.map{ epoch = manager }, shared.queue{ epoch = manager }
    assert(map:set("k", 1))
    local answers = join_all{ worker.spawn(function(m, q)
      local function code_of(ok, error)
        return not ok and error.code or "none"
      end
      return { select(3, m:get("k")), select(3, m:set("k", 2)), select(3, m:incr("k", 1)),
        select(3, q:push(1)), select(3, q:pop()), code_of(pcall(pairs(m), m)),
        code_of(pcall(m.len, m)) }
    end, map, queue) }[1]
    assert.are.same({ "full", "full", "full", "full", "full", "full", "full" }, answers)
    assert.are.equal(1, map:get("k"))
  end)

  it("travel in messages, and live as long as anybody holds them", function()
    local manager = epoch.new{}
    local queue, stack = shared.queue{ epoch = manager }, shared.stack{ epoch = manager }
    local w = worker.spawn(function(q, s)
      for i = 1, 100 do
        assert(q:push(i))
        assert(s:push{ i })
      end
      return true
    end, queue, stack)
    join_all{ w }
    for i = 1, 100 do
      assert.are.equal(i, queue:pop())
      assert.are.same({ 101 - i }, stack:pop())
    end
    assert.are.equal("empty", select(3, queue:pop()))
  end)

  it("hand each value of a queue to one of its readers", function()
    local manager = epoch.new{}
    local queue = shared.queue{ epoch = manager, capacity = 16 }
    local function read(q, n)
      local sum, got = 0, 0
      while got < n do
        local v = q:pop()
        if v then sum, got = sum + v, got + 1 end
      end
      return sum
    end
    local readers = { worker.spawn(read, queue, 500), worker.spawn(read, queue, 500) }
    local i = 1
    while i <= 1000 do
      if queue:push(i) then i = i + 1 end
    end
    local sums = join_all(readers)
    assert.are.equal(500500, sums[1] + sums[2])
  end)

  it("are read whole while they are updated", function()
    local map <close> = assert(shared.map{ epoch = epoch.new{}, name = "read whole" })
    map:set("config", { version = 0, copy = 0 })
    map:set("stop", false)
    local readers = {}
    for i = 1, 3 do
      readers[i] = worker.spawn(function()
        local mine = assert(require("lethe.shared").open("read whole"))
        local reads, last = 0, 0
        while not mine:get("stop") do
          local config = mine:get("config")
          assert(config.version == config.copy, "torn")
          assert(config.version >= last, "went back")
          last, reads = config.version, reads + 1
        end
        return reads
      end)
    end
    for version = 1, 500 do
      map:set("config", { version = version, copy = version })
    end
    map:set("stop", true)
    for _, reads in ipairs(join_all(readers)) do
      assert.is_true(reads >= 0)
    end
    assert.are.same({ version = 500, copy = 500 }, map:get("config"))
  end)

  it("do not go with the worker that made them", function()
    local w = worker.spawn(function()
      local manager = require("lethe.epoch").new{}
      local map = require("lethe.shared").map{ epoch = manager, name = "left behind" }
      map:set("k", "v")
      return map
    end)
    local map = assert(w:join())
    assert.are.equal("v", map:get("k"))
    assert.are.equal("v", shared.open("left behind"):get("k"))
  end)
end)

describe("values that a worker retired and left in limbo", function()
  it("are destroyed as it ends, while its objects still work", function()
    local channel = worker.channel()
    local w = worker.spawn(function(c)
      local handle = assert(require("lethe.epoch").new{}:register())
      for i = 1, 10 do
        local guard <close> = handle:pin()
        guard:retire({ i }, function(value) c:send(value[1]) end)
      end
      return true
    end, channel)
    join_all{ w }
    local sum = 0
    for _ = 1, 10 do
      sum = sum + assert(channel:recv())
    end
    assert.are.equal(55, sum)
  end)
end)
