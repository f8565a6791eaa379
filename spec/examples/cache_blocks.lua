-- Block caches over a file, as an image format like qcow2 needs them: two tables of one file, each
-- in a cache, and an order between their writes that holds whenever the power fails. The tables and
-- their two changes are in lib/image.lua.
--
--   build/lethe spec/examples/cache_blocks.lua [changes] [seed]
--
-- First on a real file. Then in memory, behind a backend that logs every write and barrier: what a
-- crash may leave at each moment is gone through, once as it should be and twice with something
-- missing.
package.path = "./?.lua;" .. package.path
local backend = require "lethe.backend"
local image = require "spec.examples.lib.image"

local changes, seed = tonumber((...)) or 200, tonumber((select(2, ...))) or 1
local SHAPE <const> = image.SHAPE

-- random(n) -> 1..n, the same numbers for each run.
local function generator()
  local state = seed
  return function(n)
    state = (state * 6364136223846793005 + 1442695040888963407) & 0x7fffffffffffffff
    return (state >> 33) % n + 1
  end
end

local function on_a_file()
  local path = os.tmpname()
  local file <close> = assert(backend.file{ path = path, block = SHAPE.block })
  image.format(file, SHAPE)
  local disk = image.open(file, SHAPE, { limit = 2 })
  disk:play(changes, generator())
  local stats = { refs = disk.refs:stats(), counts = disk.counts:stats() }
  disk:close()
  local ok, used, lost = image.check(function(k) return file:load(k) end, SHAPE)
  os.remove(path)
  return { ok = ok, used = used, lost = lost, barriers = stats.refs.barriers
    + stats.counts.barriers, writes = stats.refs.flushes + stats.counts.flushes }
end

-- How many states a crash may leave, and how many of them are broken.
local function crashes(how)
  local data, before = {}, {}
  local memory <close> = backend.memory{ data = data }
  image.format(memory, SHAPE)
  for k, v in pairs(data) do
    before[k] = v
  end
  local logged <close> = backend.faulty(memory, {})
  local used = logged
  if how.no_barriers then -- one that forgot to have any
    used = {
      load = function(_, k) return logged:load(k) end,
      flush = function(_, k, v) return logged:flush(k, v) end,
    }
  end
  local disk = image.open(used, SHAPE, { limit = 2, unordered = how.unordered })
  disk:play(how.changes, generator())
  disk:close()
  local states, broken, example = 0, 0, nil
  for read in logged:crash_states{ before = before, limit = 512, seed = seed } do
    states = states + 1
    local ok, message = image.check(read, SHAPE)
    if not ok then
      broken, example = broken + 1, message
    end
  end
  return { states = states, broken = broken, example = example }
end

local file = on_a_file()
print(("on a file: %d writes, %d barriers; %d slots in use, %d blocks lost, %s"):format(
  file.writes, file.barriers, file.used, file.lost, file.ok and "sound" or "BROKEN"))
local few = math.min(changes, 60)
local results = { file = file }
for _, how in ipairs{ { "as it should be" }, { "without barriers", no_barriers = true },
  { "without order", unordered = true } } do
  how.changes = few
  local result = crashes(how)
  results[how[1]] = result
  print(("%s: %d states that a crash may leave, %d broken%s"):format(how[1], result.states,
    result.broken, result.example and " (" .. result.example .. ")" or ""))
end
return results
