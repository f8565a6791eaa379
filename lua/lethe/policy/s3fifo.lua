-- s3fifo (Yang et al., SOSP 2023): newcomers go through a small queue, from which what was hit
-- twice goes on to the main one, and what leaves is remembered: it comes back to main. What was hit
-- in main stays for another round. As in the published simulator, what is as large as the small
-- queue makes room and is not stored.
return {
  name = "s3fifo",
  queues = { small = 0.1, main = 0.9 },
  ghost = { small = 0.9 },
  admit = "size <= limit // 10",
  rules = {
    insert = "ghost and main or size < limit // 10 and small",
    on_evict = {
      small = "freq >= 2 and move(main, freq = 0) or drop(ghost)",
      main = "freq >= 1 and reinsert(freq = min(freq, 3) - 1) or drop",
    },
  },
}
