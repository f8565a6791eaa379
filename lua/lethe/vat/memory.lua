--- The memory of a vat under a quota account: what its state holds is claimed when a crank ends,
-- and before anything of that crank leaves. A pass that asks the vat for memory has its heap
-- collected,
-- which nothing inside can tell.

local M = {}

---@class lethe.vat.Memory
local Memory = {}
Memory.__index = Memory

-- Claims, or gives back, the difference; nil and a message where the account has no room.
function Memory:settle()
  local more <const> = (self.state:stats()) - self.claimed
  if more > 0 then
    local ok, message = self.participation:claim(more)
    if not ok then return nil, message end
  elseif more < 0 then
    self.participation:release(-more)
  end
  self.claimed = self.claimed + more
  return true
end

--- The participation ends, and what was claimed comes back.
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
  local self = setmetatable({ state = state, claimed = 0, age = now() }, Memory)
  local participation, message = account:participant{
    get_oldest = function() return self.age end,
    reclaim = function()
      if not state:collect() then return nil end
      self:settle()
      return "partial"
    end,
  }
  if not participation then return nil, message end
  self.participation = participation
  local ok, why = self:settle()
  if ok then return self end
  self:close()
  return nil, why
end

return M
