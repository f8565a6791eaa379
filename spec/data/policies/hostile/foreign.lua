-- Names an entry of nobody's.
return {
  on_evict = function() return 4294967296 * 3 + 17000 end,
}
