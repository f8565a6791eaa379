--- The transcript of a kernel: a record for every crank, in the order in which they ran.
--
-- The first record names the vats with what bounds them; it grows as vats are made:
--
--   { vats = { { name, meter, memory }, ... } }
--   { vat, delivery = { kind, ... }, syscalls = { { name, ... }, ... }, ended = code | nil }
--
-- Names in a record are the vat's own, so that a vat can be run again by itself.

local M = {}

---@class lethe.vat.Transcript
local Transcript = {}
Transcript.__index = Transcript

local function copy(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, each in next, value do
    result[key] = copy(each)
  end
  return setmetatable(result, getmetatable(value))
end

--- A record that its reader may change.
---@param record table
---@return table
M.copy = copy

---@return lethe.vat.Transcript
function M.new()
  return setmetatable({ list = { { vats = {} } } }, Transcript)
end

--- A vat was made.
---@param vat { name: string, meter: integer?, memory: integer? }
function Transcript:vat(vat)
  table.insert(self.list[1].vats, vat)
end

--- A crank is over.
---@param record table
function Transcript:add(record)
  self.list[#self.list + 1] = record
end

--- Copies of all records.
---@return table[]
function Transcript:records()
  return copy(self.list)
end

function Transcript.close() end

return M
