-- wtinylfu, W-TinyLFU (Einziger, Friedman and Manes, 2017): an LRU window of one percent for
-- newcomers; what leaves it gets into the main part only if it was asked for more often than what
-- would leave for it. That part is probation and, after a hit there, protected, which has four
-- fifths.
--
-- How often a key was asked for is told by a sketch: four cells for each key, which count to 15;
-- the least is the answer. After ten accesses for each entry that there may be, all are halved.
local CELLS <const>, HASHES <const>, MOST <const>, SAMPLE <const> = 8, 4, 15, 10
local ROOM <const>, FACTOR <const> = 64, 0xd6e8feb86659fd93

local function mix(key)
  key = (key ~ (key >> 32)) * FACTOR
  key = (key ~ (key >> 32)) * FACTOR
  return key ~ (key >> 32)
end

local function hash(key)
  if math.type(key) == "integer" then return mix(key) end
  local h = 0
  for i = 1, #key do
    h = mix(h + key:byte(i))
  end
  return h
end

local function estimate(c, h)
  local bits <const> = hash(c:key(h))
  local at, step, mask = bits & 0xffffffff, (bits >> 32) | 1, c.width - 1
  local least = MOST
  for i = 0, HASHES - 1 do
    local n = c.cells[(at + i * step) & mask] or 0
    if n < least then least = n end
  end
  return least
end

local function count(c, h)
  local bits <const> = hash(c:key(h))
  local at, step, mask = bits & 0xffffffff, (bits >> 32) | 1, c.width - 1
  for i = 0, HASHES - 1 do
    local cell = (at + i * step) & mask
    local n = c.cells[cell] or 0
    if n < MOST then c.cells[cell] = n + 1 end
  end
  c.counted = c.counted + 1
  if c.counted < c.width // CELLS * SAMPLE then return end
  for cell, n in pairs(c.cells) do
    c.cells[cell] = n // 2
  end
  c.counted = c.counted // 2
end

-- Twice as wide, the new half like the old one: every key finds its cells.
local function widen(c)
  for cell = 0, c.width - 1 do
    c.cells[c.width + cell] = c.cells[cell]
  end
  c.width = c.width * 2
end

local function window_limit(c)
  return math.max(c:limit() // 100, 1)
end

-- What is too much in a queue goes to another, but what is in use.
local function lower(from, most, to)
  local h = from:back()
  while h and from:used() > most do
    to:push_front(h)
    h = from:back()
  end
end

return {
  name = "wtinylfu",
  init = function(c)
    c.window, c.probation = c:queue("window"), c:queue("probation")
    c.protected = c:queue("protected")
    c.cells, c.counted, c.width = {}, 0, ROOM * CELLS
  end,
  on_insert = function(c, h)
    if c:len() >= c.width // CELLS then widen(c) end
    count(c, h)
    c.window:push_front(h)
    lower(c.window, window_limit(c), c.probation)
  end,
  on_hit = function(c, h)
    count(c, h)
    if c.window:has(h) then return c.window:push_front(h) end
    c.protected:push_front(h)
    local most <const> = (c:limit() - window_limit(c)) * 4 // 5
    lower(c.protected, most, c.probation)
  end,
  on_evict = function(c)
    local contender <const> = c.window:back()
    local main <const> = c.probation:back() or c.protected:back()
    if not main or not contender then return main or contender end
    if c.window:used() + (c:size() or 0) <= window_limit(c) then return main end
    if estimate(c, contender) <= estimate(c, main) then return contender end
    c.probation:push_front(contender)
    return main
  end,
  export = function(c)
    return { name = "wtinylfu", cells = c.cells, counted = c.counted, width = c.width }
  end,
  import = function(c, t)
    if t.name == "wtinylfu" then c.cells, c.counted, c.width = t.cells, t.counted, t.width end
  end,
}
