-- Behaves, until an entry has left.
return {
  budget = 300000,
  on_evict = function(c) return c:queue("main"):back() end,
  on_remove = function(c, h)
    repeat until c:freq(h) == 0
  end,
}
