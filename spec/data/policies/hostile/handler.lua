-- Message handlers, and variables to be closed, that never end.
return {
  budget = 300000,
  on_hit = function()
    local x <close> = setmetatable({}, { __close = function() while true do end end })
    xpcall(function() while true do end end, function() while true do end end)
  end,
  on_evict = function(c)
    local x <close> = setmetatable({}, { __close = function() while true do end end })
    return c:queue("main"):front()
  end,
}
