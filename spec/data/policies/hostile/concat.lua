-- Strings that double until no memory is left, and then again.
return {
  budget = 300000,
  on_evict = function()
    while true do
      pcall(function()
        local s = "0123456789abcdef"
        while true do s = s .. s end
      end)
    end
  end,
}
