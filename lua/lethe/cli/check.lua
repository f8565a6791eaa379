-- `lethe check`: tries policies that stand in files.
local options = require "lethe.cli.options"

local M = {}

M.summary = "try a policy and say what is wrong with it"

local OPTIONS <const> = {
  { name = "help", short = "h", help = "this text" },
}

---@return string
function M.help()
  return "usage: lethe check POLICY.lua ...\n\n"
    .. "Loads each file as a policy, of caches or of memory quotas, in a state of its own, tries\n"
    .. "it on a few requests, and prints what is wrong with it, a line for each problem. The exit\n"
    .. "code is 0 if nothing is.\n\n" .. options.describe(OPTIONS)
end

-- What is wrong with the policy in that file.
local function problems_of(path)
  local policy <const> = require "lethe.policy"
  local text, message = policy.load(path)
  if not text then return { message } end
  local _ <close> = text
  local result = policy.check(text)
  return result == true and {} or result
end

-- One problem, with the file before it: a message that names a place in the file begins with its
-- name.
local function line_of(path, problem)
  local name <const> = path:match("[^/]+$") or path
  if problem:sub(1, #name + 1) == name .. ":" then problem = problem:sub(#name + 2) end
  return ("%s:%s%s\n"):format(path, problem:find("^%d") and "" or " ",
    (problem:gsub("^ ", ""):gsub("\n", " ")))
end

---@param args string[]
---@return integer exit code
function M.main(args)
  local given, rest = options.parse(args, OPTIONS)
  local usage_error = require("lethe.cli").usage_error
  if given == nil then
    return usage_error(rest .. "; see lethe check --help")
  elseif given.help then
    io.stdout:write(M.help())
    return 0
  elseif #rest == 0 then
    return usage_error("check takes the file of a policy; see lethe check --help")
  end
  local code = 0
  for _, path in ipairs(rest) do
    local problems <const> = problems_of(path)
    for _, problem in ipairs(problems) do
      io.stdout:write(line_of(path, problem))
      code = 1
    end
    if #problems == 0 then io.stdout:write(path, ": fine\n") end
  end
  return code
end

return M
