-- Lua 5.4 patterns, matched in Lua. The C library's matcher takes time of a high power of the
-- subject's length and no hook sees it; here every step is instructions, which a meter counts.
--
-- `compile` turns a pattern into a list of nodes, one per item; captures are numbered then, since
-- a pattern has no alternatives. `exec` searches. What the C library finds out only when a match
-- comes to it (a malformed item) is refused at once here; else the two agree.
--
-- A node is { kind = }, and, by kind:
--   one          set: one byte of it           more, less, maybe   set: `*` or `+`, `-`, `?`
--   open, close  capture: its number           balance             x, y: the bytes of `%bxy`
--   frontier     set                           back                capture
--   finish       the `$` at the end
-- A set is a table from bytes to booleans, filled on demand; nil, the end of the subject, is in
-- none.
local setmetatable = setmetatable
local byte, char, find, sub = string.byte, string.char, string.find, string.sub

local M = {}

M.MAX_CAPTURES = 32
M.MAX_BRANCHES = 200

-- ---- sets ---------------------------------------------------------------------------------------

local function set_of(test)
  return setmetatable({}, {
    __index = function(set, b)
      local answer = b ~= nil and test(b)
      if b then set[b] = answer end
      return answer
    end,
  })
end

local ANY = set_of(function() return true end)

-- The C library's classes, one set for each letter that is one (%z, an old one, works still).
local CLASS = {}
for letter in ("acdglpsuwxzACDGLPSUWXZ"):gmatch(".") do
  local item = "%" .. letter
  CLASS[byte(letter)] = set_of(function(b) return find(char(b), item) ~= nil end)
end

local function literal(b)
  return { [b] = true }
end

