-- The subcommands of the executable. Each is a module lethe.cli.<word> with `summary`, `help` and
-- `main(args)`, which returns the exit code: 0 done, 1 failed, 2 wrong usage.
local base = require "lethe.core.base"

local M = {}

-- In the order in which `lethe help` lists them.
M.WORDS = { "spec", "sim", "check", "record", "vat", "replay", "help" }

---@param word string
---@return boolean
function M.is_word(word)
  for _, known in ipairs(M.WORDS) do
    if known == word then
      return true
    end
  end
  return false
end

---The module of a subcommand.
---@param word string
---@return table
function M.command(word)
  return require("lethe.cli." .. word)
end

---A complaint about usage: a line on stderr, and the exit code for it.
---@param message string
---@return integer
function M.usage_error(message)
  io.stderr:write("lethe: ", message, "\n")
  return 2
end

---An argument that no subcommand knows.
---@param word string
---@return integer
function M.unknown_word(word)
  return M.usage_error(("unknown command %q%s"):format(word, base.hint(word, M.WORDS)))
end

---Runs the subcommand args[1].
---@param args string[]
---@return integer exit code
function M.main(args)
  local word = args[1]
  if word == nil or not M.is_word(word) then
    return M.unknown_word(word or "")
  end
  return M.command(word).main(table.move(args, 2, #args, 1, {}))
end

return M
