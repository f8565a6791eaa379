-- Sorting more than there is time for.
return {
  budget = 300000,
  on_evict = function(c)
    local t = {}
    for i = 1, 15000 do t[i] = (i * 7919) % 15013 end
    table.sort(t)
    return c:queue("main"):front()
  end,
}
