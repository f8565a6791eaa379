-- Chunks that load chunks.
local source = "local load, source = ... while true do load(source)(load, source) end"
return {
  budget = 300000,
  on_evict = function()
    load(source)(load, source)
  end,
}
