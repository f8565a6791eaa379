-- A tenant of together.lua, the function that its worker runs: reads blocks of a file through a
-- cache under the account, as the trace in that file asks for them, and counts what it read in the
-- shared index and in two tables of its own, a count before the reference that relies on it. Its
-- blocks stay with it until all tenants have read, so that they do press on each other. Returns its
-- figures.
local backend = require "lethe.backend"
local cache = require "lethe.cache"

local BLOCK <const>, RECORD <const>, ENTRIES <const> = 4096, 24, 64

-- The blocks that the records from `first` on ask for; the trace begins anew at its end.
local function requests(path, first, n)
  local file <close> = assert(io.open(path, "rb"))
  local size = file:seek("end")
  local records, blocks, list = size // RECORD, size // BLOCK, {}
  for i = 1, n do
    file:seek("set", (first + i - 1) % records * RECORD)
    list[i] = ("<I8"):unpack(file:read(RECORD), 5) % blocks
  end
  return list
end

return function(o)
  local source <close> = assert(backend.file{ path = o.path, block = BLOCK })
  local blocks <close> = assert(cache.new{
    backend = source, bytes = "4M", account = o.account, name = "blocks",
  })
  blocks:on_evict(function(block) o.said:send{ o.number, "drop", block } end)

  local tables = {}
  for _, name in ipairs{ "counts", "refs" } do
    local path = o.scratch .. "." .. name
    local file = assert(backend.file{ path = path, block = BLOCK, create = true })
    tables[name] = assert(cache.new{ backend = file, limit = ENTRIES // 4, name = name })
  end

  for i, block in ipairs(requests(o.path, (o.number - 1) * o.requests, o.requests)) do
    local known = blocks:contains(block)
    assert(blocks:get(block))
    if not known then o.said:send{ o.number, "keep", block } end
    assert(o.index:incr(block, 1, 0))
    if i % 20 == 0 then
      local entry = i // 20 % ENTRIES
      assert(tables.counts:insert(entry, ("c"):rep(BLOCK)))
      assert(tables.refs:depend_on(tables.counts)) -- one-shot, so before each change
      assert(tables.refs:insert(entry, ("r"):rep(BLOCK)))
    end
  end
  o.has_read:send(o.number)
  o.leave:recv() -- closed when all have read
  assert(tables.refs:shutdown())
  assert(tables.counts:shutdown())
  local stats = blocks:stats()
  return {
    reads = o.requests, hits = stats.hits, misses = stats.misses, evictions = stats.evictions,
    peak = stats.bytes, written = ENTRIES,
  }
end
