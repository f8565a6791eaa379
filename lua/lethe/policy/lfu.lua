-- lfu: who was asked for least often leaves first, of equals the one that has been so for longest.
return { name = "lfu", score = "freq" }
