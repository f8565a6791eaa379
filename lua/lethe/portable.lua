-- Functions that can go into another Lua state, as workers and vats take them: written in Lua, and
-- with no upvalue but _ENV, since an upvalue would stay behind.

local M = {}

--- Raises at `level` for a function that cannot go. `what` names who takes it ("a worker's
-- function"); `advice`, if there is one, ends the message about an upvalue.
---@param fn function
---@param what string
---@param advice string?
---@param level integer
function M.check(fn, what, advice, level)
  if debug.getinfo(fn, "S").what == "C" then
    error(what .. " cannot be a C function", level + 1)
  end
  local i = 1
  local name = debug.getupvalue(fn, i)
  while name do
    if name ~= "_ENV" then
      error(("%s cannot have upvalues: '%s' belongs to this state%s"):format(what, name,
        advice and " (" .. advice .. ")" or ""), level + 1)
    end
    i = i + 1
    name = debug.getupvalue(fn, i)
  end
end

return M
