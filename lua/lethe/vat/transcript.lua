-- The transcript of a kernel: a record for every crank, in the order in which they ran.
--
-- The first record names the vats with what bounds them; it grows as vats are made:
--
--   { vats = { { name, meter, memory }, ... } }
--   { vat, delivery = { kind, ... }, syscalls = { { name, ... }, ... }, ended = code | nil }
--
-- Names in a record are the vat's own, so that a vat can be run again by itself.

local capdata = require "lethe.vat.capdata"
local files = require "lethe.vat.transcript_file"
local marshal = require "lethe.vat.marshal"
local vref = require "lethe.vat.vref"

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

-- ---- comparing --------------------------------------------------------------------------------

local function text(value)
  return (marshal.encode{ value, n = 1 })
end

-- Two lists of syscalls, of which somebody may have changed one into what has no text.
local function same_calls(a, b)
  local ok, one = pcall(text, a)
  return ok and one == text(b)
end

-- As JSON; what is out of shape, as somebody changed it, as plain text.
local function readable(write, value)
  local ok, line = pcall(write, value)
  if ok then return line end
  ok, line = pcall(text, value)
  return ok and line or "something unreadable"
end

--- A record in one line.
---@param record table
---@return string
function M.line(record)
  return readable(files.line, record)
end

--- A syscall in one line; "nothing" for none.
---@param call table?
---@return string
function M.call(call)
  return call and readable(files.call, call) or "nothing"
end

--- Whether two records of a crank say the same.
---@param a table
---@param b table
---@return boolean
function M.same(a, b)
  return a.vat == b.vat and a.ended == b.ended and text(a.delivery) == text(b.delivery)
    and same_calls(a.syscalls, b.syscalls)
end

-- ---- checking ---------------------------------------------------------------------------------

local DELIVERIES <const> = {
  deliver = "args", notify = "resolutions", dropExports = "names", retireExports = "names",
  retireImports = "names", bringOutYourDead = "nothing", terminate = "nothing",
}

local function is_name(name, kinds)
  local kind = vref.parse(name)
  return kind ~= nil and kinds:find(kind, 1, true) ~= nil
end

local function are_names(list, kinds)
  if not capdata.list_of_names(list, "names") then return false end
  for _, name in ipairs(list) do
    if not is_name(name, kinds) then return false end
  end
  return true
end

local function is_args(args)
  return type(args) == "table" and are_names(args.slots, "opd") and capdata.take(args) ~= nil
end

local function is_message(delivery)
  return is_name(delivery[2], "od") and type(delivery[3]) == "string" and is_args(delivery[4])
    and (delivery[5] == nil or is_name(delivery[5], "p"))
end

local function are_resolutions(list)
  if type(list) ~= "table" then return false end
  for _, each in ipairs(list) do
    if type(each) ~= "table" or not (is_name(each[1], "p") and is_args(each[3])) then
      return false
    end
  end
  return true
end

local function is_delivery(delivery)
  local form = type(delivery) == "table" and DELIVERIES[delivery[1]]
  if form == "args" then return is_message(delivery) end
  if form == "resolutions" then return are_resolutions(delivery[2]) end
  return form == "nothing" or form == "names" and are_names(delivery[2], "od")
end

local function is_bound(value)
  return value == nil or math.type(value) == "integer" and value > 0
end

local function is_crank(record)
  return type(record) == "table" and type(record.vat) == "string" and is_delivery(record.delivery)
    and type(record.syscalls) == "table" and (record.ended == nil or type(record.ended) == "string")
end

--- What is wrong with the form of a transcript; nil if nothing is.
---@param records any
---@return string?
function M.complaint(records)
  local first = records[1]
  if type(first) ~= "table" or type(first.vats) ~= "table" then
    return "the first record does not name the vats"
  end
  local names = {}
  for i, bounds in ipairs(first.vats) do
    if type(bounds) ~= "table" or type(bounds.name) ~= "string" then
      return ("the first record's vat %d has no name"):format(i)
    end
    if names[bounds.name] then return ("the first record names %q twice"):format(bounds.name) end
    names[bounds.name] = true
    for _, name in ipairs{ "meter", "memory" } do
      if not is_bound(bounds[name]) then
        return ("the first record's vat %d has no integer as its %s"):format(i, name)
      end
    end
  end
  for i = 2, #records do
    if not is_crank(records[i]) then return ("record %d is no record of a crank"):format(i) end
  end
end

-- ---- keeping ----------------------------------------------------------------------------------

--- A transcript, in memory; or in a file, which then holds it alone.
---@param path string?
---@return lethe.vat.Transcript?
---@return string? message
---@return "not_writable"|nil code
function M.new(path)
  local self = setmetatable({ list = { { vats = {} } }, path = path, file = nil }, Transcript)
  if path then
    local file, message = io.open(path, "wb")
    if not file then return nil, message, "not_writable" end
    file:setvbuf("line")
    self.file = file
  end
  return self
end

-- The vats that no line names yet.
local function write_vats(self)
  if not self.list[1].vats[1] then return end
  self.file:write(files.line(self.list[1]), "\n")
  self.list[1].vats = {}
end

--- A vat was made.
---@param vat { name: string, meter: integer?, memory: integer? }
function Transcript:vat(vat)
  table.insert(self.list[1].vats, vat)
end

--- A crank is over.
---@param record table
function Transcript:add(record)
  if self.file then
    write_vats(self)
    self.file:write(files.line(record), "\n")
  else
    self.list[#self.list + 1] = record
  end
end

--- Copies of all records.
---@return table[]
function Transcript:records()
  if not self.file then return copy(self.list) end
  write_vats(self)
  self.file:flush()
  return assert(files.read(self.path))
end

--- Nothing is added any more.
function Transcript:close()
  if not self.file then return end
  write_vats(self)
  self.file:close()
  self.file = nil
end

--- The records of a file, looked through.
---@param path string
---@return table[]?
---@return string? message
---@return "not_found"|"bad_format"|nil code
function M.read(path)
  local records, message, code = files.read(path)
  if not records then return nil, message, code end
  message = M.complaint(records)
  if message then return nil, ("%s: %s"):format(path, message), "bad_format" end
  return records
end

return M
