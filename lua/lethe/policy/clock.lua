-- clock (Corbato, 1968): a fifo in which what was hit since it came to the back gets another round.
return {
  name = "clock",
  queues = { main = 1 },
  rules = { on_evict = { main = "freq >= 1 and reinsert(freq = 0) or drop" } },
}
