-- Reading LuaLS annotations: what docscov checks and reference.lua writes down.
local sources = require "spec.tools.sources"

local M = {}

--- The module that a file under lua/ is, or is the stub of.
---@param path string
---@return string
function M.module_of(path)
  return (path:gsub("^lua/", ""):gsub("/meta/lethe%.lua$", ""):gsub("/meta/", "/")
    :gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

--- Calls fn(class, name, block, parameters, line) for each `function Var.name(...)` of a file. A
--- variable stands for the class annotated above it; M, unannotated, for the module of the file.
---@param path string
---@param fn fun(class: string, name: string, block: string, parameters: string, line: integer)
function M.each_function(path, fn)
  local class_of, block, class, line = { M = M.module_of(path) }, {}, nil, 0
  for text in (sources.read(".", path) .. "\n"):gmatch("([^\n]*)\n") do
    line = line + 1
    if text:find("^%-%-") then
      block[#block + 1] = text
      class = text:match("^%-%-%-@class%s+([%w_.]+)") or class
    else
      local var = text:match("^local%s+([%w_]+)")
      if var and class then class_of[var] = class end
      local owner, name, parameters = text:match("^function%s+([%w_]+)[.:]([%w_]+)%((.-)%)")
      if not owner then
        owner, name, parameters = text:match("^([%w_]+)%.([%w_]+)%s*=%s*function%((.-)%)")
      end
      if owner and class_of[owner] and name:sub(1, 1) ~= "_" then
        fn(class_of[owner], name, table.concat(block, "\n"), parameters, line)
      end
      block, class = {}, nil
    end
  end
end

return M
