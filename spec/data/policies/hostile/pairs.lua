-- The same by pairs, and by steps from a key before the gap.
local t = { 1 }
for i = 1, 30000 do
  t["k" .. i] = i
end
for i = 1, 30000 do
  t["k" .. i] = nil
end
return {
  budget = 300000,
  on_evict = function()
    local n = 0
    while true do
      for _ in pairs(t) do
        n = n + (next(t, 1) and 1 or 0)
      end
    end
    return n
  end,
}
