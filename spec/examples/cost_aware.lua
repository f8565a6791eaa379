-- Cost-aware reclamation: take first what is cheapest to make again. What was read only once may
-- never be missed: of that, whole small holdings go before a part of a large one, because one
-- that was left half empty is half worthless, and the large ones stay complete. What was read
-- again (priority 1) is missed for certain and goes last, oldest first. Nothing stays for ever:
-- a day of rest makes the one class the other, and counts double in the price.
local DAY <const> = 24 * 60 * 60

return {
  score = function(c)
    local age = c.age or DAY
    if c.priority > 0 and age < DAY then
      return age
    end
    return DAY + (age + DAY) / (c.used + 1)
  end,
}
