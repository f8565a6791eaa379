-- Names that people type: finds the nearest known one, and refuses option tables with unknown keys.
local M = {}

-- Edit distance in which a swap of two neighbours counts as one step.
local function distance(a, b)
  local before, last = {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local change = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + change)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#b]
end

---The known name that `word` most likely stands for, if any is near.
---@param word string
---@param known string[]
---@return string? name
function M.nearest(word, known)
  local best, least = nil, math.max(1, math.min(3, #word // 2)) + 1
  for _, name in ipairs(known) do
    local d = distance(word, name)
    if d < least then
      best, least = name, d
    end
  end
  return best
end

---A hint to put behind "unknown ...", or the empty string.
---@param word string
---@param known string[]
---@return string
function M.hint(word, known)
  local name = M.nearest(word, known)
  return name and (" (did you mean %q?)"):format(name) or ""
end

---Raises at the caller of the caller when `options` is no table or has a key that is not known.
---@param options table
---@param known string[]
---@param call string how the caller is named in messages
function M.check(options, known, call)
  if type(options) ~= "table" then
    error(("bad argument #1 to '%s' (table expected, got %s)"):format(call, type(options)), 3)
  end
  local valid = {}
  for _, name in ipairs(known) do
    valid[name] = true
  end
  for key in pairs(options) do
    if not valid[key] then
      local word = tostring(key)
      error(("unknown option %q%s"):format(word, M.hint(word, known)), 3)
    end
  end
end

return M
