-- slru, segmented LRU (Karedla et al., 1994): four queues of a quarter each. A newcomer stands in
-- the lowest one that has room; a hit goes one up. What is then too much in a queue goes down, and
-- out of the lowest one it leaves, even at a hit: hence `full`.
local SEGMENTS <const> = 4

-- What is too much in the queues up to that one goes down.
local function cascade(c, from)
  local room <const> = c:limit() // SEGMENTS
  for i = from, 2, -1 do
    local q <const>, below <const> = c.segments[i], c.segments[i - 1]
    local h = q:back() -- none, where all are in use
    while h and q:used() > room do
      below:push_front(h)
      h = q:back()
      if i == 2 then c.crowded = below:used() > room end
    end
  end
  return c.crowded
end

return {
  name = "slru",
  init = function(c)
    c.segments, c.crowded = {}, false
    for i = 1, SEGMENTS do
      c.segments[i] = c:queue("segment " .. i)
    end
  end,
  admit = function(c, size)
    return size <= c:limit() // SEGMENTS
  end,
  on_insert = function(c, h)
    local room <const> = c:limit() // SEGMENTS - c:size(h)
    local i = 1
    while i <= SEGMENTS and c.segments[i]:used() > room do
      i = i + 1
    end
    if i > SEGMENTS then i = 1 end
    c.segments[i]:push_front(h)
  end,
  on_hit = function(c, h)
    local up = 2
    while up < SEGMENTS and not c.segments[up - 1]:has(h) do
      up = up + 1
    end
    c.segments[up]:push_front(h)
    return cascade(c, up)
  end,
  full = function(c)
    c.crowded = c.crowded and c.segments[1]:used() > c:limit() // SEGMENTS
    return c.crowded
  end,
  on_evict = function(c)
    for i = 1, SEGMENTS do
      local h = c.segments[i]:back()
      if h then return h end
    end
  end,
}
