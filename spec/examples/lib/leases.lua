-- A tracker of imports for raw vats: reference counts with leases, in place of a collector.
--
-- The vat says when it holds a name and when it has done with it; what it forgets to give back is
-- given back for it once its lease has run out. Time is counted in deliveries, so that a lease ends
-- at the same place whenever the vat runs again.
--
--   local tracker = leases.new(syscall, 20)
--   tracker:tick()                  at each delivery
--   tracker:hold(vref)              one more use of it; the lease begins anew
--   tracker:renew(vref)             it is still wanted: the same
--   tracker:release(vref)           one fewer
--   tracker:bring_out_your_dead()   drops and retires what is not used, or was not for so long
local M = {}

local Tracker = {}
Tracker.__index = Tracker

function M.new(syscall, lease)
  return setmetatable({ syscall = syscall, lease = lease, now = 0, held = {} }, Tracker)
end

function Tracker:tick()
  self.now = self.now + 1
end

function Tracker:hold(vref)
  local entry = self.held[vref] or { count = 0 }
  entry.count, entry.ends = entry.count + 1, self.now + self.lease
  self.held[vref] = entry
end

function Tracker:release(vref)
  local entry = self.held[vref]
  if entry then entry.count = entry.count - 1 end
end

-- It is still wanted: the lease begins anew.
function Tracker:renew(vref)
  local entry = self.held[vref]
  if entry then entry.ends = self.now + self.lease end
end

function Tracker:bring_out_your_dead()
  local dead = {}
  for vref, entry in pairs(self.held) do
    if entry.count <= 0 or entry.ends <= self.now then dead[#dead + 1] = vref end
  end
  table.sort(dead)
  for _, vref in ipairs(dead) do self.held[vref] = nil end
  self.syscall.dropImports(dead)
  self.syscall.retireImports(dead)
end

return M
