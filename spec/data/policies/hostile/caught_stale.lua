-- The same, with the error caught: a strike all the same.
local first
return {
  on_insert = function(c, h)
    first = first or h
    c:queue("main"):push_front(h)
  end,
  on_evict = function(c)
    if not c:alive(first) then pcall(c.size, c, first) end
    return c:queue("main"):back()
  end,
}
