-- A score that is no number.
return {
  score = function(freq) return freq > 0 and 0 / 0 or freq end,
}
