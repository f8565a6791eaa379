-- How a process ends that has workers, whatever they are doing.
local program = require "spec.support.program"

local HEAD <const> = [[
local worker = require "lethe.worker"
local loop = require "lethe.loop".default()
]]

-- Runs a script and gives what it wrote, its exit code and how long it took, in seconds.
local function run(source)
  local clock = require("lethe.loop").default()
  local before = clock:now()
  local out, err, code = program.script(HEAD .. source)
  return out, err, code, clock:now() - before
end

describe("a process with workers", function()
  after_each(program.clean)

  -- Each body is a worker's; it says "ready" when it has begun what it does.
  local BUSY <const> = {
    { "waits for its maker", [[parent:recv()]] },
    { "sleeps", [[loop:sleep(100)]] },
    { "waits to send", [[channel:send(1)]] },
    { "runs", [[while true do end]] },
    { "catches all", [[while true do pcall(function() while true do pcall(error) end end) end]] },
    { "runs in a coroutine", [[coroutine.wrap(function() while true do end end)()]] },
    { "collects", [[while true do collectgarbage() end]] },
    { "joins one that runs",
      [[require("lethe.worker").spawn(function() while true do end end):join()]] },
    { "has tasks that wait", [[for _ = 1, 5 do loop:spawn(function() channel:recv() end) end]] },
    { "makes others", [[while true do
      local w = require("lethe.worker").spawn(function() while true do end end)
      w:cancel()
    end]] },
  }

  for _, busy in ipairs(BUSY) do
    it("ends when its script does, though a worker " .. busy[1], function()
      local out, err, code, seconds = run(([[
        kept = worker.channel(0)
        local w = worker.spawn(function(channel)
          local parent = require("lethe.worker").parent()
          local loop = require("lethe.loop").default()
          parent:send("ready")
          %s
        end, kept)
        io.write(w:recv(), " done")
      ]]):format(busy[2]))
      assert.are.equal("", err)
      assert.are.equal("ready done", out)
      assert.are.equal(0, code)
      assert.is_true(seconds < 5)
    end)
  end

  it("cancels those too whose maker ended before, however far down they were made", function()
    local out, err, code = run([[
      local channel = worker.channel()
      local function nest(channel, depth, nest)
        local function body()
          local _ <close> = setmetatable({}, { __close = function() io.write("closed ") end })
          channel:send("ready")
          require("lethe.loop").default():sleep(100)
        end
        if depth == 0 then return body() end
        local worker = require "lethe.worker"
        for i = 1, 2 do worker.spawn(load(nest), channel, depth - 1, nest) end
      end
      local w = worker.spawn(nest, channel, 2, string.dump(nest))
      assert(select("#", w:join()) == 0)
      for i = 1, 4 do assert(channel:recv() == "ready") end
      io.write("4 run ")
      io.flush()
    ]])
    assert.are.equal("", err)
    assert.are.equal("4 run " .. ("closed "):rep(4), out)
    assert.are.equal(0, code)
  end)

  it("runs what is to be closed in them, and waits for that", function()
    local out, err, code = run([[
      local w = worker.spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
          for _ = 1, 1e6 do end
          io.write(" closed")
          io.flush()
        end })
        require("lethe.worker").parent():send("ready")
        while true do end
      end)
      io.write(w:recv())
      io.flush()
    ]])
    assert.are.equal("", err)
    assert.are.equal("ready closed", out)
    assert.are.equal(0, code)
  end)

  it("waits at most a second for those that cannot be stopped", function()
    local out, _, code, seconds = run([[
      local w = worker.spawn(function()
        setmetatable({}, { __gc = function()
          require("lethe.worker").parent():send("ready")
          while true do end
        end })
        collectgarbage()
      end)
      io.write(w:recv())
    ]])
    assert.are.equal("ready", out)
    assert.are.equal(0, code)
    assert.is_true(seconds > 0.8)
    assert.is_true(seconds < 6)
  end)

  it("does not wait for its loop's sake for workers that nobody joins", function()
    local out, _, code = run([[
      for i = 1, 20 do worker.spawn(function() require("lethe.worker").parent():recv() end) end
      io.write("ended")
    ]])
    assert.are.equal("ended", out)
    assert.are.equal(0, code)
  end)

  it("says what failed, and answers 1, like for a task", function()
    local _, err, code = run([[
      worker.new{ run = function() error("unjoined") end, name = "bad" }
      loop:sleep(0.2)
    ]])
    assert.is_truthy(err:find("unjoined"))
    assert.are.equal(1, code)
    _, err, code = run([[
      local w = worker.spawn(function() error("joined") end)
      assert(select(3, w:join()) == "failed")
    ]])
    assert.are.equal("", err)
    assert.are.equal(0, code)
  end)

  it("can end by os.exit, in any of its threads", function()
    local _, err, code = run([[
      worker.spawn(function() while true do end end)
      os.exit(7)
    ]])
    assert.are.same({ "", 7 }, { err, code })
    _, err, code = run([[
      local w = worker.spawn(function() os.exit(5) end)
      w:join()
    ]])
    assert.are.same({ "", 5 }, { err, code })
  end)

  it("ends by its own error too", function()
    local _, err, code = run([[
      worker.spawn(function() while true do end end)
      error("script")
    ]])
    assert.is_truthy(err:find("script"))
    assert.are.equal(1, code)
  end)

  it("ends in the midst of messages", function()
    local out, err, code = run([[
      local channel = worker.channel(4)
      for i = 1, 4 do
        worker.spawn(function(channel)
          while true do channel:send{ ("x"):rep(100), channel } end
        end, channel)
      end
      for i = 1, 200 do channel:recv() end
      io.write("done")
    ]])
    assert.are.equal("", err)
    assert.are.equal("done", out)
    assert.are.equal(0, code)
  end)

  it("is what the example of a pool is", function()
    local digits = 0
    for n = 100, 4000, 100 do
      for i = 1, n do digits = digits + #tostring(i) end
    end
    local out, err, code = program.run("lethe spec/examples/worker_pool.lua 3")
    assert.are.equal("", err)
    local expected = "40 jobs, %d digits\nstuck: the worker was cancelled (cancelled)\n"
    assert.are.equal(expected:format(digits), out)
    assert.are.equal(0, code)
  end)
end)
