-- Each call copies all that were given to the one before, and one more.
local function more(...)
  return more(1, ...)
end

return {
  budget = 300000,
  on_evict = function()
    return more()
  end,
}
