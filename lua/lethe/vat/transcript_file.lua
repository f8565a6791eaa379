-- Transcripts as files: a line of JSON for each record.
--
-- The first line names the vats that were there before the first crank; each that was made later
-- has a line { "vats": [it] } of its own, and reading puts them together. What stands as `data` is
-- written as it is if it is a text; any other value, or bytes that are no UTF-8, as { "value": text
-- } in the form of lethe.vat.marshal.

local capdata = require "lethe.vat.capdata"
local json = require "lethe.json"
local marshal = require "lethe.vat.marshal"

local M = {}

-- ---- writing ----------------------------------------------------------------------------------

local function list(values)
  return json.array(table.move(values, 1, #values, 1, {}))
end

local function write_args(args)
  local data = args.data
  if data ~= nil and not (type(data) == "string" and utf8.len(data)) then
    data = { value = (marshal.encode{ data, n = 1 }) }
  end
  return { data = data, slots = list(args.slots) }
end

local write = {}

-- Both a delivery and a syscall.
local function write_message(message)
  local copy = list(message)
  copy[4] = write_args(message[4])
  copy[5] = message[5]
  return copy
end
write.deliver, write.send = write_message, write_message

local function write_resolutions(call)
  local resolutions = json.array{}
  for i, each in ipairs(call[2]) do
    resolutions[i] = json.array{ each[1], each[2], write_args(each[3]) }
  end
  return json.array{ call[1], resolutions }
end
write.notify, write.resolve = write_resolutions, write_resolutions

local function write_call(call)
  local how = write[call[1]]
  if how then return how(call) end
  local copy = list(call)
  if type(call[2]) == "table" then copy[2] = list(call[2]) end
  return copy
end

--- A syscall or a delivery as text.
---@param call table
---@return string
function M.call(call)
  return json.encode(write_call(call))
end

--- A record as a line, without its end.
---@param record table
---@return string
function M.line(record)
  if record.vats then
    local vats = json.array{}
    for i, vat in ipairs(record.vats) do
      vats[i] = { name = vat.name, meter = vat.meter, memory = vat.memory }
    end
    return json.encode{ vats = vats }
  end
  local syscalls = json.array{}
  for i, call in ipairs(record.syscalls) do
    syscalls[i] = write_call(call)
  end
  return json.encode{
    vat = record.vat, delivery = write_call(record.delivery), syscalls = syscalls,
    ended = record.ended,
  }
end

-- ---- reading ----------------------------------------------------------------------------------

-- Without the marks of the JSON reader; null is nil.
local function plain(value)
  if value == json.null then return nil end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, each in next, value do
    copy[key] = plain(each)
  end
  return copy
end

-- Raises, for M.read, where a table has another key: what nobody reads could be changed unseen.
local function only(t, known, what)
  for key in next, t do
    if not known[key] then error(("%s has no %s"):format(what, tostring(key)), 0) end
  end
end

local ARGS <const> = { data = true, slots = true }
local BOUNDS <const> = { name = true, meter = true, memory = true }
local CRANK <const> = { vat = true, delivery = true, syscalls = true, ended = true }

local function read_args(args)
  if type(args) ~= "table" then return args end
  only(args, ARGS, "what is carried")
  local data = args.data
  if type(data) == "table" and type(data.value) == "string" then
    data = marshal.decode(data.value, {})[1]
  end
  return capdata.new(data, args.slots)
end

local function read_call(call)
  local kind = type(call) == "table" and call[1]
  if kind == "deliver" or kind == "send" then
    call[4] = read_args(call[4])
  elseif (kind == "notify" or kind == "resolve") and type(call[2]) == "table" then
    for i, each in ipairs(call[2]) do
      if type(each) == "table" then
        call[2][i] = capdata.resolution(each[1], each[2], read_args(each[3]))
      end
    end
  end
  return call
end

local function read_vats(record)
  only(record, { vats = true }, "a line that names vats")
  for _, bounds in ipairs(record.vats) do
    if type(bounds) == "table" then only(bounds, BOUNDS, "a vat") end
  end
  return record.vats
end

local function read_record(record)
  only(record, CRANK, "a record of a crank")
  record.delivery = read_call(record.delivery)
  for i, call in ipairs(type(record.syscalls) == "table" and record.syscalls or {}) do
    record.syscalls[i] = read_call(call)
  end
  return record
end

--- The records of a file.
---@param path string
---@return table[]?
---@return string? message
---@return "not_found"|"bad_format"|nil code
function M.read(path)
  local file <close>, why = io.open(path, "rb")
  if not file then return nil, why, "not_found" end
  local _, unreadable = file:read(0)
  if unreadable then return nil, ("%s: %s"):format(path, unreadable), "not_found" end
  local records, n = { { vats = {} } }, 0
  for line in file:lines() do
    n = n + 1
    local value, message = json.decode(line)
    local record = plain(value)
    if type(record) ~= "table" then
      return nil, ("%s:%d: %s"):format(path, n, message or "no record"), "bad_format"
    end
    local is_vats = type(record.vats) == "table"
    local ok, read = pcall(is_vats and read_vats or read_record, record)
    if not ok then return nil, ("%s:%d: %s"):format(path, n, tostring(read)), "bad_format" end
    if is_vats then
      table.move(read, 1, #read, #records[1].vats + 1, records[1].vats)
    else
      records[#records + 1] = read
    end
  end
  return records
end

return M
