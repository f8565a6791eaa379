-- A score that never comes, of a sample.
return {
  index = "sample:16",
  budget = 300000,
  score = function()
    while true do end
  end,
}
