-- What a test wants to know of a kernel's vats: who holds what, and what was said of the dead.
local M = {}

---How the entries of a c-list stand whose names match a pattern.
---@param kernel lethe.vat.Kernel
---@param name string
---@param pattern string
---@return table<string, "reachable"|"recognizable">
function M.flags(kernel, name, pattern)
  local flags = {}
  for _, row in ipairs(kernel:clist(name)) do
    if row.vref:find(pattern) then
      flags[row.vref] = row.reachable and "reachable" or "recognizable"
    end
  end
  return flags
end

local COLLECTION <const> = {
  dropImports = true, retireImports = true, retireExports = true, dropExports = true,
}

local function tell(list, prefix, call)
  if COLLECTION[call[1]] then
    list[#list + 1] = ("%s%s %s"):format(prefix, call[1], table.concat(call[2], " "))
  end
end

---What a vat said and was told of objects that nobody needs, in order.
---@param kernel lethe.vat.Kernel
---@param name string
---@return string[]
function M.collected(kernel, name)
  local list = {}
  for _, record in ipairs(kernel:transcript()) do
    if record.vat == name then
      tell(list, "dispatch.", record.delivery)
      for _, call in ipairs(record.syscalls) do
        tell(list, "", call)
      end
    end
  end
  return list
end

return M
