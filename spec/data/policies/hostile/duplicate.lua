-- Names the same entry twice where several are wanted.
return {
  on_evict = function(c, want)
    local h = c:queue("main"):back()
    if want > 1 then return h, h end
    return h
  end,
}
