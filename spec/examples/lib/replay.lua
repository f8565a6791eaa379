-- The model behind the replay example: a block-I/O trace becomes tenants under one quota tracker.
--
-- Think of a storage server that keeps in memory the blocks its clients have read. The disk is cut
-- into equal extents, and every extent is a tenant with an account. A block that is read for the
-- first time is loaded and claimed; it stays until a reclamation pass takes it, and reading it
-- meanwhile costs nothing. A tenant keeps apart what was read once since it was loaded and what
-- was read again: two shelves, each a child account with one participant, the second of priority
-- 1; a block moves over at its second read. Asked to give back, a shelf drops the blocks that were
-- not read for the longest time, a slice at a time, and answers "partial". A block that is read
-- again after a pass took it has to be loaded again: those are the bytes re-created, the price of
-- having chosen the wrong victim. A first load is nobody's fault and is not counted.
--
-- The clock is a virtual loop that follows the trace's own seconds, so two runs give the same
-- figures, and an age is the seconds since a shelf's oldest block was last read. The trace says in
-- each record when the same block is read next; that field is skipped and never looked at.

local loop = require "lethe.loop"
local quota = require "lethe.quota"

local M = {}

local RECORD_BYTES <const> = 24
local RECORD <const> = "<I4I8I4" -- seconds, first sector, bytes; the last 8 bytes are skipped
local TENANTS <const> = 64 -- at most so many extents
local SLICES <const> = 256 -- one reclaim gives back at most this part of the tracker's max

---@class replay.Trace
---@field times integer[] seconds since the first record
---@field ids integer[] first sector of the block
---@field sizes integer[]
---@field footprint integer bytes of all different blocks
---@field bytes integer bytes of all requests
---@field shift integer a block's tenant is its first sector shifted right by so much

--- Reads a whole trace. What is no sequence of records is refused.
---@param path string
---@return replay.Trace? trace
---@return string? err
function M.read(path)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, err
  end
  local data <const> = file:read("a")
  file:close()
  if #data == 0 or #data % RECORD_BYTES ~= 0 then
    return nil, path .. ": not a sequence of 24-byte records"
  end
  local times, ids, sizes = {}, {}, {}
  local footprint, bytes, last = 0, 0, 0
  local start <const> = string.unpack("<I4", data)
  local known = {}
  for i = 1, #data // RECORD_BYTES do
    local time, id, size = string.unpack(RECORD, data, (i - 1) * RECORD_BYTES + 1)
    times[i], ids[i], sizes[i] = time - start, id, size
    bytes, last = bytes + size, math.max(last, id)
    if not known[id] then
      known[id] = true
      footprint = footprint + size
    end
  end
  local shift = 0
  while last >> shift >= TENANTS do
    shift = shift + 1
  end
  return { times = times, ids = ids, sizes = sizes, footprint = footprint, bytes = bytes,
           shift = shift }
end

-- A part of one extent's blocks, in a ring from the one not read for the longest time to the
-- youngest: `ring.next` is the oldest block, or the ring itself when there is none. `world` is what
-- all share in a run: the loop, the slice, the tally.
local Shelf = {}
Shelf.__index = Shelf

function Shelf.new(world, account)
  local ring = {}
  ring.prev, ring.next = ring, ring
  local self = setmetatable({ world = world, account = account, ring = ring, held = 0 }, Shelf)
  self.memory = assert(account:participant(self))
  return self
end

function Shelf:put(block)
  local ring <const> = self.ring
  assert(self.memory:claim(block.size))
  self.held = self.held + block.size
  block.shelf = self
  block.prev, block.next = ring.prev, ring
  ring.prev.next, ring.prev = block, block
end

function Shelf:take(block)
  block.prev.next, block.next.prev = block.next, block.prev
  self.held = self.held - block.size
  self.memory:release(block.size)
end

function Shelf:touch(block)
  local ring <const> = self.ring
  block.prev.next, block.next.prev = block.next, block.prev
  block.prev, block.next = ring.prev, ring
  ring.prev.next, ring.prev = block, block
end

-- The participant's two calls: how old is the oldest block (nil when there is none: a ring was
-- never read), and give some back.
function Shelf:get_oldest()
  return self.ring.next.read
end

function Shelf:reclaim(request)
  local goal <const>, world <const> = math.min(request.goal, self.world.slice), self.world
  local freed = 0
  while freed < goal and self.ring.next ~= self.ring do
    local block = self.ring.next
    self:take(block)
    world:lost(block)
    freed = freed + block.size
  end
  return "partial"
