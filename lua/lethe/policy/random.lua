-- random: a sample of one leaves, whatever its score.
return { name = "random", score = "0", index = "sample:1" }
