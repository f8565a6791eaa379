-- Finalizers that would run where no budget is charged.
return {
  budget = 300000,
  on_evict = function(c)
    while true do
      setmetatable({}, { __gc = function() while true do end end })
    end
    return c:queue("main"):front()
  end,
}
