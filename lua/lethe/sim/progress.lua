-- A bar on the terminal: how many of so many are done. Nothing where standard error is none, or
-- with NO_COLOR.

local term = require "lethe.cli.term"

local M = {}

local WIDTH <const> = 40

local Bar = {}
Bar.__index = Bar

--- A bar for n steps, drawn on standard error if that is a terminal that may show one.
---@param n integer
---@param wanted boolean
function M.bar(n, wanted)
  local out = wanted and term.is_rich(io.stderr) and io.stderr or nil
  return setmetatable({ out = out, n = n, done = 0 }, Bar)
end

--- One step more; what is done now stands beside the bar.
---@param what string
function Bar:step(what)
  self.done = self.done + 1
  if not self.out then return end
  local filled <const> = self.done * WIDTH // self.n
  self.out:write(("\r%s%s %d/%d %-20.20s"):format(("█"):rep(filled), ("░"):rep(WIDTH - filled),
    self.done, self.n, what))
end

function Bar.__close(bar)
  if bar.out then bar.out:write("\r\27[K") end
end

return M
