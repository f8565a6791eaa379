-- Turning loops, and with a loop those that its tasks wait on: the lower inside of lethe.loop.

local base = require "lethe.core.base"
local core = require "lethe.core.loop"

local M = {}

-- Outlives a reloading of this module, since coroutines do: the tasks by coroutine; for each loop
-- the others that its tasks wait on, { loop, tickets } in order of their first wait; how many
-- tasks and tickets were made; how many tasks failed unjoined.
local function state()
  local shared = base.shared("loop")
  if not shared.tasks then
    shared.waits = setmetatable({}, { __mode = "k" })
    shared.made = 0
    shared.failures = 0
    shared.tasks = setmetatable({}, { __mode = "k" })
  end
  return shared
end

M.shared = state()
local waits = M.shared.waits

-- The loop and those that its tasks wait on, and theirs; nil when it stands alone.
local function companions(loop, list)
  for _, wait in ipairs(waits[loop] or {}) do
    list = list or { loop }
    local known = false
    for _, other in ipairs(list) do
      known = known or other == wait.loop
    end
    if not known and next(wait.tickets) ~= nil then
      list[#list + 1] = wait.loop
      companions(wait.loop, list)
    end
  end
  return list
end

--- One turn of a loop and of those that its tasks wait on; how many callbacks ran.
---@param loop lethe.loop.Loop
---@return integer
function M.turn(loop)
  local list = waits[loop] and companions(loop)
  if not list then return core.turn(loop) end
  local n = 0
  for _, each in ipairs(list) do
    n = n + core.turn(each)
  end
  return n
end

--- Whether anything is left that could happen.
---@param loop lethe.loop.Loop
---@return boolean
function M.alive(loop)
  if core.alive(loop) then return true end
  for _, each in ipairs(waits[loop] and companions(loop) or {}) do
    if core.alive(each) then return true end
  end
  return false
end

--- Sleeps until something happens.
---@param loop lethe.loop.Loop
function M.block(loop)
  local list = waits[loop] and companions(loop)
  if list then
    core.block(table.unpack(list))
  else
    core.block(loop)
  end
end

-- ---- books ------------------------------------------------------------------------------------

--- Books a ticket's wait on another loop than the task's own, so that whoever turns the one turns
--- the other.
function M.attend(ticket, home)
  if home == ticket.loop then return end
  local list = waits[home] or {}
  waits[home] = list
  local found
  for _, wait in ipairs(list) do
    if wait.loop == ticket.loop then found = wait end
  end
  if not found then
    found = { loop = ticket.loop, tickets = setmetatable({}, { __mode = "k" }) }
    list[#list + 1] = found
  end
  found.tickets[ticket] = true
  ticket.home, ticket.list, ticket.wait = home, list, found
end

--- Takes it off the books.
function M.unattend(ticket)
  local wait, list = ticket.wait, ticket.list
  if not wait then return end
  wait.tickets[ticket] = nil
  for i = #list, 1, -1 do -- those of coroutines that were collected go too
    if next(list[i].tickets) == nil then table.remove(list, i) end
  end
  if #list == 0 and waits[ticket.home] == list then waits[ticket.home] = nil end
end

--- Adds to `list` the tickets of other loops' tasks that wait on this one.
function M.waiting_on(loop, list)
  for _, others in pairs(waits) do
    for _, wait in ipairs(others) do
      for ticket in pairs(wait.loop == loop and wait.tickets or {}) do
        list[#list + 1] = ticket
      end
    end
  end
end

return M
