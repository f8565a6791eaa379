-- A vat's turn: what it asks for while one of its callbacks runs.
--
-- Its syscalls are read and checked as they come, and kept. A call that is out of order is refused,
-- then every further one; with that, with its meter or memory spent, or with a failure, the turn
-- has ended the vat, and what it asked for before does not count.

local base = require "lethe.core.base"
local checker = require "lethe.vat.checker"
local syscalls = require "lethe.vat.syscalls"

local M = {}

local COLLECT <const> = "bring_out_your_dead"

-- What a driver's failure ends a vat as; any other, "failed" among them, as "terminated".
local CODES <const> = { meter = "meter", memory = "memory" }

---@class lethe.vat.Turn
---@field calls table[] the syscalls, in order
---@field ended string? the code that the vat ends with
---@field message string?

--- The six functions of a vat, `vat.turn` being its turn. `out_of_turn(message)` hears of calls
--- while there is none.
---@param vat { name: string, turn: lethe.vat.Turn? }
---@param out_of_turn fun(message: string)
---@return table<string, function>
function M.syscalls(vat, out_of_turn)
  return syscalls.table(function(name, ...)
    local turn = vat.turn
    if vat.ended then error(("vat %s has ended"):format(vat.name), 2) end
    if not turn then
      local message = name .. ": a syscall outside of a crank of this vat"
      out_of_turn(message)
      error(message, 2)
    end
    if not turn.ended then
      local call, message = syscalls.read(name, ...)
      message = message or turn.checker:check(call)
      if not message then
        turn.calls[#turn.calls + 1] = call
        return
      end
      turn.ended, turn.message = "illegal_syscall", message
    end
    error(turn.message, 2)
  end)
end

--- Calls the vat's driver.
---@param vat { name: string, clist: lethe.vat.CList, driver: table, turn: lethe.vat.Turn? }
---@param method string
---@return lethe.vat.Turn
function M.run(vat, method, ...)
  local turn = { calls = {}, checker = checker.new(vat.clist, method == COLLECT) }
  vat.turn = turn
  local done, ok, message, code = pcall(vat.driver[method], vat.driver, ...)
  vat.turn = nil
  if not done then
    ok, message = nil, tostring(ok)
  end
  if not ok and not turn.ended then
    turn.ended, turn.message = CODES[code] or "terminated", message or "the vat failed"
    if not CODES[code] then base.report(message, { callback = method, vat = vat.name }) end
  end
  if turn.ended then turn.calls = {} end
  return turn
end

return M
