-- lru by hooks: as little as a scripted policy can do.
return {
  init = function(c) c.main = c:queue("main") end,
  on_evict = function(c) return c.main:back() end,
}
