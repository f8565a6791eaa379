-- What a crash may leave of a log of writes and barriers: the inside of Faulty:crash_states.
--
-- A write is durable once a barrier that began after the write had ended has ended well. All that
-- began and is not durable yet is pending: a crash keeps any part of it, in units of sectors. A
-- sector that a write leaves as it was is no choice. Crashes are tried where something new is
-- pending, and at the end; what may be left at other moments may be left at one of these too.

local M = {}

-- ---- random choices ---------------------------------------------------------------------------

-- splitmix64; math.random is the script's.
local function random_bits(seed)
  local state = seed
  return function()
    state = state + 0x9e3779b97f4a7c15
    local z = state
    z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
    z = (z ~ (z >> 27)) * 0x94d049bb133111eb
    return z ~ (z >> 31)
  end
end

-- ---- writes -----------------------------------------------------------------------------------

-- The moment from which on a write is durable, or infinity.
local function durable_from(log, write)
  if not write.ended or not write.ok then return math.huge end
  local first = math.huge
  for _, record in ipairs(log) do
    if record.op == "barrier" and record.ok and record.begun > write.ended then
      first = math.min(first, record.ended)
    end
  end
  return first
end

-- What may reach the store: what was passed on, whole or in part. Half of what is torn never does.
local function writes_of(log)
  local list = {}
  for _, record in ipairs(log) do
    if record.op == "flush" and record.action ~= "fail" and record.action ~= "crash" then
      local v = record.value
      if record.action == "tear" and type(v) == "string" then v = v:sub(1, #v // 2) end
      list[#list + 1] = {
        key = record.key, value = v, begun = record.begun, ended = record.ended or math.huge,
        durable = durable_from(log, record),
      }
    end
  end
  return list
end

local function sector_at(text, i, sector)
  return text:sub(i * sector + 1, (i + 1) * sector)
end

-- The sectors, counted from 0, in which any of the values before differs from the new one; all of
-- it for what is no string.
local function choices(values, new, sector)
  if type(new) ~= "string" then return { "all" } end
  local list = {}
  for i = 0, (#new - 1) // sector do
    local differs = false
    for _, old in ipairs(values) do
      differs = differs or type(old) ~= "string"
        or sector_at(old, i, sector) ~= sector_at(new, i, sector)
    end
    if differs then list[#list + 1] = i end
  end
  if #new == 0 then list[1] = "all" end
  return list
end

local function with_sector(old, new, i, sector)
  if i == "all" then return new end
  old = type(old) == "string" and old or ""
  local from <const> = i * sector
  local part <const> = sector_at(new, i, sector)
  if #old < from then old = old .. ("\0"):rep(from - #old) end
  return old:sub(1, from) .. part .. old:sub(from + #part + 1)
end

-- In the place of a value that is not there.
local NOTHING <const> = {}

-- ---- one moment -------------------------------------------------------------------------------

-- What is durable at a moment, and the choices that are pending: { key, value, sector }, in order.
-- What had ended, well or not, before a write began that is durable is overwritten.
local function situation(writes, before, at, sector)
  local durable, since, possible, pending = setmetatable({}, { __index = before }), {}, {}, {}
  for _, write in ipairs(writes) do
    if write.begun <= at and write.durable <= at then
      durable[write.key], since[write.key] = write.value, write.begun
    end
  end
  for _, write in ipairs(writes) do
    if write.begun <= at and write.durable > at and write.ended > (since[write.key] or 0) then
      local values = possible[write.key]
      if not values then
        local old = durable[write.key]
        values = { old == nil and NOTHING or old }
        possible[write.key] = values
      end
      for _, i in ipairs(choices(values, write.value, sector)) do
        pending[#pending + 1] = { key = write.key, value = write.value, sector = i }
      end
      values[#values + 1] = write.value
    end
  end
  return durable, pending
end

-- read(k) of the state in which chosen(i) says whether the i-th choice was kept.
local function state_of(durable, pending, sector, chosen)
  local changed = {}
  for i, choice in ipairs(pending) do
    if chosen(i) then
      local old = changed[choice.key]
      if old == nil then old = durable[choice.key] end
      changed[choice.key] = with_sector(old, choice.value, choice.sector, sector)
    end
  end
  return function(k)
    local v = changed[k]
    if v == nil then v = durable[k] end
    return v
  end
end

-- Calls visit(read) for every choice, or for `limit` of them; the first two lose all and keep all.
local function each_state(durable, pending, sector, limit, bits, visit)
  local n <const> = #pending
  if n < 62 and (1 << n) <= limit then
    for mask = 0, (1 << n) - 1 do
      visit(state_of(durable, pending, sector, function(i) return mask >> (i - 1) & 1 == 1 end))
    end
    return
  end
  for round = 1, limit do
    local word = 0
    visit(state_of(durable, pending, sector, function(i)
      if round <= 2 then return round == 2 end
      if i % 64 == 1 then word = bits() end
      return word >> (i % 64) & 1 == 1
    end))
  end
end

-- ---- all moments ------------------------------------------------------------------------------

--- An iterator of read, at.
function M.states(log, before, limit, sector, seed)
  local writes <const> = writes_of(log)
  local moments, last = {}, 0
  for _, write in ipairs(writes) do
    moments[#moments + 1] = write.begun
  end
  for _, record in ipairs(log) do
    last = math.max(last, record.begun, record.ended or 0)
  end
  if moments[#moments] ~= last then moments[#moments + 1] = last end
  local bits <const> = random_bits(seed)
  return coroutine.wrap(function()
    for _, at in ipairs(moments) do
      local durable, pending = situation(writes, before, at, sector)
      each_state(durable, pending, sector, limit, bits, function(read)
        coroutine.yield(read, at)
      end)
    end
  end)
end

return M
