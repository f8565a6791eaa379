-- Frees nothing.
return {
  on_evict = function() end,
}
