-- Results as CSV (RFC 4180): lines end in CR LF, and what has a comma, a quote or a line's end in
-- it stands in quotes.

local M = {}

local COLUMNS <const> = { "policy", "size", "capacity", "requests", "misses", "miss_ratio",
  "byte_miss_ratio", "seconds", "mreq_s", "failed" }

local function field(value)
  if value == nil then return "" end
  local text = math.type(value) == "float" and ("%.10g"):format(value) or tostring(value)
  if text:find('[",\r\n]') then return '"' .. text:gsub('"', '""') .. '"' end
  return text
end

---@param results lethe.sim.Result[]
---@return string
function M.text(results)
  local lines = { table.concat(COLUMNS, ",") }
  for _, row in ipairs(results) do
    local fields = {}
    for i, column in ipairs(COLUMNS) do
      fields[i] = field(row[column])
    end
    lines[#lines + 1] = table.concat(fields, ",")
  end
  return table.concat(lines, "\r\n") .. "\r\n"
end

return M
