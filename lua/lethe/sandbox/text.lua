-- The sandbox's string library. Functions of the C library stay where their time is known before
-- they begin, and charge it: about one instruction per 16 bytes touched. Patterns are matched in
-- Lua (lethe.sandbox.pattern), but for those that the C library matches in linear time.
local check = require "lethe.sandbox.check"
local pattern = require "lethe.sandbox.pattern"

local error, ipairs, select, string, tostring, type = error, ipairs, select, string, tostring, type
local byte, concat, sub = string.byte, table.concat, string.sub
local max, min = math.max, math.min
local text, int, span, call = check.text, check.int, check.span, check.call
local capture = pattern.capture

local M = {}

local BYTES_PER_UNIT = 16
local SPECIAL = "[%^$*+?.(%[%%-]" -- without one of these, a search is a plain one
local SHORT = 64 -- not worth a charge
local PROGRAMS_KEPT = 64

-- Functions whose time goes with the length of what they are given, or of what they take out of it.
local function add_simple(lib, charge)
  for _, name in ipairs { "lower", "reverse", "upper" } do
    local real = string[name]
    lib[name] = function(s)
      s = text(s, 1, name)
      if #s > SHORT then charge(#s // 8) end
      return real(s)
    end
  end

  function lib.len(s)
    return #text(s, 1, "len")
  end

  function lib.sub(s, i, j)
    s, i, j = text(s, 1, "sub"), int(i, 2, "sub"), int(j, 3, "sub", -1)
    if #s > SHORT then charge(span(#s, i, j) // BYTES_PER_UNIT) end
    return sub(s, i, j)
  end

  function lib.byte(s, i, j)
    s, i = text(s, 1, "byte"), int(i, 2, "byte", 1)
    j = int(j, 3, "byte", i)
    if i == j then return byte(s, i) end
    local n = span(#s, i, j)
    if n > check.MAX_RESULTS then error("string slice too long", 2) end
    charge(n)
    return call(byte, s, i, j)
  end
end

-- Functions that take many values, or build a string of a length known beforehand.
local function add_builders(lib, charge)
  local char, rep = string.char, string.rep

  function lib.char(...)
    charge(select("#", ...))
    return call(char, ...)
  end

  function lib.rep(s, n, sep)
    s, n = text(s, 1, "rep"), int(n, 2, "rep")
    sep = sep == nil and "" or text(sep, 3, "rep")
    local each = #s + #sep
    if n <= 0 or each == 0 then return "" end -- the C library would go n times around nothing
    if each > (1 << 48) // n then error("resulting string too large", 2) end
    charge(each * n // BYTES_PER_UNIT)
    if each < SHORT and #sep == 0 and n > SHORT then
      local block, rest = rep(s, SHORT), n % SHORT
      s = rep(block, n // SHORT)
      return rest == 0 and s or s .. sub(block, 1, rest * each)
    end
    charge(n)
    return rep(s, n, sep)
  end

  for _, name in ipairs { "format", "pack", "packsize", "unpack" } do
    local real = string[name]
    lib[name] = function(format, ...)
      format = text(format, 1, name)
      charge(#format + select("#", ...))
      return call(real, format, ...)
    end
  end
end

-- ---- patterns -----------------------------------------------------------------------------------

-- program(pattern) -> compiled pattern; a malformed one raises at the policy's line.
local function programs()
  local kept, count = {}, 0
  return function(source)
    if kept[source] then return kept[source] end
    local prog, message = pattern.compile(source)
    if not prog then error(message, 3) end
    if count == PROGRAMS_KEPT then
      kept, count = {}, 0
    end
    kept[source], count = prog, count + 1
    return prog
  end
end

-- The captures from the k-th on, as values.
local function captures_from(prog, s, k)
  if k > prog.captures then return end
  return capture(prog, s, k), captures_from(prog, s, k + 1)
end

-- What match and gmatch give: the captures, or the whole match where there are none.
local function captures(prog, s, first, last)
  if prog.captures == 0 then return sub(s, first, last) end
  return captures_from(prog, s, 1)
end

-- Where a search begins; nil past the end.
local function start(s, init, name)
  local pos = int(init, 3, name, 1)
  if pos < 0 then pos = #s + pos + 1 end
  pos = max(pos, 1)
  if pos > #s + 1 then return nil end
  return pos
end

-- Hands back what lay behind the match, and all where nothing but the first position was tried.
local function settle(charge, weight, s, pos, anchored, first, last, ...)
  if first then
    charge(-weight * (#s - last))
    return first, last, ...
  end
  if anchored then charge(-weight * (#s - pos)) end
  return nil
end

-- A search that the C library does in linear time; the whole distance is charged before.
local function c_find(charge, weight, s, source, pos, plain)
  charge(weight * (#s - pos + 2))
  local anchored = not plain and byte(source) == 94
  return settle(charge, weight, s, pos, anchored, string.find(s, source, pos, plain))
end

local function linear(charge, s, source, pos)
  return c_find(charge, 1 + #source // 4, s, source, pos, false)
end

local function whole_or_captures(s, first, last, ...)
  if not first then return nil end
  if select("#", ...) == 0 then return sub(s, first, last) end
  return ...
end

local function add_searches(lib, charge, program)
  function lib.find(s, source, init, plain)
    s, source = text(s, 1, "find"), text(source, 2, "find")
    local pos = start(s, init, "find")
    if not pos then return nil end
    if plain or not string.find(source, SPECIAL) then
      return c_find(charge, 1 + #source // 64, s, source, pos, true)
    end
    local prog = program(source)
    if prog.linear then return linear(charge, s, source, pos) end
    local first, last = pattern.exec(prog, s, pos, charge)
    if not first then return nil end
    return first, last, captures_from(prog, s, 1)
  end

  function lib.match(s, source, init)
    s, source = text(s, 1, "match"), text(source, 2, "match")
    local pos = start(s, init, "match")
    if not pos then return nil end
    local prog = program(source)
    if prog.linear then return whole_or_captures(s, linear(charge, s, source, pos)) end
    local first, last = pattern.exec(prog, s, pos, charge)
    if not first then return nil end
    return captures(prog, s, first, last)
  end

  function lib.gmatch(s, source, init)
    s, source = text(s, 1, "gmatch"), text(source, 2, "gmatch")
    local pos = start(s, init, "gmatch") or #s + 2
    if byte(source) == 94 then source = "%" .. source end -- here a ^ is no anchor
    local prog, last_end = program(source), nil
    return function()
      while pos <= #s + 1 do
        local first, last = pattern.exec(prog, s, pos, charge)
        if not first then break end
        if last + 1 ~= last_end then
          pos, last_end = last + 1, last + 1
          return captures(prog, s, first, last)
        end
        pos = pos + 1 -- the empty match at the end of the last one
      end
      pos = #s + 2
      return nil
    end
  end
end

-- ---- gsub ---------------------------------------------------------------------------------------

-- A replacement string as a list of strings and capture numbers; raises at the policy's line.
local function template(repl, prog)
  local list, from = {}, 1
  while true do
    local at = string.find(repl, "%", from, true)
    if not at then break end
    local b = byte(repl, at + 1)
    list[#list + 1] = sub(repl, from, at - 1)
    if b == 37 then
      list[#list + 1] = "%"
    elseif b and b >= 48 and b <= 57 then
      local number = b - 48
      if number > max(prog.captures, 1) then
        error("invalid capture index %" .. number .. " in replacement string", 4)
      end
      list[#list + 1] = prog.captures == 0 and 0 or number
    else
      error("invalid use of '%' in replacement string", 4)
    end
    from = at + 2
  end
  list[#list + 1] = sub(repl, from)
  return list
end

-- replacer(prog, s, first, last) -> string, or nil to keep the match; by the type of repl.
local function replacer(repl, prog)
  local kind = type(repl)
  if kind == "string" or kind == "number" then
    local list = template(tostring(repl), prog)
    return function(_, s, first, last)
      local out = {}
      for i = 1, #list do
        local part = list[i]
        if part == 0 then
          part = sub(s, first, last)
        elseif type(part) == "number" then
          part = capture(prog, s, part)
        end
        out[i] = part
      end
      return concat(out)
    end
  elseif kind == "table" then
    return function(_, s, first, last)
      return repl[captures(prog, s, first, last)]
    end
  elseif kind == "function" then
    return function(_, s, first, last)
      return (repl(captures(prog, s, first, last)))
    end
  end
end

-- The new text and how often something was replaced. The value of a replacement is checked here.
local function substitute(charge, prog, s, replace, limit)
  local out, pos, count, last_end, size = {}, 1, 0, nil, 0
  local function add(part)
    out[#out + 1] = part
    size = size + #part
  end
  while count < limit do
    local first, last = pattern.exec(prog, s, pos, charge)
    if not first then break end
    if last + 1 == last_end then
      if pos > #s then break end
      add(sub(s, pos, pos))
      pos = pos + 1
    else
      add(sub(s, pos, first - 1))
      count, pos, last_end = count + 1, last + 1, last + 1
      local value = replace(prog, s, first, last)
      if not value then
        value = sub(s, first, last)
      elseif type(value) ~= "string" and type(value) ~= "number" then
        error("invalid replacement value (a " .. type(value) .. ")", 2)
      end
      add(tostring(value))
    end
    if prog.anchored then break end
  end
  add(sub(s, pos))
  charge(size // BYTES_PER_UNIT)
  return concat(out), count
end

local function add_gsub(lib, charge, program)
  function lib.gsub(s, source, repl, limit)
    s, source = text(s, 1, "gsub"), text(source, 2, "gsub")
    limit = int(limit, 4, "gsub", #s + 1)
    local prog = program(source)
    local replace = replacer(repl, prog)
    if not replace then
      check.bad(3, "gsub", "string/function/table expected, got " .. type(repl))
    end
    if prog.linear and type(repl) == "string" then
      charge((1 + #source // 4) * (#s + 1) + min(limit, #s + 1) * #repl // BYTES_PER_UNIT)
      return string.gsub(s, source, repl, limit)
    end
    return substitute(charge, prog, s, replace, limit)
  end
end

--- A string library whose functions charge what they burn.
---@param charge fun(n: integer) takes n off the budget; a negative n gives back
---@return table
function M.library(charge)
  local lib, program = {}, programs()
  add_simple(lib, charge)
  add_builders(lib, charge)
  add_searches(lib, charge, program)
  add_gsub(lib, charge, program)
  return lib
end

return M