-- The position of the "]" that ends the set whose first item is at `i`; that item may be a "]".
local function bracket_end(pattern, i)
  repeat
    if i > #pattern then return nil end
    i = i + (byte(pattern, i) == 37 and i < #pattern and 2 or 1)
  until byte(pattern, i) == 93
  return i
end

-- Reads the set that opens with "[" at `at`; returns it and the position after its "]".
local function bracket(pattern, at)
  local parts, negated = {}, byte(pattern, at + 1) == 94 -- ^
  local i = at + (negated and 2 or 1)
  local stop = bracket_end(pattern, i)
  if not stop then return nil, "malformed pattern (missing ']')" end
  while i < stop do
    local b = byte(pattern, i)
    if b == 37 then
      i = i + 1
      b = byte(pattern, i)
      parts[#parts + 1] = { set = CLASS[b], low = b, high = b }
    elseif byte(pattern, i + 1) == 45 and i + 2 < stop then
      i = i + 2
      parts[#parts + 1] = { low = b, high = byte(pattern, i) }
    else
      parts[#parts + 1] = { low = b, high = b }
    end
    i = i + 1
  end
  return set_of(function(c)
    for k = 1, #parts do
      local part = parts[k]
      if part.set then
        if part.set[c] then return not negated end
      elseif part.low <= c and c <= part.high then
        return not negated
      end
    end
    return negated
  end), stop + 1
end

-- ---- compiling ----------------------------------------------------------------------------------

local SUFFIX = { [42] = "more", [43] = "more", [45] = "less", [63] = "maybe" } -- * + - ?

-- A single-character item at `at`, without its suffix: its set and the position after it.
local function single(pattern, at)
  local b = byte(pattern, at)
  if b == 46 then return ANY, at + 1 end
  if b == 91 then return bracket(pattern, at) end
  if b ~= 37 then return literal(b), at + 1 end
  b = byte(pattern, at + 1)
  if not b then return nil, "malformed pattern (ends with '%')" end
  return CLASS[b] or literal(b), at + 2
end

-- Items that begin with "%" and are no single character; nil for others.
local function special(prog, pattern, at)
  local b = byte(pattern, at + 1)
  if b == 98 then -- %bxy
    local x, y = byte(pattern, at + 2, at + 3)
    if not y then return nil, "malformed pattern (missing arguments to '%b')" end
    return { kind = "balance", x = x, y = y }, at + 4
  elseif b == 102 then -- %f[set]
    if byte(pattern, at + 2) ~= 91 then return nil, "missing '[' after '%f' in pattern" end
    local set, after = bracket(pattern, at + 2)
    if not set then return nil, after end
    return { kind = "frontier", set = set }, after
  elseif b and b >= 48 and b <= 57 then -- %1
    local number = b - 48
    if number == 0 or number > prog.captures or prog.open[number] then
      return nil, "invalid capture index %" .. number .. " in pattern"
    end
    return { kind = "back", capture = number }, at + 2
  end
end

local function opening(prog, pattern, at)
  if prog.captures == M.MAX_CAPTURES then return nil, "too many captures" end
  prog.captures = prog.captures + 1
  local number = prog.captures
  if byte(pattern, at + 1) == 41 then -- ()
    prog.position[number] = true
    return { kind = "open", capture = number }, at + 2
  end
  prog.open[number] = true
  prog.pending[#prog.pending + 1] = number
  return { kind = "open", capture = number }, at + 1
end

local function closing(prog, _, at)
  local number = table.remove(prog.pending)
  if not number then return nil, "invalid pattern capture" end
  prog.open[number] = false
  return { kind = "close", capture = number }, at + 1
end

-- One item at `at`: its node and the position after it. x+ becomes two nodes.
local function item(prog, pattern, at)
  local b = byte(pattern, at)
  if b == 40 then return opening(prog, pattern, at) end
  if b == 41 then return closing(prog, pattern, at) end
  if b == 36 and at == #pattern then return { kind = "finish" }, at + 1 end
  if b == 37 then
    local node, after = special(prog, pattern, at)
    if node or after then return node, after end
  end
  local set, after = single(pattern, at)
  if not set then return nil, after end
  local suffix = byte(pattern, after)
  local kind = SUFFIX[suffix]
  if not kind then return { kind = "one", set = set }, after end
  if suffix == 43 then prog[#prog + 1] = { kind = "one", set = set } end
  prog.branches = prog.branches + 1
  return { kind = kind, set = set }, after + 1
end

-- Whether the C library's matcher takes linear time for it: at most one repetition, with nothing
-- behind it that could send the matcher back.
local function is_linear(prog)
  local repeated = false
  for i = 1, #prog do
    local kind = prog[i].kind
    if kind == "balance" or kind == "back" then return false end
    if repeated and kind ~= "open" and kind ~= "close" then return false end
    repeated = repeated or kind == "more" or kind == "less" or kind == "maybe"
  end
  return true
end

---@class lethe.sandbox.Pattern the nodes, and
---@field captures integer how many there are
---@field position table<integer, boolean> which of them are positions
---@field anchored boolean begins with ^
---@field linear boolean may be left to the C library
---@field from integer[] of the last match: where each capture begins
---@field upto integer[] and the position after its end

--- Compiles a pattern.
---@param pattern string
---@return lethe.sandbox.Pattern? prog
---@return string? message why it is malformed
function M.compile(pattern)
  local prog = {
    captures = 0, position = {}, open = {}, pending = {}, branches = 0, from = {}, upto = {},
    anchored = byte(pattern) == 94, linear = false, first = false,
    subject = false, last = 0, charge = false, -- of the search under way
  }
  local at = prog.anchored and 2 or 1
  while at <= #pattern do
    local node, after = item(prog, pattern, at)
    if not node then return nil, after end
    prog[#prog + 1] = node
    at = after
  end
  if #prog.pending > 0 then return nil, "unfinished capture" end
  if prog.branches > M.MAX_BRANCHES then return nil, "pattern too complex" end
  prog.linear = is_linear(prog)
  local first = prog[1]
  prog.first = first and first.kind == "one" and first.set or false
  return prog
end

-- ---- matching -----------------------------------------------------------------------------------

-- Nodes that lead to at most one position: they return it, or nil.
local simple = {}

function simple.open(prog, node, pos)
  prog.from[node.capture] = pos
  return pos
end

function simple.close(prog, node, pos)
  prog.upto[node.capture] = pos
  return pos
end

function simple.finish(prog, _, pos)
  return pos > prog.last and pos or nil
end

function simple.frontier(prog, node, pos)
  local set, subject = node.set, prog.subject
  local before = pos > 1 and byte(subject, pos - 1) or 0
  return not set[before] and set[byte(subject, pos) or 0] and pos or nil
end

function simple.balance(prog, node, pos)
  local subject, x, y, depth = prog.subject, node.x, node.y, 1
  if byte(subject, pos) ~= x then return nil end
  for at = pos + 1, prog.last do
    local b = byte(subject, at)
    if b == y then
      depth = depth - 1
      if depth == 0 then return at + 1 end
    elseif b == x then
      depth = depth + 1
    end
  end
end

function simple.back(prog, node, pos)
  local number, subject = node.capture, prog.subject
  if prog.position[number] then return nil end
  local from, upto = prog.from[number], prog.upto[number]
  local after = pos + upto - from
  if after - 1 > prog.last then return nil end
  prog.charge((upto - from) // 16 + 1)
  return sub(subject, from, upto - 1) == sub(subject, pos, after - 1) and after or nil
end

-- Matches the nodes from the i-th on at pos; returns the position after the match, or nil. It is
-- Lua calling Lua, as deep as the pattern has repetitions: no stack of C is used.
local match

-- Nodes that try several positions for what follows.
local branch = {}

function branch.more(prog, node, i, pos)
  local set, subject, stop = node.set, prog.subject, pos
  while set[byte(subject, stop)] do stop = stop + 1 end
  for at = stop, pos, -1 do
    local after = match(prog, i, at)
    if after then return after end
  end
end

function branch.less(prog, node, i, pos)
  local set, subject = node.set, prog.subject
  while true do
    local after = match(prog, i, pos)
    if after then return after end
    if not set[byte(subject, pos)] then return nil end
    pos = pos + 1
  end
end

function branch.maybe(prog, node, i, pos)
  if node.set[byte(prog.subject, pos)] then
    local after = match(prog, i, pos + 1)
    if after then return after end
  end
  return match(prog, i, pos)
end

function match(prog, i, pos)
  local subject = prog.subject
  for k = i, #prog do
    local node = prog[k]
    local kind = node.kind
    if kind == "one" then
      if not node.set[byte(subject, pos)] then return nil end
      pos = pos + 1
    elseif simple[kind] then
      pos = simple[kind](prog, node, pos)
      if not pos then return nil end
    else
      return branch[kind](prog, node, k + 1, pos)
    end
  end
  return pos
end

--- Searches the subject from `pos` on. The captures of the match stand in prog.from and prog.upto
--- until the next search.
---@param prog lethe.sandbox.Pattern
---@param subject string
---@param pos integer from 1 to #subject + 1
---@param charge fun(n: integer) for work that is no instructions
---@return integer? first
---@return integer? last
function M.exec(prog, subject, pos, charge)
  local first, last = prog.first, #subject
  prog.subject, prog.last, prog.charge = subject, last, charge
  repeat
    if not first or first[byte(subject, pos)] then
      local after = match(prog, 1, pos)
      if after then
        prog.subject = false
        return pos, after - 1
      end
    end
    pos = pos + 1
  until pos > last + 1 or prog.anchored
  prog.subject = false
end

--- The value of a capture of the last match: a string, or a position.
---@param prog lethe.sandbox.Pattern
---@param subject string
---@param number integer
---@return string | integer
function M.capture(prog, subject, number)
  if prog.position[number] then return prog.from[number] end
  return sub(subject, prog.from[number], prog.upto[number] - 1)
end

return M
