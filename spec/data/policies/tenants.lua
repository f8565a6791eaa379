-- A table with all that a policy may have: guests go before members, and whoever was a victim before
-- has some peace. What it remembers lives in its own state.
local victims = {}
local passes = 0

local function rank(c)
  return c.name and c.name:match("^guest") and 1 or 0
end

return {
  score = function(c)
    if c.name == "owner" and not c.degraded then return nil end
    return rank(c) * 1e12 + c.used / (1 + (victims[c.account] or 0))
  end,
  order = function(list)
    table.sort(list, function(a, b)
      if rank(a) ~= rank(b) then return rank(a) > rank(b) end
      return a.used > b.used
    end)
    return list
  end,
  on_start = function(tracker)
    passes = passes + 1
    assert(tracker:used() == tracker:stats().used)
  end,
  on_victim = function(c, freed)
    victims[c.account] = (victims[c.account] or 0) + 1
    assert(freed >= 0)
  end,
  on_stop = function(tracker, outcome)
    local pressure, level = tracker:pressure()
    assert(pressure >= 0 and #level > 0 and #outcome > 0)
  end,
  degraded = true,
  budget = 100000,
}
