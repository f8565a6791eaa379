-- Cycles across vats: found where nothing outside holds them, dropped, and gone.
local lethe = require "lethe"
local chance = require "spec.support.chance"

local vat = lethe.vat

-- A vat of nodes o+1, o+2, ...: each holds imports; what no node holds the vat itself may hold. It
-- brings out its dead truly, by a walk from what it still holds.
local function node_vat(k, name)
  local v = { name = name, held = {}, nodes = {}, imports = {}, pinned = {} }

  local function reached()
    local seen = {}
    for vref in pairs(v.held) do seen[vref] = true end
    for node in pairs(v.pinned) do
      for vref in pairs(v.nodes[node]) do seen[vref] = true end
    end
    return seen
  end

  local function sorted(set)
    local list = {}
    for vref in pairs(set) do list[#list + 1] = vref end
    table.sort(list)
    return list
  end

  v.root = k:raw_vat(name, function(syscall)
    local c = {}
    function c.deliver(_, method, args, result)
      if method == "make" then
        local vref = "o+" .. #sorted(v.nodes) + 1
        v.nodes[vref], v.pinned[vref] = {}, true
        syscall.resolve{ { result, false, { slots = { vref } } } }
        return
      end
      local node, other = args.slots[1], args.slots[2]
      if method == "hold" then v.held[node] = true else v.nodes[node][other] = true end
      for _, vref in ipairs(args.slots) do
        if vref:find("^o%-") then v.imports[vref] = true end
      end
      syscall.resolve{ { result, false, {} } }
    end
    function c.drop_exports(vrefs)
      for _, vref in ipairs(vrefs) do v.pinned[vref] = nil end
    end
    function c.retire_exports(vrefs)
      for _, vref in ipairs(vrefs) do v.nodes[vref] = nil end
    end
    function c.bring_out_your_dead()
      local seen, dead, gone = reached(), {}, {}
      for vref in pairs(v.imports) do
        if not seen[vref] then dead[vref] = true end
      end
      for vref in pairs(dead) do v.imports[vref] = nil end
      for node in pairs(v.nodes) do
        if not v.pinned[node] then gone[node] = true end
      end
      for node in pairs(gone) do v.nodes[node] = nil end
      syscall.dropImports(sorted(dead))
      syscall.retireImports(sorted(dead))
      syscall.retireExports(sorted(gone))
    end
    function c.edges()
      local exports = {}
      for node in pairs(v.pinned) do exports[node] = sorted(v.nodes[node]) end
      return { roots = sorted(v.held), exports = exports }
    end
    return c
  end)

  function v.make() return k:await(k:send(v.root, "make")) end
  function v.link(from, to) k:await(k:send(v.root, "link", from, to)) end
  function v.hold(object) k:await(k:send(v.root, "hold", object)) end
  return v
end

describe("cycles across vats", function()
  local k, a, b, c

  before_each(function()
    k = vat.kernel{}
    a, b, c = node_vat(k, "a"), node_vat(k, "b"), node_vat(k, "c")
  end)

  after_each(function()
    assert.is_true(k:check())
    k:close()
  end)

  -- The host lets go of everything.
  local function settle()
    k:reap()
    k:run()
    k:reap()
    k:run()
  end

  local function names(cliques)
    local list = {}
    for i, clique in ipairs(cliques) do
      local members = {}
      for j, member in ipairs(clique) do members[j] = member.vat .. " " .. member.vref end
      list[i] = table.concat(members, ", ")
    end
    return list
  end

  local function ring(...)
    local vats, nodes = { ... }, {}
    for i, v in ipairs(vats) do nodes[i] = v.make() end
    for i, v in ipairs(vats) do v.link(nodes[i], nodes[i % #nodes + 1]) end
    return nodes
  end

  it("are found once nothing outside holds them", function()
    do
      local nodes, others = ring(a, b), ring(a, b, c)
      assert.are.same({}, k:cycles())
      nodes[1]:close()
      others[1]:close()
      assert.are.same({}, k:cycles())
    end
    settle()
    assert.are.same({ "a o+1, b o+1", "a o+2, b o+2, c o+1" }, names(k:cycles()))
  end)

  it("are alive while a vat holds one of them", function()
    do c.hold(ring(a, b)[1]) end
    settle()
    assert.are.same({}, k:cycles())
    c.held = {}
    assert.are.same({ "a o+1, b o+1" }, names(k:cycles()))
  end)

  it("are alive while a live object leads to them, and another cycle does not", function()
    do
      local nodes, others = ring(a, b), ring(b, c)
      local live = c.make()
      c.link(live, nodes[2])
      a.hold(live)
      others[1]:close()
    end
    settle()
    assert.are.same({ "b o+2, c o+1" }, names(k:cycles()))
  end)

  it("are alive while a message or a promise carries one of them", function()
    local nodes = ring(a, b)
    local promise = k:send(c.root, "hold", nodes[1])
    nodes = nil
    k:reap()
    assert.are.same({}, k:cycles())
    k:await(promise)
    assert.is_nil(nodes)
  end)

  it("are alive while a vat that does not say what it holds imports one of them", function()
    local sealed = k:raw_vat("sealed", function() return {} end)
    do k:send(sealed, "take", ring(a, b)[1]) end
    settle()
    assert.are.same({}, k:cycles())
    k:terminate("sealed")
    assert.are.same({ "a o+1, b o+1" }, names(k:cycles()))
  end)

  it("stay until they are dropped; then all that hung on them goes, and nothing else", function()
    do
      local nodes = ring(a, b, c)
      local tail, live = c.make(), a.make()
      b.link(nodes[2], tail)
      b.link(nodes[2], live)
      c.hold(live)
    end
    settle()
    local objects = k:stats().objects
    settle()
    assert.are.equal(objects, k:stats().objects)
    assert.are.equal(1, k:drop_cycles())
    assert.are.equal(0, k:drop_cycles())
    k:run()
    settle()
    assert.are.equal(3 + 1, k:stats().objects) -- the roots and the live one
    assert.are.same({}, k:stats().ended)
    assert.are.same({}, k:cycles())
  end)

  it("are dropped in an order that depends on names alone", function()
    do
      ring(c, b)
      ring(a, c)
    end
    settle()
    local first = #k:transcript()
    assert.are.equal(2, k:drop_cycles())
    k:run()
    local cranks = {}
    for i, record in ipairs(k:transcript()) do
      if i > first then cranks[#cranks + 1] = record.vat .. " " .. record.delivery[1] end
    end
    assert.are.same({ "a dropExports", "b dropExports", "c dropExports", "a bringOutYourDead" },
      table.move(cranks, 1, 4, 1, {}))
  end)

  it("are found among many objects, each of them and nothing alive", function()
    local draw, vats = chance.generator(7), {}
    for i = 1, 8 do vats[i] = node_vat(k, "v" .. i) end
    do
      local at, before = 1, nil
      for _ = 1, 100 do
        at = (at + draw(7) - 1) % 8 + 1 -- the next vat is another one
        local node = vats[at].make()
        if before then before.vat.link(before.node, node) else a.hold(node) end
        before = { vat = vats[at], node = node }
      end
      for _ = 1, 40 do
        local i = draw(8)
        ring(vats[i], vats[i % 8 + 1], vats[(i + 2) % 8 + 1])
      end
    end
    settle()
    assert.are.equal(40, #k:cycles())
    local objects = k:stats().objects
    assert.are.equal(40, k:drop_cycles())
    k:run()
    settle()
    assert.are.equal(objects - 3 * 40, k:stats().objects)
  end)
end)
