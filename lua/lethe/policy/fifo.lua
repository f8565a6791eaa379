-- fifo: who came first leaves first. Hits change nothing.
return {
  name = "fifo",
  queues = { main = 1 },
  rules = { on_evict = { main = "drop" } },
}
