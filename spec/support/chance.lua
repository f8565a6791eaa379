-- What is random in specs, and how long it takes: a seed means the same on every machine.
local M = {}

--- SEED= repeats a run, LETHE_WORK multiplies its length.
M.SEED = math.tointeger(tonumber(os.getenv("SEED"))) or 1
M.WORK = tonumber(os.getenv("LETHE_WORK")) or 1

--- random(n) -> 0 .. n - 1
---@param seed integer
---@return fun(n: integer): integer
function M.below(seed)
  local state = seed
  return function(n)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % n
  end
end

--- random(n) -> 1 .. n
---@param seed integer
---@return fun(n: integer): integer
function M.generator(seed)
  local below <const> = M.below(seed)
  return function(n) return below(n) + 1 end
end

return M
