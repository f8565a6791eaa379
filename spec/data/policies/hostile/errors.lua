-- Fails whenever it is called.
return {
  on_insert = function() error({}) end,
  on_hit = function() error("hit") end,
  on_evict = function() error(setmetatable({}, { __tostring = function() error("again") end })) end,
  on_remove = function() error() end,
}
