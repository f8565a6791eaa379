-- What Lua's collector does while a vat script runs: nothing, or mischief by a seed.
--
-- Mischief means that during an operation the collector may be restless, in generations or at
-- work, while it rests during others; and, under engine "lua", that callbacks are run late, in part
-- and in odd orders.

local M = {}

-- A generator of its own: the program's math.random is not ours to seed.
local function generator(seed)
  local state = seed & 0xffffffffffffffff
  return function(n)
    state = state * 6364136223846793005 + 1442695040888963407
    return ((state >> 33) % n) + 1
  end
end

-- Collector settings outlast what changed them, so they are put back by name.
local Hold = {}
Hold.__index = Hold

function Hold:__close()
  collectgarbage("incremental", 200, 100)
  collectgarbage(self.mode)
  if self.running then collectgarbage("restart") end
end

--- Stops the collector until the result is closed.
---@return table
function M.hold()
  local mode = collectgarbage("incremental")
  collectgarbage(mode)
  local running = collectgarbage("isrunning")
  collectgarbage("stop")
  return setmetatable({ mode = mode, running = running }, Hold)
end

-- What the collector does during one operation.
local MOODS <const> = {
  function() -- about a full cycle for every allocation
    collectgarbage("restart")
    collectgarbage("incremental", 1, 1000)
  end,
  function()
    collectgarbage("restart")
    collectgarbage("generational", 1, 1)
  end,
  function() collectgarbage("collect") end,
  function() collectgarbage("step", 0) end,
  function() -- as it is anywhere else
    collectgarbage("restart")
    collectgarbage("incremental", 200, 100)
  end,
}

local Mischief = {}
Mischief.__index = Mischief

--- Before an operation something may happen, and go on during it.
---@param slots lethe.vat.Slots
function Mischief:before(slots)
  local random = self.random
  if random(3) == 1 then MOODS[random(#MOODS)]() end
  if self.callbacks and random(3) == 1 then slots:finalize(random(4), random(1000) - 1) end
end

--- After it the collector is held back again: the log is not what it is to be let loose on.
function Mischief.after()
  collectgarbage("stop")
end

--- The mischief of a seed.
---@param seed integer
---@param engine "lua"|"manual"
---@return table
function M.new(seed, engine)
  return setmetatable({ random = generator(seed), callbacks = engine == "lua" }, Mischief)
end

return M
