-- lru: who was not asked for for longest leaves first. A hit goes to the front of the queue.
return {
  name = "lru",
  queues = { main = 1 },
  rules = { on_hit = { main = "reinsert" }, on_evict = { main = "drop" } },
}
