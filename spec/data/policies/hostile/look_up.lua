-- Looks up a long string, which is compared with the key that is there.
return {
  budget = 300000,
  on_evict = function()
    local t, key, found = { [("x"):rep(50000) .. "a"] = 1 }, ("x"):rep(50000) .. "a", 0
    while true do
      found = t[key]
    end
    return found
  end,
}
