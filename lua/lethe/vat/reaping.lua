-- When a vat is due for a bringOutYourDead: an expression over what it has done since its last
-- one.
--
-- `deliveries` counts its deliveries, `gc_krefs` the names in those that told it of collections
-- elsewhere. The expression may hold what one of a policy's may: numbers, these two names,
-- arithmetic, comparisons, `and`, `or`, `not`, parentheses, and min max log sqrt floor; true counts
-- as 1, false as 0.

local base = require "lethe.core.base"

local M = {}

local FUNCTIONS <const> = {
  min = math.min, max = math.max, log = math.log, sqrt = math.sqrt, floor = math.floor,
}
local NAMES <const> = { "deliveries", "gc_krefs", "min", "max", "log", "sqrt", "floor" }
local WORDS <const> = { ["and"] = true, ["or"] = true, ["not"] = true }
for _, name in ipairs(NAMES) do WORDS[name] = true end

-- What is wrong with the text, if something is.
local function complaint(text)
  local rest = text:gsub("%d+%.?%d*[eE]?[+-]?%d*", " ")
  for word in rest:gmatch("[%a_][%w_]*") do
    if not WORDS[word] then
      return ('unknown name "%s"%s'):format(word, base.hint(word, NAMES))
    end
  end
  local stray = rest:gsub("[%a_][%w_]*", ""):match("[^%s%+%-%*/%%%^%(%),<>=~]")
  return stray and ("unexpected %q"):format(stray)
end

local function number(value)
  if value == true then return 1 end
  return type(value) == "number" and value or 0
end

--- The expression as a function; raises at `level` for what is none.
---@param text string
---@param level integer
---@return fun(deliveries: integer, gc_krefs: integer): number
function M.compile(text, level)
  if type(text) ~= "string" then
    error(("reap must be an expression (got %s)"):format(type(text)), level + 1)
  end
  local message = complaint(text)
  local chunk, why = load(("local deliveries, gc_krefs = ... return (%s)"):format(text), "=reap",
    "t", FUNCTIONS)
  message = message or (not chunk and why:gsub("^reap:1: ", ""))
  if not message and not pcall(chunk, 1, 1) then message = "no number comes of it" end
  if message then error(("bad option reap: %s in %q"):format(message, text), level + 1) end
  return function(deliveries, gc_krefs)
    local ok, value = pcall(chunk, deliveries, gc_krefs)
    return ok and number(value) or 0
  end
end

return M
