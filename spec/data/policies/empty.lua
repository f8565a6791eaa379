-- lru by hooks: as little as a scripted policy can do.
return {
  on_evict = function(c) return c:queue("main"):back() end,
}
