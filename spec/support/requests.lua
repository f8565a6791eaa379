-- Requests for replays through eviction policies: as records, at random, of a recorded trace; and
-- how a policy fares with them.
local evict = require "lethe.core.evict"
local make = require "lethe.evict.make"
local chance = require "spec.support.chance"

local M = {}

--- Records of ids; sizes by index, else 1.
---@param ids integer[]
---@param sizes? integer[]
---@return string
function M.records(ids, sizes)
  local list = {}
  for i, id in ipairs(ids) do
    list[i] = string.pack("<I4 I8 I4 i8", i, id, sizes and sizes[i] or 1, -1)
  end
  return table.concat(list)
end

--- n ids out of `most`, small ones more often, and a size for each id.
---@param seed integer
---@param n integer
---@param most integer
---@return integer[] ids, integer[] sizes
function M.skewed(seed, n, most)
  local random, ids, sizes = chance.generator(seed), {}, {}
  for i = 1, n do
    local id = random(most)
    if random(3) > 1 then id = random(id) end
    if random(2) > 1 then id = random(id) end
    ids[i], sizes[i] = id, 1 + id * 7919 % 50
  end
  return ids, sizes
end

--- The records of the recorded trace, the first n of them.
---@param n integer
---@return string
function M.recorded(n)
  local file <close> = assert(io.open("spec/data/sqlite.oracleGeneral.bin", "rb"))
  return file:read(24 * n)
end

--- Replays records; what came of it. Failures are not reported.
---@param policy any
---@param limit integer
---@param records string
---@param bytes? boolean sizes count
---@return { requests: integer, misses: integer, missed: integer, failures: table[] }
function M.replay(policy, limit, records, bytes)
  local made = assert(make.make(policy, limit, 1, true, 2))
  local replay <close> = assert(evict.replay(made, limit, not bytes))
  assert(replay:run(records))
  local result = replay:stats()
  result.failures = replay:failures()
  return result
end

--- The misses of a policy that does not fail.
---@param policy any
---@param limit integer
---@param records string
---@param bytes? boolean
---@return integer misses, integer missed
function M.misses(policy, limit, records, bytes)
  local result = M.replay(policy, limit, records, bytes)
  local failure = result.failures[1]
  assert(not failure, failure and failure.message)
  return result.misses, result.missed
end

--- A file with that source; its path.
---@param source string
---@return string
function M.file(source)
  local path = os.tmpname()
  os.remove(path)
  path = path .. ".lua"
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(source))
  return path
end

return M
