--- Vats: objects that talk across walls, and transcripts that replay exactly.
--
-- Each name loads its module when it is first used; see lua/lethe/meta/vat.lua for every call.

-- name = { module, field }
local PARTS <const> = {
  fuzz = { "lethe.vat.fuzz", "fuzz" },
  kernel = { "lethe.vat.kernel", "new" },
  replay = { "lethe.vat.replay", "replay" },
  run_script = { "lethe.vat.script", "run" },
  slots = { "lethe.vat.slots", "new" },
  unpack = { "lethe.vat.unpack", "unpack" },
}

---@class lethe.vat
local M = {}

return setmetatable(M, {
  __index = function(_, name)
    local part = PARTS[name]
    if not part then return nil end
    local value = require(part[1])[part[2]]
    rawset(M, name, value)
    return value
  end,
})
