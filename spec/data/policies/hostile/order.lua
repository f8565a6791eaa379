-- Asks which of two long strings comes first.
local a = ("x"):rep(200000)
return {
  budget = 300000,
  on_hit = function(c)
    local later = 0
    while true do
      if a < a then later = later + 1 end
    end
    c.later = later
  end,
}
