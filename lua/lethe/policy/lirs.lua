-- lirs (Jiang and Zhang, SIGMETRICS 2002): a stack holds keys by their last access. Entries
-- accessed again soon (LIR, 99 percent) are all in it, one of them at its bottom; the others (HIR)
-- stand in a queue, from which victims come, and are in the stack if they were accessed since that
-- bottom was. Keys stay there when their entries leave. An access to what is HIR and in the stack
-- makes it LIR, and the bottom HIR; the stack then ends at the next LIR. It holds twice the limit
-- at most.
--
-- The stack is linked through tables by key: `above` and `below`, where false is an end.

local STATE <const> = {
  "above", "below", "weight", "lir", "top", "bottom", "stacked", "left", "when", "oldest", "newest",
}

local function push(c, key, size)
  c.above[key], c.below[key], c.weight[key] = false, c.top, size
  if c.top then c.above[c.top] = key else c.bottom = key end
  c.top, c.stacked = key, c.stacked + size
end

local function unlink(c, key)
  local above <const>, below <const> = c.above[key], c.below[key]
  if above then c.below[above] = below else c.top = below end
  if below then c.above[below] = above else c.bottom = above end
  c.stacked = c.stacked - c.weight[key]
  c.above[key], c.below[key], c.weight[key] = nil, nil, nil
end

-- Keys without entries, by when these left: left[oldest] is the first, false where one has come
-- back.
local function leave(c, key)
  c.newest = c.newest + 1
  c.left[c.newest], c.when[key] = key, c.newest
end

local function forget(c, key)
  local when <const> = c.when[key]
  if when then c.left[when], c.when[key] = false, nil end
  unlink(c, key)
end

local function prune(c)
  while c.bottom and not c.lir[c.bottom] do
    forget(c, c.bottom)
  end
end

local function bound(c)
  local most <const> = 2 * c:limit()
  while c.stacked > most and c.oldest <= c.newest do
    local key <const> = c.left[c.oldest]
    c.left[c.oldest] = nil
    c.oldest = c.oldest + 1
    if key then forget(c, key) end
  end
  prune(c)
end

local function hir_limit(c)
  return math.max(c:limit() // 100, 1)
end

local function fits(c, size)
  return c.short:used() + size <= c:limit() - hir_limit(c)
end

-- The bottom of the stack becomes the last of the queue.
local function demote(c)
  local key <const> = c.bottom
  c.queue_of:push_front(c.lir[key])
  c.lir[key] = nil
  unlink(c, key)
  prune(c)
end

local function promote(c, key, h)
  c.lir[key] = h
  c.short:push_front(h)
  while c.short:len() > 0 and not fits(c, 0) do
    demote(c)
  end
end

return {
  name = "lirs",
  init = function(c)
    c.queue_of, c.short = c:queue("hir"), c:queue("lir")
    c.above, c.below, c.weight, c.lir, c.top, c.bottom, c.stacked = {}, {}, {}, {}, false, false, 0
    c.left, c.when, c.oldest, c.newest = {}, {}, 1, 0
  end,
  admit = function(c, size)
    if size > c:limit() then return false end
    local key <const> = c:key()
    local found <const> = c.when[key] ~= nil
    if found then forget(c, key) end
    return true, found
  end,
  full = function(c)
    local size <const> = c:size()
    if not size or c:found() or fits(c, size) or not c.queue_of:back() then return false end
    return c.queue_of:used() + size > hir_limit(c)
  end,
  on_insert = function(c, h)
    local key <const>, size <const> = c:key(h), c:size(h)
    push(c, key, size)
    if c:found() or fits(c, size) then promote(c, key, h) else c.queue_of:push_front(h) end
    bound(c)
  end,
  on_hit = function(c, h)
    local key <const> = c:key(h)
    local size <const> = c.weight[key]
    if not size then return c.queue_of:push_front(h) end
    unlink(c, key)
    push(c, key, size)
    if not c.lir[key] then promote(c, key, h) end
    prune(c)
  end,
  on_evict = function(c)
    local h = c.queue_of:back() -- none, where all are in use
    while not h and c.bottom do
      demote(c)
      h = c.queue_of:back()
    end
    return h
  end,
  on_remove = function(c, h)
    local key <const> = c:key(h)
    if not c.weight[key] then return end
    if c.lir[key] then
      c.lir[key] = nil
      forget(c, key)
      prune(c)
    else
      leave(c, key)
    end
  end,
  export = function(c)
    local t = { name = "lirs" }
    for _, field in ipairs(STATE) do
      t[field] = c[field]
    end
    return t
  end,
  import = function(c, t)
    if t.name ~= "lirs" then return end
    for _, field in ipairs(STATE) do
      c[field] = t[field]
    end
  end,
}
