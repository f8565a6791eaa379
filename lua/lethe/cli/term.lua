-- What the terminal allows: colour and progress only on one, only if it is not a dumb one, and
-- never when NO_COLOR is present and not empty.
local M = {}

local found, core = pcall(require, "lethe.core.cli")

---Seconds on a clock that only goes forward.
M.clock = found and core.now or os.clock

---Whether a stream may get colours and lines that are drawn over.
---@param stream file*
---@return boolean
function M.is_rich(stream)
  local no_colour = os.getenv("NO_COLOR")
  if no_colour ~= nil and no_colour ~= "" then
    return false
  end
  local kind = os.getenv("TERM")
  return found and core.isatty(stream) and kind ~= nil and kind ~= "dumb"
end

---The true standard output for a report that machines read. From then on whatever else writes to
---standard output, this program or its children, reaches standard error.
---@return file*
function M.take_stdout()
  if not found then
    return io.stdout
  end
  io.stdout:flush()
  return core.take_stdout()
end

return M
