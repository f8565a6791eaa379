-- A kernel's figures, as Kernel:stats gives them.

local gc_actions = require "lethe.vat.gc_actions"
local schedule = require "lethe.vat.schedule"
local transcript = require "lethe.vat.transcript"

local M = {}

-- For each living vat how many objects of others it can reach.
local function count_imports(k)
  local imports = {}
  for _, vat in ipairs(k.living) do
    local n = 0
    for _, row in ipairs(vat.clist:rows()) do
      if row.reachable and row.vref:find("^o%-") then n = n + 1 end
    end
    imports[vat.name] = n
  end
  return imports
end

---@param k table the kernel's state
---@return lethe.vat.KernelStats
function M.of(k)
  return {
    cranks = k.cranks,
    vats = #k.living,
    queue = #k.queue,
    gc_actions = gc_actions.count(k),
    objects = k.counts.live.o,
    promises = k.counts.live.p,
    handles = k.handles.open,
    imports = count_imports(k),
    ended = transcript.copy(k.ended),
    output = transcript.copy(k.output),
    schedule = schedule.counts(k.schedule),
  }
end

return M
