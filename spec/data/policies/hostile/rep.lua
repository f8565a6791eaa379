-- A string of a gigabyte, in one instruction.
return {
  budget = 300000,
  on_evict = function(c)
    local s = ("x"):rep(1 << 30)
    return #s > 0 and c:queue("main"):front()
  end,
}
