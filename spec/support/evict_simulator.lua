-- A simulated cache over the policies of evict_reference.lua, and the two policies that take a page
-- each: lirs and wtinylfu.

local reference = require "spec.support.evict_reference"

local P <const>, take <const>, to_head <const>, used <const> = reference.policies, reference.take,
  reference.to_head, reference.used

-- ---- lirs: `stack` bottom first; `left`: what has a place in it and no entry -----------------

local lirs = {}
P.lirs = lirs

local function hir_limit(c)
  return math.max(c.limit // 100, 1)
end

local function lir_used(c)
  local sum = 0
  for id, size in pairs(c.size) do
    if c.lir[id] then sum = sum + size end
  end
  return sum
end

local function fits_lir(c, size)
  return lir_used(c) + size <= c.limit - hir_limit(c)
end

local function stack_used(c)
  local sum = 0
  for _, id in ipairs(c.stack) do
    sum = sum + (c.size[id] or c.left_size[id])
  end
  return sum
end

local function forget(c, id)
  take(c.stack, id)
  if reference.index_of(c.left, id) then take(c.left, id) end
end

local function prune(c)
  while c.stack[1] and not c.lir[c.stack[1]] do
    forget(c, c.stack[1])
  end
end

local function demote(c)
  local id = table.remove(c.stack, 1)
  c.lir[id] = nil
  table.insert(c.queue, id)
  prune(c)
end

local function demote_surplus(c)
  while next(c.lir) and not fits_lir(c, 0) do
    demote(c)
  end
end

local function bound(c)
  while c.left[1] and stack_used(c) > 2 * c.limit do
    forget(c, c.left[1])
  end
  prune(c)
end

function lirs.init(c)
  c.stack, c.queue, c.left, c.left_size, c.lir = {}, {}, {}, {}, {}
end

function lirs.look(c, id, size)
  if size > c.limit then return false end
  local found = reference.index_of(c.left, id) ~= nil
  if found then forget(c, id) end
  return true, found
end

function lirs.full(c, size, found)
  if not size or found or fits_lir(c, size) or #c.queue == 0 then return false end
  return used(c.queue, c.size) + size > hir_limit(c)
end

function lirs.insert(c, id, found)
  local lir = found or used({ id }, c.size) + lir_used(c) <= c.limit - hir_limit(c)
  table.insert(c.stack, id)
  if lir then
    c.lir[id] = true
    demote_surplus(c)
  else
    table.insert(c.queue, id)
  end
  bound(c)
end

function lirs.hit(c, id)
  if not reference.index_of(c.stack, id) then return to_head(c.queue, id) end
  to_head(c.stack, id)
  if not c.lir[id] then
    take(c.queue, id)
    c.lir[id] = true
    demote_surplus(c)
  end
  prune(c)
end

function lirs.victim(c)
  while #c.queue == 0 do
    demote(c)
  end
  return c.queue[1]
end

function lirs.evicted(c, id)
  take(c.queue, id)
  if reference.index_of(c.stack, id) then
    c.left_size[id] = c.size[id]
    table.insert(c.left, id)
  end
end

function lirs.resized(c)
  demote_surplus(c)
  bound(c)
end

-- ---- wtinylfu --------------------------------------------------------------------------------

local tiny = {}
P.wtinylfu = tiny

local CELLS <const>, FACTOR <const> = 8, 0xd6e8feb86659fd93

local function positions(c, id)
  local hash = (id ~ (id >> 32)) * FACTOR
  hash = (hash ~ (hash >> 32)) * FACTOR
  hash = hash ~ (hash >> 32)
  local list = {}
  for i = 0, 3 do
    list[i + 1] = ((hash & 0xffffffff) + i * ((hash >> 32) | 1)) & (c.width - 1)
  end
  return list
end

local function estimate(c, id)
  local count = 15
  for _, at in ipairs(positions(c, id)) do
    count = math.min(count, c.cells[at] or 0)
  end
  return count
end

-- Twice as many cells, the new half like the old one.
local function widen(c)
  for at = 0, c.width - 1 do
    c.cells[c.width + at] = c.cells[at]
  end
  c.width = 2 * c.width
end

local function count(c, id)
  for _, at in ipairs(positions(c, id)) do
    c.cells[at] = math.min((c.cells[at] or 0) + 1, 15)
  end
  c.counted = c.counted + 1
  if c.counted < c.width // CELLS * 10 then return end
  for at, n in pairs(c.cells) do
    c.cells[at] = n // 2
  end
  c.counted = c.counted // 2
end

local function window_limit(c)
  return math.max(c.limit // 100, 1)
end

local function window_overflows(c)
  local list = c.lists[1]
  while used(list, c.size) > window_limit(c) do
    table.insert(c.lists[2], table.remove(list, 1))
  end
end

local function calm(c)
  while used(c.lists[3], c.size) > (c.limit - window_limit(c)) * 4 // 5 do
    table.insert(c.lists[2], table.remove(c.lists[3], 1))
  end
end

local function list_with(c, id)
  for i, list in ipairs(c.lists) do
    if reference.index_of(list, id) then return i, list end
  end
end

function tiny.init(c)
  c.lists, c.cells, c.counted, c.width, c.most = { {}, {}, {} }, {}, 0, 64 * CELLS, 0
end

function tiny.insert(c, id)
  local entries = 0
  for _ in pairs(c.size) do
    entries = entries + 1
  end
  if entries >= c.width // CELLS then widen(c) end
  count(c, id)
  table.insert(c.lists[1], id)
  window_overflows(c)
end

function tiny.hit(c, id)
  count(c, id)
  local i, list = list_with(c, id)
  take(list, id)
  table.insert(c.lists[i == 1 and 1 or 3], id)
  if i == 2 then calm(c) end
end

function tiny.victim(c, size)
  local contender, main = c.lists[1][1], c.lists[2][1] or c.lists[3][1]
  if not main or not contender then return main or contender end
  if used(c.lists[1], c.size) + (size or 0) <= window_limit(c) then return main end
  if estimate(c, contender) <= estimate(c, main) then return contender end
  c.contender = contender
  return main
end

function tiny.evicted(c, id)
  local _, list = list_with(c, id)
  take(list, id)
  if c.contender then table.insert(c.lists[2], take(c.lists[1], c.contender)) end
  c.contender = nil
end

function tiny.resized(c)
  calm(c)
  window_overflows(c)
end

-- ---- the cache -------------------------------------------------------------------------------

local Cache = {}
Cache.__index = Cache

local function new(name, limit)
  local c = setmetatable({ size = {}, used = 0, limit = limit, now = 0, policy = P[name] }, Cache)
  c.policy.init(c)
  return c
end

function Cache:make_room(size, found)
  local policy = self.policy
  while next(self.size) and (self.used + (size or 0) > self.limit
      or policy.full and policy.full(self, size, found)) do
    local id = policy.victim(self, size, found)
    policy.evicted(self, id)
    self.used, self.size[id] = self.used - self.size[id], nil
  end
end

--- True for a hit.
function Cache:access(id, size, next_access)
  local policy = self.policy
  self.now, self.next = self.now + 1, next_access
  if self.size[id] then
    policy.hit(self, id)
    self:make_room()
    return true
  end
  local admitted, found = size <= self.limit, nil
  if policy.look then admitted, found = policy.look(self, id, size) end
  if not admitted then return false end
  self:make_room(size, found)
  if policy.stores and not policy.stores(self, size, found) then return false end
  self.size[id], self.used = size, self.used + size
  policy.insert(self, id, found)
  return false
end

function Cache:resize(limit)
  self.limit = limit
  if self.policy.resized then self.policy.resized(self) end
  self:make_room()
end

return { new = new, policies = P }
