-- Cycles across vats: objects that hold each other through the kernel, and that nothing else
-- holds.
--
-- No vat can see one: each of its exports seems to be needed elsewhere. But every vat can say which
-- imports hang on which of its exports, and which on anything else (`edges`, from a walk over its
-- heap); with that the kernel marks what is alive, as a collector does: from what the host, the
-- queue, promises and the vats' own roots hold, from export to import and on to the vat that
-- exports it. What is left is garbage, and the strongly connected parts of it are the cliques. A
-- vat that does not say counts as holding all that it imports.
--
-- To drop a clique is to tell its members' vats that nobody reaches them. Their next
-- bringOutYourDead then finds the rest by itself.

local crank = require "lethe.vat.crank"
local order = require "lethe.vat.order"

local M = {}

-- ---- what there is ----------------------------------------------------------------------------

-- The krefs of a list of imports.
local function krefs_of(vat, vrefs, into)
  for _, vref in ipairs(vrefs or {}) do
    local entry = vat.clist.by_vref[vref]
    if entry and entry.kind == "o" then into[#into + 1] = entry.kref end
  end
  return into
end

local function all_imports(vat, into)
  for kref, entry in pairs(vat.clist.by_kref) do
    if entry.kind == "o" and not entry.mine and entry.reachable then into[#into + 1] = kref end
  end
end

-- edges[kref]: what hangs on it; what hangs on nothing that is exported joins the roots.
local function read_edges(k, roots)
  local edges = {}
  for _, vat in ipairs(k.living) do
    local said = vat.driver.edges and vat.driver:edges()
    roots[#roots + 1] = vat.root
    if not said then
      all_imports(vat, roots)
    else
      krefs_of(vat, said.roots, roots)
      for vref, held in pairs(said.exports or {}) do
        local entry = vat.clist.by_vref[vref]
        if entry and entry.mine then edges[entry.kref] = krefs_of(vat, held, {}) end
      end
    end
  end
  return edges
end

-- What the kernel itself holds. A promise is alive as long as anybody knows it.
local function kernel_roots(k)
  local roots = {}
  local function add(list)
    table.move(list, 1, #list, #roots + 1, roots)
  end
  local function add_message(message)
    roots[#roots + 1] = message.target
    add(message.args.slots)
  end
  for kref in pairs(k.handles.held) do
    roots[#roots + 1] = kref
  end
  for item in k.queue:items() do
    if not item.notify and not item.start then add_message(item) end
  end
  for _, promise in pairs(k.counts.promises) do
    if promise.args then add(promise.args.slots) end
    for _, message in ipairs(promise.queue) do
      add_message(message)
    end
  end
  return roots
end

local function mark(roots, edges)
  local alive, waiting = {}, roots
  while waiting[1] do
    local kref = table.remove(waiting)
    if not alive[kref] then
      alive[kref] = true
      for _, next_kref in ipairs(edges[kref] or {}) do
        if not alive[next_kref] then waiting[#waiting + 1] = next_kref end
      end
    end
  end
  return alive
end

-- ---- strongly connected parts -----------------------------------------------------------------

-- Tarjan's algorithm without recursion: calls found(list) for each part of the graph below `start`.
local function connect(start, edges, seen, found)
  local stack, path = {}, {}
  local function enter(kref)
    seen.n = seen.n + 1
    seen.index[kref], seen.low[kref], seen.on[kref] = seen.n, seen.n, true
    stack[#stack + 1] = kref
    path[#path + 1] = { kref = kref, at = 0 }
  end
  enter(start)
  while path[1] do
    local step = path[#path]
    local kref, out = step.kref, edges[step.kref] or {}
    step.at = step.at + 1
    local other = out[step.at]
    if other == nil then
      path[#path] = nil
      local above = path[#path]
      if above then seen.low[above.kref] = math.min(seen.low[above.kref], seen.low[kref]) end
      if seen.low[kref] == seen.index[kref] then
        local part = {}
        repeat
          local member = table.remove(stack)
          seen.on[member] = nil
          part[#part + 1] = member
        until member == kref
        found(part)
      end
    elseif not seen.index[other] then
      enter(other)
    elseif seen.on[other] then
      seen.low[kref] = math.min(seen.low[kref], seen.index[other])
    end
  end
end

-- The garbage part of the graph.
local function dead_edges(k, edges, alive)
  local dead, names = {}, {}
  for kref, object in pairs(k.counts.objects) do
    if not alive[kref] and object.owner and k.vats[object.owner] and object.reachable > 0 then
      names[#names + 1] = kref
    end
  end
  table.sort(names, order.older)
  for _, kref in ipairs(names) do
    local out = {}
    for _, other in ipairs(edges[kref] or {}) do
      if not alive[other] then out[#out + 1] = other end
    end
    dead[kref] = out
  end
  return dead, names
end

local function describe(k, part)
  table.sort(part, order.older)
  for i, kref in ipairs(part) do
    local owner = k.counts.objects[kref].owner
    part[i] = { kref = kref, vat = owner, vref = k.vats[owner].clist.by_kref[kref].vref }
  end
  return part
end

--- The cliques: each a list of { kref, vat, vref }, oldest first.
---@return { kref: string, vat: string, vref: string }[][]
function M.find(k)
  local roots = kernel_roots(k)
  local edges = read_edges(k, roots)
  local dead, names = dead_edges(k, edges, mark(roots, edges))
  local seen, cliques = { n = 0, index = {}, low = {}, on = {} }, {}
  for _, kref in ipairs(names) do
    if not seen.index[kref] then
      connect(kref, dead, seen, function(part)
        if part[2] then cliques[#cliques + 1] = part end
      end)
    end
  end
  for i, part in ipairs(cliques) do
    cliques[i] = describe(k, part)
  end
  table.sort(cliques, function(a, b) return order.older(a[1].kref, b[1].kref) end)
  return cliques
end

--- Drops them: tells the vats, in order of their names, and has each bring out its dead.
---@return integer cliques
function M.drop(k)
  local cliques, by_vat = M.find(k), {}
  for _, clique in ipairs(cliques) do
    for _, member in ipairs(clique) do
      by_vat[member.vat] = by_vat[member.vat] or {}
      table.insert(by_vat[member.vat], member.kref)
    end
  end
  for _, name in ipairs(order.keys(by_vat)) do
    local vat, entries = k.vats[name], {}
    for _, kref in ipairs(order.sort(by_vat[name])) do
      local entry = vat and vat.clist.by_kref[kref]
      if entry and entry.reachable then entries[#entries + 1] = entry end
    end
    if entries[1] then crank.collected(k, vat, "dropExports", entries) end
    if vat and not vat.ended and not vat.due then
      vat.due = true
      k.reaps:push(vat)
    end
  end
  return #cliques
end

return M
