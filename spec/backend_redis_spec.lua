-- The Redis backend against real servers of Debian's package, which are killed, stalled and started
-- again.
local errors = require "spec.support.errors"
local backend = require "lethe.backend"
local lethe = require "lethe"
local loop = require "lethe.loop"
local redis = require "spec.support.redis"

local at_its_line, code_of = errors.at_its_line, errors.code_of

-- fn(1..n), each as a task, all at once; how many returned true.
local function tasks(n, fn)
  local good, list = 0, {}
  for i = 1, n do
    list[i] = loop.default():spawn(function()
      if fn(i) == true then good = good + 1 end
    end)
  end
  for _, task in ipairs(list) do
    task:join()
  end
  return good
end

describe("backend.redis", function()
  local server, b

  before_each(function()
    server = redis.start()
    b = assert(backend.redis{ port = server.port, prefix = "spec:" })
  end)

  after_each(function()
    b:close()
    server:close()
  end)

  it("keeps strings under the prefix and the key", function()
    assert.are.equal("backend.Redis", lethe.type(b))
    assert.is_nil(b:load("a"))
    assert.are.equal(1, select("#", b:load("a")))
    local bytes = "zero \0, line\r\n, " .. ("x"):rep(100000)
    assert.is_true(b:flush("a", bytes))
    assert.is_true(b:flush(12, ""))
    assert.is_true(b:flush("", "empty key"))
    assert.are.equal(bytes, b:load("a"))
    assert.are.equal("", b:load(12))
    assert.are.equal("empty key", b:load(""))
    assert.is_true(b:barrier())
    assert.are.equal("100016", server:command("strlen spec:a"))
    assert.are.equal("1", server:command("exists spec:12"))
  end)

  it("has 1,000 keys under way on one connection", function()
    b:close()
    b = assert(backend.redis{ port = server.port, prefix = "spec:", timeout = 60 })
    local before = server:command("info commandstats")
    assert.is_nil(before:match("cmdstat_set:calls"))
    assert.are.equal(1000, tasks(1000, function(i) return b:flush(i, "v" .. i) end))
    assert.are.equal(1000, tasks(1000, function(i) return b:load(i) == "v" .. i end))
    assert.are.equal(1, b:stats().connections)
    assert.are.equal(2001, b:stats().commands) -- and the constructor's
    assert.matches("cmdstat_set:calls=1000,", server:command("info commandstats"), 1, true)
  end)

  it("ends one call of a stalled server by its own timer, and lets the others live", function()
    local hasty <close> = assert(backend.redis{ port = server.port, timeout = 0.04 })
    b:flush("k", "old")
    server:signal("STOP")
    local patient = loop.default():spawn(function() return b:load("k") end)
    loop.default():step()
    local v, message, code = hasty:load("spec:k")
    assert.is_nil(v)
    assert.are.same({ "no answer from Redis within 0.04 s", "timeout" }, { message, code })
    assert.are.equal("timeout", code_of(hasty:flush("spec:k", "new")))
    server:signal("CONT")
    assert.are.equal("old", patient:join())
    assert.are.equal("new", hasty:load("spec:k")) -- it happened after all
    assert.are.same({ 1, 2 }, { hasty:stats().connections, hasty:stats().timeouts })
  end)

  it("prefers an answer that has come to a timer that has run out", function()
    local hasty <close> = assert(backend.redis{ port = server.port, prefix = "spec:",
      timeout = 0.03 })
    assert.is_true(b:flush("k", "v"))
    local late = loop.default():spawn(function() return hasty:load("k") end)
    loop.default():step()
    loop.default():step() -- sent
    server:command("ping") -- it has answered, and nobody turned the loop
    local until_then = loop.default():now() + 0.031
    while loop.default():now() < until_then do end
    assert.are.equal("v", late:join())
  end)

  it("goes on after the server was killed and came back", function()
    assert.is_true(b:flush("k", "v"))
    server:kill()
    assert.are.equal("unavailable", code_of(b:flush("k", "w")))
    assert.are.equal("unavailable", code_of(b:load("k")))
    assert.are.equal("unavailable", code_of(b:barrier()))
    server:start()
    assert.is_nil(b:load("k")) -- it kept nothing
    assert.is_true(b:flush("k", "w"))
    assert.are.equal("w", b:load("k"))
    assert.are.equal(2, b:stats().connections)
  end)

  it("sends once more, in order, what was under way when the connection was lost", function()
    assert.are.equal("1", server:command("client kill type normal skipme yes"))
    assert.are.equal(200, tasks(200, function(i) return b:flush(i % 2, "v" .. i) end))
    assert.are.same({ "v200", "v199" }, { b:load(0), b:load(1) })
    assert.are.equal(2, b:stats().connections)
  end)

  it("gives a call its time again where it was this process that was slow", function()
    local hasty <close> = assert(backend.redis{ port = server.port, timeout = 0.02 })
    local late = loop.default():spawn(function() return hasty:flush("k", "v") end)
    loop.default():step() -- not sent yet
    local until_then = loop.default():now() + 0.045
    while loop.default():now() < until_then do end
    assert.is_true(late:join())
  end)

  it("passes on what the server says", function()
    server:command("rpush spec:list 1")
    local v, message, code = b:load("list")
    assert.is_nil(v)
    assert.matches("^Redis says: WRONGTYPE ", message)
    assert.are.equal("system", code)
    server:command("config set maxmemory 1")
    assert.matches("^Redis says: OOM ", (select(2, b:flush("k", "v"))))
  end)

  it("lets a call go on whose task was cancelled", function()
    local task = loop.default():spawn(function() return b:flush("k", "v") end)
    loop.default():step()
    task:cancel()
    assert.are.equal("cancelled", code_of(task:join()))
    assert.are.equal("v", b:load("k"))
  end)

  it("does not keep the process while nothing is under way", function()
    local program = require "spec.support.program"
    local out, err, code = program.script(([[
      local b = assert(require("lethe.backend").redis{ port = %d })
      print(b:flush("k", "v"))
    ]]):format(server.port))
    assert.are.same({ "true\n", "", 0 }, { out, err, code })
  end)

  it("refuses what makes no sense, at the line of the mistake", function()
    local cases = {
      { function() backend.redis{ prot = 1 } end, 'unknown option "prot" (did you mean "port"?)' },
      { function() backend.redis{ port = 0 } end,
        "port must be an integer from 1 to 65535 (got 0)" },
      { function() backend.redis{ port = "6379" } end,
        "port must be an integer from 1 to 65535 (got 6379)" },
      { function() backend.redis{ host = "" } end, "host must be a name or an address" },
      { function() backend.redis{ timeout = 0 } end,
        "timeout must be a number of seconds above 0 (got 0)" },
      { function() backend.redis{ prefix = 1 } end, "prefix must be a string (got number)" },
      { function() backend.redis{ hash_tag = true } end,
        "a hash_tag needs a prefix, without a } in it" },
      { function() b:load({}) end,
        "bad argument #1 to 'load' (a string or an integer expected, got table)" },
      { function() b:flush("k", {}) end,
        "bad argument #2 to 'flush' (a string expected, got table)" },
    }
    for _, case in ipairs(cases) do
      assert.are.equal(case[2], at_its_line(case[1]))
    end
    b:close()
    assert.are.equal("attempt to use a closed lethe.backend.Redis",
      at_its_line(function() b:load("k") end))
  end)
end)

