-- The sandbox's table library. What walks over a table is Lua, so that a meter counts each step
-- and a length of 2^60 given by __len ends with the budget; `sort` is a merge sort, whose order of
-- comparisons depends on nothing but the list (the C library's pivot may come from the clock).
local check = require "lethe.sandbox.check"

local error, getmetatable, select, tostring, type = error, getmetatable, select, tostring, type
local real_concat, pack, unpack = table.concat, table.pack, table.unpack
local bad, int, list = check.bad, check.int, check.list

local M = {}

-- ---- sorting ------------------------------------------------------------------------------------

-- Merges from[low..mid) and from[mid..high) into `into`; equal elements keep their order. An order
-- function that contradicts itself gives some permutation.
local function merge(from, into, low, mid, high, less)
  local i, j = low, mid
  for k = low, high - 1 do
    if i < mid and (j >= high or not less(from[j], from[i])) then
      into[k] = from[i]
      i = i + 1
    else
      into[k] = from[j]
      j = j + 1
    end
  end
end

local function merge_sort(values, n, less)
  local from, into, width = values, {}, 1
  while width < n do
    for low = 1, n, 2 * width do
      local mid = low + width
      merge(from, into, low, mid < n + 1 and mid or n + 1,
        mid + width < n + 1 and mid + width or n + 1, less)
    end
    from, into, width = into, from, 2 * width
  end
  return from
end

local function natural(a, b)
  return a < b
end

-- Without an order function: raises, at the policy's line, for what `<` cannot compare. Values with
-- metatables may know how.
local function check_comparable(values, n)
  local kind = type(values[1])
  for i = 2, n do
    local value = values[i]
    local other = type(value)
    if kind ~= "table" and other ~= "table" and other ~= kind then
      error("attempt to compare " .. other .. " with " .. kind, 3)
    elseif other ~= "number" and other ~= "string" and getmetatable(value) == nil then
      error("attempt to compare two " .. other .. " values", 3)
    end
  end
end

-- ---- moving elements ----------------------------------------------------------------------------

--- table.move
function M.move(a, first, last, to, b)
  list(a, 1, "move")
  first, last, to = int(first, 2, "move"), int(last, 3, "move"), int(to, 4, "move")
  if b == nil then b = a end
  list(b, 5, "move")
  if last < first then return b end
  if first <= 0 and last >= math.maxinteger + first then
    bad(3, "move", "too many elements to move")
  end
  if to > math.maxinteger - (last - first) then bad(4, "move", "destination wrap around") end
  if to > last or to <= first or a ~= b then
    for i = 0, last - first do b[to + i] = a[first + i] end
  else
    for i = last - first, 0, -1 do b[to + i] = a[first + i] end
  end
  return b
end

-- ---- the library --------------------------------------------------------------------------------

local function length_of(t)
  return #t
end

-- Those that change a list; `length` says where it ends.
local function add_changes(lib, length)
  function lib.sort(t, less)
    local n, values = length(list(t, 1, "sort")), {}
    if less ~= nil then check.fn(less, 2, "sort") end
    for i = 1, n do values[i] = t[i] end
    if not less then check_comparable(values, n) end
    values = merge_sort(values, n, less or natural)
    for i = 1, n do t[i] = values[i] end
  end

  function lib.insert(t, ...)
    local n, given = length(list(t, 1, "insert")) + 1, select("#", ...)
    if given == 1 then
      t[n] = (...)
      return
    end
    if given ~= 2 then error("wrong number of arguments to 'insert'", 2) end
    local pos, value = ...
    pos = int(pos, 2, "insert")
    if pos < 1 or pos > n then bad(2, "insert", "position out of bounds") end
    for i = n, pos + 1, -1 do t[i] = t[i - 1] end
    t[pos] = value
  end

  function lib.remove(t, ...)
    local n = length(list(t, 1, "remove"))
    local pos = int((...), 2, "remove", n)
    if pos ~= n and (pos < 1 or pos > n + 1) then bad(2, "remove", "position out of bounds") end
    local value = t[pos]
    for i = pos, n - 1 do t[i] = t[i + 1] end
    t[pos < n and n or pos] = nil
    return value
  end
end

--- A table library whose functions charge what they burn. `sort` is stable.
---@param charge fun(n: integer)
---@param length? fun(t: table): integer where a list ends; `#` by default
---@return table
function M.library(charge, length)
  length = length or length_of
  local lib = { move = M.move }
  add_changes(lib, length)

  function lib.concat(t, sep, i, j)
    list(t, 1, "concat")
    sep = sep == nil and "" or check.text(sep, 2, "concat")
    i = int(i, 3, "concat", 1)
    j = j == nil and length(t) or int(j, 4, "concat")
    local parts, n, size = {}, 0, 0
    for k = i, j do
      local value = t[k]
      local kind = type(value)
      if kind ~= "string" and kind ~= "number" then
        error("invalid value (at index " .. tostring(k) .. ") in table for 'concat'", 2)
      end
      n = n + 1
      value = tostring(value)
      parts[n], size = value, size + #value + #sep
    end
    charge(size // 16)
    return real_concat(parts, sep)
  end

  function lib.pack(...)
    charge(select("#", ...))
    return pack(...)
  end

  function lib.unpack(t, i, j)
    list(t, 1, "unpack")
    i = int(i, 2, "unpack", 1)
    j = j == nil and length(t) or int(j, 3, "unpack")
    if i > j then return end
    local n = j - i + 1
    if n <= 0 or n > check.MAX_RESULTS then error("too many results to unpack", 2) end
    charge(n)
    return check.call(unpack, t, i, j)
  end

  return lib
end

return M
