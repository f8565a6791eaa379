-- Thinks for ever about who may come in.
return {
  budget = 300000,
  admit = function()
    while true do pcall(string.rep, "x", 100000) end
  end,
}
