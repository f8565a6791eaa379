-- Counts what a test runner says about spec files: passed, failed and skipped, read from its TAP.
local M = {}

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function count(command, paths)
  local words = { command }
  for _, path in ipairs(paths) do
    words[#words + 1] = quote(path)
  end
  local result = { passed = 0, failed = 0, skipped = 0, lines = {} }
  local pipe <close> = assert(io.popen(table.concat(words, " ")))
  for line in pipe:lines() do
    result.lines[#result.lines + 1] = line
    if line:find("^not ok ") then
      result.failed = result.failed + 1
    elseif line:find("^ok .*# SKIP") then
      result.skipped = result.skipped + 1
    elseif line:find("^ok ") then
      result.passed = result.passed + 1
    end
  end
  return result
end

---What `lethe spec` says.
---@param program string the executable
---@param paths string[]
---@return { passed: integer, failed: integer, skipped: integer, lines: string[] }
function M.lethe(program, paths)
  return count(quote(program) .. " spec -o tap --", paths)
end

---What busted says. LUA and BUSTED name it where it is elsewhere.
---@param paths string[]
---@return { passed: integer, failed: integer, skipped: integer, lines: string[] }
function M.busted(paths)
  local lua, busted = os.getenv("LUA") or "lua5.4", os.getenv("BUSTED") or "/usr/bin/busted"
  return count(("%s %s -o TAP --"):format(lua, busted), paths)
end

---@return boolean
function M.same(a, b)
  return a.passed == b.passed and a.failed == b.failed and a.skipped == b.skipped
end

---@return string
function M.text(counts)
  return ("%d passed, %d failed, %d skipped"):format(counts.passed, counts.failed, counts.skipped)
end

return M
