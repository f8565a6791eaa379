-- The memory of a vat under a quota account: every byte of its state is claimed before it is
-- there. Where the account has no room the vat ends, as at a limit of its own. A pass that asks the
-- vat for memory has its heap collected, which nothing inside can tell.

local M = {}

---@class lethe.vat.Memory
local Memory = {}
Memory.__index = Memory

--- The participation ends; the state was closed before.
function Memory:close()
  self.participation:destroy()
end

--- Puts a vat's state under the account. Nil and a message where that has no room for it.
---@param account lethe.quota.Account
---@param state table
---@param now fun(): number how old the vat's data is said to be
---@return lethe.vat.Memory?
---@return string? message
function M.new(account, state, now)
  local age <const> = now()
  local participation, message = account:participant{
    get_oldest = function() return age end,
    reclaim = function() return state:collect() and "partial" or nil end,
  }
  if not participation then return nil, message end
  local ok, why = participation:claim((state:stats()))
  if not ok then
    participation:destroy()
    return nil, why
  end
  state:account(participation)
  return setmetatable({ participation = participation }, Memory)
end

return M
