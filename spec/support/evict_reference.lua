-- Eviction policies once more, as plainly as they can be written: lists are arrays that are
-- searched, sums are added up anew, nothing is kept that could be found by looking. What
-- runtime/cache/policy counts is held against this.
--
-- A cache is { size = { [id] = size }, used =, limit = } and the lists of its policy, oldest first.
-- A policy is a table of functions of the cache: init, look(id, size) at a miss (false: not
-- admitted; else what it found), hit(id), full(size, found), victim(size, found), stores(size,
-- found), insert(id, found), evicted(id), resized().

local M = {}

local function index_of(list, id)
  for i, other in ipairs(list) do
    if other == id then return i end
  end
end

local function take(list, id)
  return table.remove(list, index_of(list, id))
end

local function to_head(list, id)
  table.insert(list, take(list, id))
end

local function used(list, size)
  local sum = 0
  for _, id in ipairs(list) do
    sum = sum + size[id]
  end
  return sum
end

-- ---- ghosts: { id, size } oldest first -------------------------------------------------------

local function ghost_index(ghost, id)
  for i, g in ipairs(ghost) do
    if g[1] == id then return i end
  end
end

local function ghost_used(ghost)
  local sum = 0
  for _, g in ipairs(ghost) do
    sum = sum + g[2]
  end
  return sum
end

local function ghost_take(ghost, id)
  local i = ghost_index(ghost, id)
  return i ~= nil and table.remove(ghost, i) ~= nil
end

local function ghost_trim(ghost, limit)
  while #ghost > 0 and ghost_used(ghost) > limit do
    table.remove(ghost, 1)
  end
end

