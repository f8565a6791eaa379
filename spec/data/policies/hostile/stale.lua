-- Names, again and again, an entry that has left.
local first
return {
  on_insert = function(c, h)
    first = first or h
    c:queue("main"):push_front(h)
  end,
  on_evict = function(c)
    if c:alive(first) then return c:queue("main"):back() end
    return first
  end,
}
