-- Objects, their deaths and the tables of the state under want of memory: no death is lost.
local base = require "lethe.core.base"
local lethe = require "lethe"
begin()

local made, gone = {}, {}
local new

local function work()
  new = new or base.class("oom.Thing", { name = print }, function(insides)
    gone[insides.name] = gone[insides.name] + 1 -- allocates nothing
  end, true)
  for i = 1, 10 do
    gone[i] = 0
    local insides = { name = i }
    made[i] = false
    local object = new(insides, "thing " .. i)
    made[i] = true
    if i % 3 == 0 then
      object:close()
    else
      object = nil -- luacheck: ignore
      if i % 4 == 0 then
        collectgarbage()
        base.safepoint()
      end
    end
  end
  assert(tostring(lethe.registry.new()):find("^lethe.registry.Registry: "))
  lethe.on_leak(function() end)
  lethe.registry.default():collect()
  lethe.registry.default():sweep()
  base.options({ size = 1 }, { "size" }, 1)
  assert(not pcall(base.options, { sise = 1 }, { "size" }, 1))
  assert(base.size("64K", "size", 1) == 65536)
  base.report("not enough memory", {})
end

local function check()
  for _ = 1, 4 do
    collectgarbage()
    base.safepoint()
  end
  for i, whole in pairs(made) do
    local times <const> = whole and 1 or 0
    assert(gone[i] == times, ("thing %d was finished %d times"):format(i, gone[i]))
  end
end

return work, check
