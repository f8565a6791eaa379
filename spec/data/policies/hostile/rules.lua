-- Rules by which nothing ever leaves.
return {
  queues = { one = 0.5, two = 0.5 },
  rules = {
    insert = "size > 0 and one or two",
    on_evict = { one = "move(two)", two = "move(one, freq = freq + 1)" },
  },
}