local function ghost_add(ghost, id, size, limit)
  if size > limit then return end
  ghost_trim(ghost, limit - size)
  ghost[#ghost + 1] = { id, size }
end

-- ---- one list --------------------------------------------------------------------------------

local function no_op() end

local function one_list(policy)
  policy.init = function(c)
    c.list, c.mark = {}, {}
  end
  policy.insert = function(c, id)
    c.list[#c.list + 1], c.mark[id] = id, false
  end
  policy.evicted = policy.evicted or function(c, id)
    take(c.list, id)
  end
  policy.victim = policy.victim or function(c)
    return c.list[1]
  end
  return policy
end

local function mark(c, id)
  c.mark[id] = true
end

M.fifo = one_list{ hit = no_op }

M.lru = one_list{
  hit = function(c, id)
    to_head(c.list, id)
  end,
}

M.clock = one_list{
  hit = mark,
  victim = function(c)
    while c.mark[c.list[1]] do
      c.mark[c.list[1]] = false
      to_head(c.list, c.list[1])
    end
    return c.list[1]
  end,
}

M.sieve = one_list{
  hit = mark,
  victim = function(c)
    local i = c.hand and index_of(c.list, c.hand) or 1
    while c.mark[c.list[i]] do
      c.mark[c.list[i]] = false
      i = i % #c.list + 1
    end
    c.hand = c.list[i + 1]
    return c.list[i]
  end,
}

-- ---- numbers for each entry ------------------------------------------------------------------

-- The entry with the least first number, then the least second one.
local function least(c)
  local best
  for id, a in pairs(c.score) do
    local b = best and c.score[best]
    if not b or a[1] < b[1] or a[1] == b[1] and a[2] < b[2] then best = id end
  end
  return best
end

local function scored(score)
  return {
    init = function(c)
      c.score, c.freq, c.L = {}, {}, 0
    end,
    insert = function(c, id)
      c.freq[id] = 1
      c.score[id] = { score(c, id), c.now }
    end,
    hit = function(c, id)
      c.freq[id] = c.freq[id] + 1
      c.score[id] = { score(c, id), c.now }
    end,
    victim = least,
    evicted = function(c, id)
      c.L, c.score[id] = c.score[id][1], nil
    end,
  }
end

M.lfu = scored(function(c, id)
  return c.freq[id]
end)

M.gdsf = scored(function(c, id)
  return c.L + c.freq[id] * 1e6 / c.size[id]
end)

M.belady = scored(function(c)
  return c.next > 0 and -c.next or -math.huge
end)

-- ---- several lists ---------------------------------------------------------------------------

local function list_of(c, id)
  for i, list in ipairs(c.lists) do
    if index_of(list, id) then return i, list end
  end
end

local function move(c, id, to)
  local _, list = list_of(c, id)
  take(list, id)
  table.insert(c.lists[to], id)
end

local function segment(c)
  return c.limit // 4
end

local function cascade(c, from)
  for i = from, 2, -1 do
    while used(c.lists[i], c.size) > segment(c) do
      move(c, c.lists[i][1], i - 1)
      c.reached = i == 2 or c.reached
    end
  end
end

M.slru = {
  init = function(c)
    c.lists = { {}, {}, {}, {} }
  end,
  look = function(c, _, size)
    return size <= segment(c)
  end,
  insert = function(c, id)
    for i = 1, 4 do
      if used(c.lists[i], c.size) + c.size[id] <= segment(c) then
        table.insert(c.lists[i], id)
        return
      end
    end
    table.insert(c.lists[1], id)
  end,
  hit = function(c, id)
    local i = list_of(c, id)
    move(c, id, math.min(i + 1, 4))
    cascade(c, math.min(i + 1, 4))
  end,
  -- What came down into the lowest list may be too much there.
  full = function(c)
    c.reached = c.reached and used(c.lists[1], c.size) > segment(c)
    return c.reached
  end,
  victim = function(c)
    for i = 1, 4 do
      if c.lists[i][1] then return c.lists[i][1] end
    end
  end,
  evicted = function(c, id)
    local _, list = list_of(c, id)
    take(list, id)
  end,
  resized = function(c)
    cascade(c, 4)
  end,
}

M.twoq = {
  init = function(c)
    c.lists, c.out = { {}, {} }, {}
  end,
  look = function(c, id, size)
    local found = ghost_take(c.out, id)
    if size > c.limit // 4 then return false end
    return true, found
  end,
  insert = function(c, id, found)
    table.insert(c.lists[found and 2 or 1], id)
  end,
  hit = function(c, id)
    if list_of(c, id) == 2 then to_head(c.lists[2], id) end
  end,
  full = function(c, size, found)
    local most = c.limit - c.limit // 4
    return found and #c.lists[2] > 0 and used(c.lists[2], c.size) + size > most
  end,
  victim = function(c, size)
    local a_in, main = c.lists[1], c.lists[2]
    local crowded = c.used + (size or 0) > c.limit
    if #main == 0 then return a_in[1] end
    if crowded and #a_in > 0 and used(a_in, c.size) > c.limit // 4 then return a_in[1] end
    return main[1]
  end,
  evicted = function(c, id)
    local i, list = list_of(c, id)
    take(list, id)
    if i == 1 then ghost_add(c.out, id, c.size[id], c.limit // 2) end
  end,
  resized = function(c)
    ghost_trim(c.out, c.limit // 2)
  end,
}

local function promote(c)
  local small = c.lists[1]
  while small[1] and c.hits[small[1]] >= 2 do
    c.hits[small[1]] = 0
    move(c, small[1], 2)
  end
  return small[1]
end

local function reinsert(c)
  local main = c.lists[2]
  while main[1] and c.hits[main[1]] > 0 do
    c.hits[main[1]] = math.min(c.hits[main[1]], 3) - 1
    to_head(main, main[1])
  end
  return main[1]
end

M.s3fifo = {
  init = function(c)
    c.lists, c.ghost, c.hits = { {}, {} }, {}, {}
  end,
  look = function(c, id, size)
    local found = ghost_take(c.ghost, id)
    if size > c.limit // 10 then return false end
    return true, found
  end,
  stores = function(c, size, found)
    return found or size < c.limit // 10
  end,
  insert = function(c, id, found)
    c.hits[id] = 0
    table.insert(c.lists[(found or c.size[id] >= c.limit // 10) and 2 or 1], id)
  end,
  hit = function(c, id)
    c.hits[id] = c.hits[id] + 1
  end,
  victim = function(c)
    if used(c.lists[2], c.size) > c.limit - c.limit // 10 then return reinsert(c) end
    return promote(c) or reinsert(c)
  end,
  evicted = function(c, id)
    local i, list = list_of(c, id)
    take(list, id)
    if i == 1 then ghost_add(c.ghost, id, c.size[id], c.limit * 9 // 10) end
  end,
  resized = function(c)
    ghost_trim(c.ghost, c.limit * 9 // 10)
  end,
}

-- ---- arc -------------------------------------------------------------------------------------

local function replace(c, found)
  local t1, t2 = c.lists[1], c.lists[2]
  local n = used(t1, c.size)
  if #t2 == 0 or #t1 > 0 and (n > c.p or found == 2 and n == c.p) then return t1[1] end
  return t2[1]
end

M.arc = {
  init = function(c)
    c.lists, c.ghosts, c.p = { {}, {} }, { {}, {} }, 0
  end,
  look = function(c, id, size)
    local found
    for i = 1, 2 do
      local this, other = c.ghosts[i], c.ghosts[3 - i]
      if ghost_index(this, id) then
        local delta = math.max(ghost_used(other) / ghost_used(this), 1)
        c.p = i == 1 and math.min(c.p + delta, c.limit) or math.max(c.p - delta, 0)
        ghost_take(this, id)
        found = i
        break
      end
    end
    if size > c.limit then return false end
    return true, found
  end,
  insert = function(c, id, found)
    table.insert(c.lists[found and 2 or 1], id)
  end,
  hit = function(c, id)
    move(c, id, 2)
  end,
  victim = function(c, size, found)
    c.forget = nil
    if found or not size then return replace(c, found) end
    local l1 = used(c.lists[1], c.size) + ghost_used(c.ghosts[1])
    local l2 = used(c.lists[2], c.size) + ghost_used(c.ghosts[2])
    if l1 + size > c.limit then
      if #c.ghosts[1] > 0 then
        table.remove(c.ghosts[1], 1)
        return replace(c)
      end
      c.forget = #c.lists[1] > 0
      return c.lists[1][1] or replace(c)
    end
    if l1 + l2 >= 2 * c.limit then table.remove(c.ghosts[2], 1) end
    return replace(c)
  end,
  evicted = function(c, id)
    local i, list = list_of(c, id)
    take(list, id)
    if not c.forget then table.insert(c.ghosts[i], { id, c.size[id] }) end
  end,
  resized = function(c)
    c.p = math.min(c.p, c.limit)
    ghost_trim(c.ghosts[1], c.limit)
    ghost_trim(c.ghosts[2], c.limit)
  end,
}

return { policies = M, index_of = index_of, take = take, to_head = to_head, used = used }
