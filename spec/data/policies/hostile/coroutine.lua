-- Hides in coroutines.
return {
  budget = 300000,
  on_evict = function(c)
    coroutine.wrap(function()
      while true do
        coroutine.wrap(function() while true do end end)()
      end
    end)()
    return c:queue("main"):front()
  end,
}
