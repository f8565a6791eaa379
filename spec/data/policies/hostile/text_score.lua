-- A score that looks like a number.
return {
  score = function(freq) return tostring(freq) end,
}
