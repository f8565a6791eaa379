-- Finds spec files: a path that names a file is taken as it is, a directory is searched for names
-- that match a pattern, hidden entries left aside.
local M = {}

-- The names in a directory, or nil for what is no directory. Stock Lua cannot list one by itself.
local function list(path)
  local found, core = pcall(require, "lethe.core.cli")
  if found then
    return core.list(path)
  end
  local quoted = "'" .. path:gsub("'", "'\\''") .. "/.'"
  local pipe <close> = assert(io.popen("ls -A " .. quoted .. " 2>/dev/null"))
  local names = {}
  for name in pipe:lines() do
    names[#names + 1] = name
  end
  return pipe:close() and names or nil
end

local function is_file(path)
  local file = io.open(path, "rb")
  if not file then
    return false
  end
  local readable = file:read(0) ~= nil or file:seek("end") == 0
  file:close()
  return readable
end

local function collect(path, names, pattern, result)
  table.sort(names)
  for _, name in ipairs(names) do
    if name:sub(1, 1) ~= "." then
      local full = path:gsub("/+$", "") .. "/" .. name
      local inner = list(full)
      if inner then
        collect(full, inner, pattern, result)
      elseif name:find(pattern) then
        result[#result + 1] = full
      end
    end
  end
end

---@param paths string[]
---@param pattern string what the name of a spec file in a directory matches
---@return string[] files
---@return { path: string, message: string }[] problems paths that are neither file nor directory
function M.find(paths, pattern)
  local result, problems = {}, {}
  for _, path in ipairs(paths) do
    local names = list(path)
    if names then
      collect(path, names, pattern, result)
    elseif is_file(path) then
      result[#result + 1] = path
    else
      local _, message = io.open(path, "rb")
      problems[#problems + 1] = { path = path, message = message or path .. ": not a file" }
    end
  end
  return result, problems
end

return M
