-- Swallows every error, also that of its budget.
return {
  budget = 300000,
  on_evict = function()
    while true do
      pcall(function() while true do end end)
    end
  end,
}
