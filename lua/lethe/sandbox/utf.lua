-- The sandbox's utf8 library: Lua's own functions, charged by the bytes they may look at; `codes`
-- steps in Lua.
local check = require "lethe.sandbox.check"

local error, select, utf8 = error, select, utf8
local abs, byte = math.abs, string.byte
local text, int, span, call = check.text, check.int, check.span, check.call

local M = {}

-- How many continuation bytes follow the one at `at`.
local function run(s, at)
  local n = 0
  while (byte(s, at + n + 1) or 0) & 0xC0 == 0x80 do n = n + 1 end
  return n
end

--- A utf8 library whose functions charge what they burn.
---@param charge fun(n: integer)
---@return table
function M.library(charge)
  local lib = { charpattern = utf8.charpattern }

  function lib.char(...)
    charge(select("#", ...))
    return call(utf8.char, ...)
  end

  function lib.codepoint(s, i, j, lax)
    s, i = text(s, 1, "codepoint"), int(i, 2, "codepoint", 1)
    j = int(j, 3, "codepoint", i)
    local n = span(#s, i, j)
    if n > check.MAX_RESULTS then error("string slice too long", 2) end
    charge(n)
    return call(utf8.codepoint, s, i, j, lax)
  end

  function lib.len(s, i, j, lax)
    s, i, j = text(s, 1, "len"), int(i, 2, "len", 1), int(j, 3, "len", -1)
    charge(span(#s, i, j) // 4)
    return call(utf8.len, s, i, j, lax)
  end

  function lib.offset(s, n, i)
    s, n = text(s, 1, "offset"), int(n, 2, "offset")
    i = int(i, 3, "offset", n > 0 and 1 or #s + 1)
    if i < 0 then i = #s + i + 1 end
    if i < 1 or i > #s + 1 then check.bad(3, "offset", "position out of bounds") end
    if n ~= 0 and (byte(s, i) or 0) & 0xC0 == 0x80 then
      error("initial position is a continuation byte", 2)
    end
    local most = #s // 4
    charge(most)
    local at = utf8.offset(s, n, i)
    if at then charge(abs(at - i) // 4 - most) end
    return at
  end

  function lib.codes(s, lax)
    local iterate, _, zero = utf8.codes(text(s, 1, "codes"), lax)
    return function(subject, at)
      subject, at = text(subject, 1, "codes"), int(at, 2, "codes")
      -- the C function steps over any number of continuation bytes; six are too many
      if at > 0 and run(subject, at) > 6 then error("invalid UTF-8 code", 2) end
      return call(iterate, subject, at)
    end, s, zero
  end

  return lib
end

return M
