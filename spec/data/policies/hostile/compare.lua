-- Compares long strings that are equal: one instruction each, and no function is called.
return {
  budget = 300000,
  on_evict = function(c)
    c.a = c.a or ("x"):rep(50000) .. "a"
    local a, b, same = c.a, ("x"):rep(50000) .. "a", false
    while true do
      same = a == b
    end
    return same
  end,
}
