-- Cycles across vats that run Lua: what hangs on a weak map's key counts, wherever the map is; and
-- on graphs drawn at random nothing is dropped that somebody could still ask for.
local lethe = require "lethe"
local chance = require "spec.support.chance"

local GRAPHS <const> = math.max(1, math.floor(25 * chance.WORK))

-- Nodes with links and with a weak map each; the vat has a weak map as well, and may hold nodes.
local BUILD <const> = [[
  local top, held = weak_map(), {}
  return {
    make = function(_, name)
      local links, own = {}, weak_map()
      return far{
        name = function() return name end,
        link = function(_, x) links[#links + 1] = x end,
        links = function() return links end,
        set = function(_, key, value) own:set(key, value) end,
        get = function(_, key) return own:get(key) end,
      }
    end,
    hold = function(_, x) held[#held + 1] = x end,
    held = function() return held end,
    set = function(_, key, value) top:set(key, value) end,
    get = function(_, key) return top:get(key) end,
  }]]

local k, vats

local function open()
  k, vats = lethe.vat.kernel{}, {}
  for _, name in ipairs{ "a", "b", "c" } do vats[name] = k:vat(name, BUILD) end
end

local function close()
  assert.is_true(k:check())
  assert.are.same({}, k:stats().ended)
  k:close()
end

local function ask(...)
  local value, message, code = k:await(k:send(...))
  if code then error(message) end
  return value
end

describe("a cycle across vats", function()
  before_each(open)
  after_each(close)

  -- A ring of one node in a, one in b.
  local function ring()
    local x, y = ask(vats.a, "make", "x"), ask(vats.b, "make", "y")
    ask(x, "link", y)
    ask(y, "link", x)
    return x, y
  end

  -- Of this many cliques: all are dropped, and nothing but the roots is left.
  local function drops(count)
    k:collect()
    assert.are.equal(count, k:drop_cycles())
    k:collect()
    assert.are.equal(3, k:stats().objects)
  end

  it("is alive while it is the value of a live key in a map that its vat holds", function()
    local key = ask(vats.a, "make", "key")
    local x, y = ring()
    ask(vats.a, "set", key, y)
    x:close()
    y:close()
    k:collect()
    assert.are.same({}, k:cycles())
    assert.are.equal(0, k:drop_cycles())
    assert.are.equal("y", ask(ask(vats.a, "get", key), "name"))
    key:close()
    drops(1)
  end)

  it("is alive while it is that in the map of a live object", function()
    local key, owner = ask(vats.a, "make", "key"), ask(vats.a, "make", "owner")
    local x, y = ring()
    ask(owner, "set", key, y)
    ask(vats.c, "hold", key)
    x:close()
    y:close()
    key:close()
    k:collect()
    assert.are.same({}, k:cycles())
    owner:close()
    k:collect()
    assert.are.equal(1, k:drop_cycles())
  end)

  it("may lead through a weak map", function()
    local x, y = ask(vats.a, "make", "x"), ask(vats.b, "make", "y")
    ask(y, "link", x)
    ask(vats.a, "set", x, y)
    x:close()
    y:close()
    drops(1)
  end)

  it("may lead through maps that lead to maps", function()
    local x, y, z = ask(vats.a, "make", "x"), ask(vats.b, "make", "y"), ask(vats.a, "make", "z")
    ask(y, "link", x)
    ask(vats.a, "set", x, z) -- x leads to z, whose map leads from x to y
    ask(z, "set", x, y)
    x:close()
    y:close()
    z:close()
    drops(1)
  end)
end)

-- ---- at random --------------------------------------------------------------------------------

describe("graphs across vats", function()
  before_each(open)
  after_each(close)

  local NAMES <const> = { "a", "b", "c" }

  -- What was done, as the nodes' names.
  local function draw(random)
    local graph = { nodes = {} }
    graph.held, graph.top = { a = {}, b = {}, c = {} }, { a = {}, b = {}, c = {} }
    for i = 1, random(8) + 3 do
      local vat = NAMES[random(3)]
      graph.nodes[i] = {
        vat = vat, name = vat .. i, links = {}, own = {}, handle = ask(vats[vat], "make", vat .. i),
      }
    end
    local function one() return graph.nodes[random(#graph.nodes)] end
    for _ = 1, random(25) do
      local how, x, y, z = random(20), one(), one(), one()
      if how <= 10 then
        ask(x.handle, "link", y.handle)
        table.insert(x.links, y)
      elseif how <= 15 then
        ask(x.handle, "set", y.handle, z.handle)
        x.own[y] = z
      elseif how <= 19 then
        ask(vats[x.vat], "set", x.handle, y.handle)
        graph.top[x.vat][x] = y
      else
        ask(vats[y.vat], "hold", x.handle)
        table.insert(graph.held[y.vat], x)
      end
    end
    return graph
  end

  -- Asks for all that can be asked for, from what is held, and compares names on the way.
  local function explore(graph)
    local found, waiting = {}, {}
    local function take(node, handle)
      assert.are.equal("vat.Presence", lethe.type(handle))
      if found[node] then return end
      assert.are.equal(node.name, ask(handle, "name"))
      found[node] = handle
      waiting[#waiting + 1] = node
    end
    local function take_values(map, target, name)
      for key, value in pairs(map) do
        if found[key] and not found[value] then take(value, ask(target, name, found[key])) end
      end
    end
    for _, node in ipairs(graph.nodes) do
      if node.handle then take(node, node.handle) end
    end
    for vat, list in pairs(graph.held) do
      local handles = ask(vats[vat], "held")
      for i, node in ipairs(list) do take(node, handles[i]) end
    end
    while waiting[1] do
      local node = table.remove(waiting)
      local handles = ask(found[node], "links")
      for i, other in ipairs(node.links) do take(other, handles[i]) end
      if not waiting[1] then
        for _, each in ipairs(graph.nodes) do
          if found[each] then take_values(each.own, found[each], "get") end
        end
        for vat, map in pairs(graph.top) do take_values(map, vats[vat], "get") end
      end
    end
  end

  for seed = 1, GRAPHS do
    it("lose nothing that is alive, drawn from " .. seed, function()
      local random = chance.generator(seed)
      local graph = draw(random)
      for _, node in ipairs(graph.nodes) do
        if random(8) > 1 then
          node.handle:close()
          node.handle = nil
        end
      end
      repeat
        k:collect()
      until k:drop_cycles() == 0
      explore(graph)
    end)
  end
end)
