-- twoq, 2Q (Johnson and Shasha, VLDB 1994): a fifo for what was asked for once (a quarter), an LRU
-- for what was asked for again after it had left that (the rest), and between them the keys of what
-- left (as many as weigh half the limit). Accesses that come close together count as one.
return {
  name = "twoq",
  init = function(c)
    c.once, c.main, c.out = c:queue("once"), c:queue("main"), c:ghost("out", math.huge)
  end,
  admit = function(c, size)
    local found <const> = c.out:remove()
    return size <= c:limit() // 4, found
  end,
  on_insert = function(c, h)
    if c:found() then c.main:push_front(h) else c.once:push_front(h) end
  end,
  on_hit = function(c, h)
    if c.main:has(h) then c.main:push_front(h) end
  end,
  -- What comes back has room in main, even where the other queue has some.
  full = function(c)
    if not c:found() or c.main:len() == 0 then return false end
    return c.main:used() + c:size() > c:limit() - c:limit() // 4
  end,
  on_evict = function(c)
    local once <const>, main <const> = c.once:back(), c.main:back()
    local crowded <const> = c:used() + (c:size() or 0) > c:limit()
    if main and not (once and crowded and c.once:used() > c:limit() // 4) then return main end
    local most <const> = c:limit() // 2 - c:size(once)
    while c.out:len() > 0 and c.out:used() > most do
      c.out:drop()
    end
    c.out:add(once)
    return once
  end,
}
