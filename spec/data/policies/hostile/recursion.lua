-- Deeper and deeper.
local function down(n)
  return 1 + down(n + 1)
end
return {
  budget = 300000,
  on_evict = function()
    return down(1)
  end,
}
