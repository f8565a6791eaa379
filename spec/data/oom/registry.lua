-- Registries under want of memory: what is registered is told once, what is not is never told.
local lethe = require "lethe"
local registry = lethe.registry
local r = registry.new{ on_dead = function() end }
local default = registry.default()
begin()

local registered, ended = {}, { false, false, false, false, false, false }
local objects = {}

local function register(held, token)
  local object = {}
  objects[held] = object
  r:register(object, held, token)
  registered[held] = true
end

local function work()
  for i = 1, 6 do
    register(i, i % 2 == 0 and "even" or nil)
    register("name " .. i)
    r:register({}, -i)
    registered[-i] = true
  end
  do
    local phoenix = setmetatable({}, { __gc = function(self) objects.phoenix = self end })
    r:register(phoenix, "phoenix")
    registered.phoenix = true
  end
  local other <close> = registry.new()
  other:register({}, 1)
  other:collect()
  assert(#other:sweep() <= 1)
  lethe.loop.new{ clock = "virtual" }
  r:collect()
  assert(#r:dead() <= 6)
  if r:unregister("even") then
    for i = 2, 6, 2 do
      ended[i] = true
    end
  end
  default:collect()
  default:sweep()
end

local function check()
  if r:unregister("even") then
    for i = 2, 6, 2 do
      ended[i] = true
    end
  end
  objects = {}
  r:collect()
  objects = {}
  r:collect()
  local told = {}
  for _, held in ipairs(r:sweep()) do
    assert(not told[held], held)
    told[held] = true
  end
  for held in pairs(registered) do
    assert(told[held] or ended[held], "a death was lost: " .. held)
  end
  local stats = r:stats()
  assert(stats.live == 0 and stats.dead == 0)
  default:collect()
  default:sweep()
  r:close()
end

return work, check
