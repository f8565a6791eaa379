-- Names of objects as a vat says them: T(+|-)N, where T is o (object), p (promise) or d (device),
-- `+` was allocated by the vat and `-` by the kernel; o+dK/I[:F] and o+vK/I[:F] name what is
-- stored.

local M = {}

local NUMBER <const> = "^([opd])([+-])(%d+)$"
local STORED <const> = { "^o%+[dv](%d+)/(%d+)$", "^o%+[dv](%d+)/(%d+):(%d+)$" }
local DIGITS <const> = 15 -- of the longest number

local function is_number(digits)
  return #digits <= DIGITS and (digits == "0" or digits:byte() ~= 48)
end

local function is_stored(vref)
  for _, pattern in ipairs(STORED) do
    local a, b, c = vref:match(pattern)
    if a then return is_number(a) and is_number(b) and (not c or is_number(c)) end
  end
  return false
end

--- What a name stands for, "o", "p" or "d", and whether the vat allocated it; nil for what is no
--- name.
---@param vref any
---@return "o"|"p"|"d"|nil kind
---@return boolean? mine
function M.parse(vref)
  if type(vref) ~= "string" then return nil end
  local kind, sign, digits = vref:match(NUMBER)
  if kind then
    if not is_number(digits) then return nil end
    return kind, sign == "+"
  end
  if is_stored(vref) then return "o", true end
  return nil
end

return M
