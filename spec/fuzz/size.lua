-- Sizes as text ("64K", "1.5M", "2 GiB"): what a reader of the contract takes for a size has the
-- value that a reader computes, everything else is refused with an error that shows the text.
local base = require "lethe.core.base"

local UNITS <const> = { [""] = 0, k = 10, m = 20, g = 30, t = 40, p = 50, e = 60 }

-- The value, from a pattern and the number that Lua reads; nil if it is no size.
local function read(text)
  local sign, digits, unit = text:match("^ *(%-?)([%d.]+) *([KMGTPEkmgtpe]?)i?[Bb]?$")
  if not digits or not digits:find("^%d*%.?%d*$") or not digits:find("%d") then return nil end
  if unit == "" and text:find("[iI][Bb]?$") then return nil end
  local value = tonumber((digits:gsub("^%.", "0."):gsub("%.$", ""))) * 2.0 ^ UNITS[unit:lower()]
  return sign == "-" and -value or value
end

return function(text)
  local ok, result = pcall(base.size, text, "max", 1)
  local value = read(text)
  if ok then
    assert(value, "taken for a size: " .. text)
    assert(math.abs(result - value) <= 2 + value * 1e-12, -- both round
      ("%s is %s, not %d"):format(text, value, result))
  else
    assert(type(result) == "string" and result:find("max", 1, true), result)
    assert(not value or value < 0 or value >= 9.2e18, ("%s is refused: %s"):format(text, result))
  end
end
