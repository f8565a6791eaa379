-- A vat whose root runs what it is sent, for specs of what a vat's code can do.
local lethe = require "lethe"

local M = {}
M.__index = M

local ROOT <const> = [[
local vat = ...
local root = {}
local held = {}
function root:run(source, ...) return assert(load(source, "=code"))(...) end
function root:hold(x) held[#held + 1] = x return x end
function root:drop() held = {} end
function root:far() return far{} end
function root:echo(...) return ... end
return root
]]

---A kernel with a vat "v"; `bounds` as in Kernel:vat.
---@param bounds table?
---@return table
function M.new(bounds)
  local k = lethe.vat.kernel{}
  return setmetatable({ k = k, root = k:vat("v", ROOT, bounds) }, M)
end

---What the code returns, through the kernel; nil, message, code where it fails.
---@param source string
function M:run(source, ...)
  return self.k:await(self.k:send(self.root, "run", source, ...))
end

---The message of the error that the code raises.
---@param source string
---@return string
function M:refusal(source, ...)
  local value, message, code = self:run(source, ...)
  if code ~= "rejected" then
    error(("not rejected: %s %s %s"):format(tostring(value), tostring(message), tostring(code)), 2)
  end
  return message
end

---The lines that were printed.
---@return string[]
function M:lines()
  local lines = {}
  for i, each in ipairs(self.k:stats().output) do lines[i] = each.line end
  return lines
end

---How the vat ended: its code, or nil.
---@param name string?
---@return string?
function M:ended(name)
  local how = self.k:stats().ended[name or "v"]
  return how and how.code
end

function M:close()
  local ok, message = self.k:check()
  self.k:close()
  if not ok then error(message, 2) end
end

return M
