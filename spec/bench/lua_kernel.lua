-- What a kernel costs, as ratios of times measured side by side: the two of a line take turns
-- within a round, a ratio is taken in each round, and the median of them counts.
--
--   lethe spec/bench/lua_kernel.lua
--
-- The peer of a message is a queue of closures in plain Lua, which names nothing, counts nothing
-- and writes nothing down; that of the search for cycles is a full collection of a heap that holds
-- the same graph as Lua tables. "-" is a figure without a target. LETHE_WORK below 1 makes it
-- short.
package.path = "./?.lua;" .. package.path
local figures = require "spec.bench.harness.figures"
local vat = require "lethe.vat"
local loop = require("lethe.loop").default()

local WORK <const> = math.min(1, tonumber(os.getenv("LETHE_WORK")) or 1)
local ROUNDS <const> = WORK < 1 and 3 or 7

local function scaled(n)
  return math.max(64, math.floor(n * WORK))
end

local function time(fn, n)
  local began = loop:now()
  fn(n)
  return loop:now() - began
end

-- The median of a's time over b's; who is first takes turns.
local function quotient(a, b, n)
  local ratios = {}
  for round = 1, ROUNDS do
    local x, y
    if round % 2 == 1 then
      x, y = time(a, n), time(b, n)
    else
      y, x = time(b, n), time(a, n)
    end
    ratios[round] = x / math.max(y, 1e-9)
  end
  return figures.median(ratios)
end

local function line(name, value, target)
  figures.report(name, value, "<=", target)
end

-- ---- messages ---------------------------------------------------------------------------------

local function echo(syscall)
  return { deliver = function(_, _, args, result)
    syscall.resolve{ { result, false, args } }
  end }
end

local function kernel_messages(n)
  local k <close> = vat.kernel{ reap_at = math.huge }
  local root = k:raw_vat("echo", echo)
  for i = 1, n do
    k:await(k:send(root, "echo", i))
  end
end

local function plain_messages(n)
  local queue, head, tail, object = {}, 1, 0, {}
  function object.echo(x) return x end
  for i = 1, n do
    local promise = { state = "pending" }
    tail = tail + 1
    queue[tail] = function() promise.value, promise.state = object.echo(i), "fulfilled" end
    while promise.state == "pending" do
      local fn = queue[head]
      queue[head], head = nil, head + 1
      fn()
    end
  end
end

-- ---- imports ----------------------------------------------------------------------------------

-- n objects of one vat go to another, which drops and retires them all.
local function kernel_imports(n)
  local k <close> = vat.kernel{ reap_at = math.huge }
  local held = {}
  local there = k:raw_vat("importer", function(syscall)
    return {
      deliver = function(_, _, args) held = args.slots end,
      bring_out_your_dead = function()
        syscall.dropImports(held)
        syscall.retireImports(held)
      end,
    }
  end)
  local exporter = k:raw_vat("exporter", function(syscall)
    return { deliver = function(_, _, args)
      local slots = {}
      for i = 1, n do slots[i] = "o+" .. i end
      syscall.send(args.slots[1], "take", { slots = slots })
    end }
  end)
  k:send(exporter, "give", there):close()
  k:run()
  k:reap("importer")
  k:run()
end

-- The same in plain tables: names both ways, two counts, and lists of what to tell.
local function plain_imports(n)
  local counts, there, back, names = {}, {}, {}, {}
  for i = 1, n do
    local kref = "ko" .. i
    counts[kref] = { 1, 1 }
    there[kref], names["o+" .. i], back["o-" .. i] = "o-" .. i, kref, kref
  end
  assert(names["o+1"] and there.ko1)
  local drop = {}
  for i = 1, n do
    local kref = back["o-" .. i]
    local count = counts[kref]
    count[1], count[2] = count[1] - 1, count[2] - 1
    drop[#drop + 1] = kref
  end
  table.sort(drop)
  for i, kref in ipairs(drop) do
    counts[kref], there[kref], back["o-" .. i], names["o+" .. i] = nil, nil, nil, nil
  end
end

-- ---- cycles -----------------------------------------------------------------------------------

-- A graph of n objects in 8 vats, a tenth of n cycles of 2 among it that nothing holds; the rest
-- hangs on roots. `edges` of each vat is what it says of itself.
local function graph(n)
  local k = vat.kernel{ reap_at = math.huge }
  local vats = {}
  for i = 1, 8 do
    local v = { exports = {}, roots = {}, made = 0 }
    vats[i] = v
    v.root = k:raw_vat("v" .. i, function(syscall)
      return {
        deliver = function(_, method, args)
          if method == "make" then
            v.made = v.made + 1
            local vref = "o+" .. v.made
            v.exports[vref] = {}
            syscall.send(args.slots[1], "take", { data = { v.made }, slots = { vref } })
          else
            v.last = args.slots[1]
          end
        end,
        edges = function() return { roots = v.roots, exports = v.exports } end,
      }
    end)
  end
  -- an object of `from`, held by `owner` through its object `node`, or by its root
  local function hold(from, owner, node)
    k:send(from.root, "make", owner.root):close()
    k:run()
    local list = node and owner.exports[node] or owner.roots
    list[#list + 1] = owner.last
    return "o+" .. from.made
  end
  for i = 1, n // 10 do -- a cycle: x of a holds y of b, which holds x
    local a, b = vats[i % 8 + 1], vats[(i + 1) % 8 + 1]
    local x = hold(a, b) -- b's root holds x for a moment
    local y = hold(b, a, x)
    b.exports[y][1] = table.remove(b.roots)
  end
  for i = 1, n - 2 * (n // 10) do
    hold(vats[i % 8 + 1], vats[(i + 3) % 8 + 1])
  end
  return k
end

local function cycles(n)
  local k <close> = graph(n)
  local seconds, found = {}, 0
  for round = 1, 3 do
    seconds[round] = time(function() found = #k:cycles() end)
  end
  assert(found == n // 10, "a cycle was missed")
  local nodes = {}
  for i = 1, n do nodes[i] = { name = "o+" .. i, nodes[i - 1] } end
  local heap = {}
  for round = 1, 3 do heap[round] = time(function() collectgarbage() end) end
  assert(#nodes == n)
  return seconds, heap
end

line("a message there and back over one in a queue of closures", quotient(kernel_messages,
  plain_messages, scaled(20000)))
line("export, import, drop and retire over plain tables", quotient(kernel_imports, plain_imports,
  scaled(20000)))
local seconds, heap = cycles(scaled(100000))
line(("cycles among %d objects of 8 vats, seconds"):format(scaled(100000)),
  figures.median(seconds), 1)
line("the same over a full collection of the heap", figures.ratio(seconds, heap))
