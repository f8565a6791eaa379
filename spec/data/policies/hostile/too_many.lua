-- Names more than were wanted.
return {
  on_evict = function(c, want)
    local q, list = c:queue("main"), {}
    local h = q:back()
    for i = 1, want + 1 do
      list[i], h = h, q:prev(h)
    end
    return table.unpack(list)
  end,
}
