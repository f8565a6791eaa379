-- A disk image in small, of the kind of qcow2: a table of references that says for each slot of a
-- disk in which block its data is, and a table of counts that says how often each block is
-- referred to. Both are in blocks of one file, each behind a cache of its own.
--
-- What must hold whenever the power fails: no block that is referred to has a count that is too
-- small, or it would be given away again. (One that is too large only loses a block.) So a new
-- reference must not reach the disk before its count has, nor a lower count before the reference
-- that is gone: that is what depend_on is for.

local cache = require "lethe.cache"

local M = {}

---@class Image
local Image = {}
Image.__index = Image

local ZERO <const> = "\0"

-- A shape: blocks of so many bytes, so many entries in each, so many blocks for either table.
M.SHAPE = { block = 1024, entries = 8, tables = 4 }

--- Writes an empty image.
function M.format(backend, shape)
  for k = 0, 2 * shape.tables - 1 do
    assert(backend:flush(k, ZERO:rep(shape.block)))
  end
  assert(backend:barrier())
end

--- Opens one. `options`: limit of either cache, loop; unordered = true leaves the dependencies out;
--- tries, how often to try what fails (once).
---@return Image
function M.open(backend, shape, options)
  local function new(name)
    return cache.new{ backend = backend, limit = options.limit, loop = options.loop, name = name }
  end
  return setmetatable({
    shape = shape,
    ordered = not options.unordered,
    tries = options.tries or 1,
    counts = new("counts"),
    refs = new("references"),
    next = 0, -- where the search for a free block begins
  }, Image)
end

-- ---- entries ----------------------------------------------------------------------------------

local function place(shape, i)
  return i // shape.entries, i % shape.entries * (shape.block // shape.entries)
end

-- What table[name](table, ...) returns once it goes well.
local function must(self, table, name, ...)
  local value, message
  for _ = 1, self.tries do
    value, message = table[name](table, ...)
    if value ~= nil then return value end
  end
  error(message, 0)
end

local function get(self, table, first, i)
  local k, offset = place(self.shape, i)
  return (string.unpack("<I4", must(self, table, "get", first + k), offset + 1))
end

local function set(self, table, first, i, n)
  local k, offset = place(self.shape, i)
  local hold <close> = must(self, table, "hold", first + k)
  local block = hold.value
  hold:set(block:sub(1, offset) .. string.pack("<I4", n) .. block:sub(offset + 5))
end

--- How often a block is referred to.
function Image:count(b)
  return get(self, self.counts, 0, b)
end

local function add(self, b, n)
  set(self, self.counts, 0, b, self:count(b) + n)
end

local function refer(self, slot, n)
  set(self, self.refs, self.shape.tables, slot, n)
end

--- The block that a slot refers to, or nil.
function Image:lookup(slot)
  local n = get(self, self.refs, self.shape.tables, slot)
  return n > 0 and n - 1 or nil
end

-- ---- the two changes --------------------------------------------------------------------------

local function order(self, later, earlier)
  if self.ordered then must(self, later, "depend_on", earlier) end
end

function Image:find_free()
  local all = self.shape.tables * self.shape.entries
  for i = self.next, self.next + all - 1 do
    if self:count(i % all) == 0 then
      self.next = i + 1
      return i % all
    end
  end
  return nil
end

--- Gives the slot a block of its own: first the count, and the reference after it.
function Image:link(slot)
  local b = assert(self:find_free(), "the image is full")
  add(self, b, 1)
  order(self, self.refs, self.counts)
  refer(self, slot, b + 1)
  return b
end

--- Takes the slot's block away: first the reference, and the count after it.
function Image:unlink(slot)
  local b = self:lookup(slot)
  refer(self, slot, 0)
  order(self, self.counts, self.refs)
  add(self, b, -1)
end

--- So many random changes, on half of the slots: blocks that a crash lost are not given away again.
--- `random(n)` gives 1..n.
function Image:play(changes, random, between)
  local slots = self.shape.tables * self.shape.entries // 2
  for _ = 1, changes do
    local slot = random(slots) - 1
    if self:lookup(slot) then
      self:unlink(slot)
    else
      self:link(slot)
    end
    if between then between(self) end
  end
end

--- Writes all of it, in order.
function Image:flush()
  must(self, self.refs, "flush")
  must(self, self.counts, "flush")
end

function Image:close()
  must(self, self.refs, "shutdown")
  must(self, self.counts, "shutdown")
end

-- ---- what must hold ---------------------------------------------------------------------------

--- Looks at what is stored, read(k) being block k: true, or nil and what is wrong; then how many
--- slots are in use, and how many blocks are lost.
function M.check(read, shape)
  local seen, used, lost = {}, 0, 0
  local function entry(first, i)
    local k, offset = place(shape, i)
    return (string.unpack("<I4", read(first + k), offset + 1))
  end
  local all = shape.tables * shape.entries
  for slot = 0, all - 1 do
    local n = entry(shape.tables, slot)
    if n > 0 then
      seen[n - 1] = (seen[n - 1] or 0) + 1
      used = used + 1
    end
  end
  for b = 0, all - 1 do
    local count, times = entry(0, b), seen[b] or 0
    if times > count then
      return nil, ("block %d is referred to %d times, its count is %d"):format(b, times, count)
    end
    lost = lost + count - times
  end
  return true, used, lost
end

return M