end

function Shelf:close()
  while self.ring.next ~= self.ring do
    self:take(self.ring.next)
  end
  self.memory:close()
  self.account:close()
end

-- One extent of the disk.
local Tenant = {}
Tenant.__index = Tenant

function Tenant.new(world, name)
  local account <const> = world.tracker:account{ name = name }
  return setmetatable({
    account = account,
    once = Shelf.new(world, account:child{ name = name .. " once" }),
    again = Shelf.new(world, account:child{ name = name .. " again", priority = 1 }),
  }, Tenant)
end

function Tenant:read(block)
  if not block.shelf then
    self.once:put(block)
  elseif block.shelf == self.once then
    self.once:take(block)
    self.again:put(block)
  else
    self.again:touch(block)
  end
end

function Tenant:close()
  self.once:close()
  self.again:close()
  self.account:close()
end

-- A run's tally, and the stopwatch on its passes: claims stand still from the start of a pass to
-- its end, so the longest pass is the longest pause. It is real time, unlike all else here.
local World = {}
World.__index = World

function World.new(options)
  local self = setmetatable({ blocks = {}, taken = {}, tenants = {} }, World)
  self.recreated, self.longest = 0, 0
  self.loop = loop.new{ clock = "virtual" }
  self.slice = math.max(1, options.max // SLICES)
  local watch <const> = loop.default()
  self.tracker = assert(quota.new{
    max = options.max,
    policy = options.policy,
    loop = self.loop,
    on_event = function(event)
      if event.type == "reclaim_start" then
        self.started = watch:now()
      elseif event.type == "reclaim_stop" and self.started then
        self.longest = math.max(self.longest, watch:now() - self.started)
      end
    end,
  })
  return self
end

function World:tenant(number)
  local tenant = self.tenants[number]
  if not tenant then
    tenant = Tenant.new(self, "extent " .. number)
    self.tenants[number] = tenant
  end
  return tenant
end

function World:read(tenant, id, size)
  local block = self.blocks[id]
  if not block then
    block = { id = id, size = size }
    self.blocks[id] = block
    if self.taken[id] then
      self.taken[id] = nil
      self.recreated = self.recreated + size
    end
  end
  block.read = self.loop:now()
  tenant:read(block)
end

function World:lost(block)
  self.blocks[block.id] = nil
  self.taken[block.id] = true
end

-- The tenants' own sums against the tracker's, shelf by shelf: what is held is counted.
function World:agrees()
  for _, tenant in pairs(self.tenants) do
    for _, shelf in ipairs{ tenant.once, tenant.again } do
      local counted = shelf.memory:used()
      if counted < shelf.held then
        return nil, ("%s holds %d bytes, counted are %d"):format(shelf.account:name(), shelf.held,
          counted)
      end
    end
  end
  return self.tracker:check()
end

---@class replay.Result
---@field policy string
---@field max integer
---@field peak integer
---@field passes integer
---@field victims integer
---@field freed integer
---@field policy_failures integer
---@field recreated integer bytes loaded again because a pass had taken them
---@field pause number seconds of the longest pass
---@field tenants integer
---@field left integer bytes still counted after every tenant has closed: 0

---@class replay.Options
---@field trace replay.Trace
---@field policy any what quota.new takes
---@field name string for the result
---@field max integer the tracker's max
---@field progress (fun(share: number))?

--- Replays a trace under one policy.
---@param options replay.Options
---@return replay.Result
function M.run(options)
  local trace <const> = options.trace
  local times, ids, sizes, shift = trace.times, trace.ids, trace.sizes, trace.shift
  local world <const> = World.new(options)
  for i = 1, #ids do
    local ahead = times[i] - world.loop:now()
    if ahead > 0 then
      world.loop:advance(ahead)
    end
    world:read(world:tenant(ids[i] >> shift), ids[i], sizes[i])
    while world.loop:step() do end -- a pass that this claim woke runs to its end
    if options.progress and i % 1024 == 0 then
      options.progress(i / #ids)
    end
  end
  assert(world:agrees())
  local stats, count = world.tracker:stats(), 0
  for _, tenant in pairs(world.tenants) do
    count = count + 1
    tenant:close()
  end
  local left <const> = world.tracker:used()
  world.tracker:close()
  return {
    policy = options.name, max = options.max, peak = stats.peak, passes = stats.reclaims,
    victims = stats.victims, freed = stats.freed, policy_failures = stats.policy_failures,
    recreated = world.recreated, pause = world.longest, tenants = count, left = left,
  }
end

return M
