-- Begins again and again to walk a table that was filled and emptied: each time all the room that it
-- has is looked through.
local t = {}
for i = 1, 30000 do
  t["k" .. i] = i
end
for i = 1, 30000 do
  t["k" .. i] = nil
end
return {
  budget = 300000,
  on_evict = function()
    while true do
      next(t)
    end
  end,
}