describe("backend.redis without a server", function()
  it("answers unavailable where nothing answers", function()
    local server = redis.start()
    local port = server.port
    server:signal("STOP")
    local before = loop.default():now()
    local b, message, code = backend.redis{ port = port, timeout = 0.03 }
    assert.is_nil(b)
    assert.are.same({ "no answer from Redis within 0.03 s", "unavailable" }, { message, code })
    assert.is_true(loop.default():now() - before >= 0.03)
    server:close()
    b, message, code = backend.redis{ port = port }
    assert.is_nil(b)
    assert.are.equal("unavailable", code)
    assert.matches(("^no Redis at 127.0.0.1:%d: "):format(port), message)
  end)
end)

describe("a cluster", function()
  local a, c

  -- Two nodes that share the slots: those below 8192 are on the first.
  setup(function()
    local options = { options = "--cluster-enabled yes --cluster-node-timeout 5000" }
    a, c = redis.start(options), redis.start(options)
    a:command("cluster addslotsrange 0 8191")
    c:command("cluster addslotsrange 8192 16383")
    a:command("cluster meet 127.0.0.1 " .. c.port)
    for _, node in ipairs{ a, c } do
      assert(redis.eventually(function()
        return node:command("cluster info"):find("cluster_state:ok", 1, true)
          and node:command("cluster info"):find("cluster_slots_assigned:16384", 1, true)
      end), node:command("cluster info"))
    end
  end)

  teardown(function()
    a:close()
    c:close()
  end)

  before_each(function()
    a:command("flushall")
    c:command("flushall")
  end)

  it("is followed where a key has moved, and remembered", function()
    local b <close> = assert(backend.redis{ port = a.port })
    assert.are.equal(64, tasks(64, function(i) return b:flush(i, "v" .. i) end))
    local first = b:stats()
    assert.are.equal(2, first.nodes)
    assert.is_true(first.redirects > 10 and first.redirects <= 64, first.redirects)
    assert.are.equal(64, tasks(64, function(i) return b:load(i) == "v" .. i end))
    assert.are.same({ first.redirects, 2 }, { b:stats().redirects, b:stats().connections })
    assert.are.equal(64, tonumber(a:command("dbsize")) + tonumber(c:command("dbsize")))
    assert.is_true(b:barrier())
  end)

  it("keeps all keys of a hash tag on one node", function()
    local b <close> = assert(backend.redis{ port = a.port, prefix = "app", hash_tag = true })
    assert.are.equal(64, tasks(64, function(i) return b:flush(i, "v") end))
    local counts = { a:command("dbsize"), c:command("dbsize") }
    table.sort(counts)
    assert.are.same({ "0", "64" }, counts)
    local node = a:command("dbsize") == "64" and a or c
    assert.are.equal("1", node:command("exists '{app}17'"))
    assert.is_true(b:stats().redirects == 0 or b:stats().redirects == 64) -- all under way at once
  end)

  it("is asked elsewhere while a slot is on its way", function()
    local key = "on its way"
    local slot = tonumber(a:command(("cluster keyslot '%s'"):format(key)))
    local from, to = a, c
    if slot >= 8192 then from, to = c, a end
    local b <close> = assert(backend.redis{ port = from.port })
    local function id(node) return node:command("cluster myid") end
    to:command(("cluster setslot %d importing %s"):format(slot, id(from)))
    from:command(("cluster setslot %d migrating %s"):format(slot, id(to)))
    assert.is_true(b:flush(key, "v")) -- it is not at `from`, so it goes to `to`
    assert.are.equal("v", b:load(key))
    assert.are.equal(2, b:stats().redirects)
    assert.are.equal("0", from:command("dbsize"))
    assert.are.equal("1", to:command("dbsize"))
    to:command(("cluster setslot %d stable"):format(slot))
    from:command(("cluster setslot %d stable"):format(slot))
  end)
end)
