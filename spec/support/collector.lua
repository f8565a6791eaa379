-- The same specs under each way in which Lua collects: nothing that a program sees depends on it.
local M = {}

local before -- the mode that the program was in

local function leave()
  collectgarbage("generational", 20, 100)
  collectgarbage("incremental", 200, 100)
  collectgarbage(before)
  collectgarbage()
end

local function mode(name, ...)
  local setting <const> = table.pack(...)
  return {
    name = name,
    leave = leave,
    enter = function()
      before = collectgarbage("incremental")
      collectgarbage(before)
      if setting.n > 0 then collectgarbage(table.unpack(setting)) end
      collectgarbage() -- the old pause holds until the end of a cycle
    end,
  }
end

---In a spec: for each of them a block with before_each(mode.enter) and after_each(mode.leave).
M.modes = {
  mode("as it is"),
  mode("a restless collector", "incremental", 1, 1000), -- about a full cycle for each allocation
  mode("generations", "generational", 1, 1),
}

---Collects until nothing more is due, safe points included.
function M.all()
  local base <const> = require "lethe.core.base"
  for _ = 1, 4 do
    collectgarbage("collect")
    base.safepoint()
  end
end

return M
