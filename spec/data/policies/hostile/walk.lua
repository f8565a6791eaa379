-- Walks a queue that it turns around under its feet.
return {
  budget = 300000,
  on_evict = function(c)
    local q = c:queue("main")
    local h = q:back()
    while h do
      q:to_front(h)
      h = q:next(h) or q:back()
    end
  end,
}
