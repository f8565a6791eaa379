-- The ledger of together.lua, the function that its worker runs: a kernel with a vat that gives
-- leases, and a vat for each tenant that holds one for each block the tenant keeps. What tenants
-- say comes through a channel until that is closed. Returns how many leases each vat still imports
-- and how many it should, whether the kernel's counts agree, and whether the transcript replays.
local vat = require "lethe.vat"

-- luacheck: globals far weak_map E when
local builds = {
  ledger = function()
    local leases = weak_map()
    return {
      lease = function(_, block)
        local lease = far{ block = function() return block end }
        leases:set(lease, block)
        return lease
      end,
    }
  end,
}

local function holder()
  local held = {} -- luacheck: ignore 241
  return {
    keep = function(_, block, ledger)
      return when(E(ledger):lease(block), function(lease) held[block] = lease end)
    end,
    drop = function(_, block) held[block] = nil end,
  }
end

local function live_imports(kernel, name)
  local live = 0
  for _, row in ipairs(kernel:clist(name)) do
    if row.vref:find("^o%-") and row.reachable then live = live + 1 end
  end
  return live
end

return function(channel, tenants)
  local kernel <close> = vat.kernel{}
  local ledger, holders, kept = kernel:vat("ledger", builds.ledger), {}, {}
  for n = 1, tenants do
    builds["tenant " .. n] = holder
    holders[n], kept[n] = kernel:vat("tenant " .. n, holder), {}
  end
  while true do
    local message = channel:recv()
    if not message then break end
    local n, word, block = table.unpack(message)
    kept[n][block] = word == "keep" or nil
    kernel:send(holders[n], word, block, word == "keep" and ledger or nil)
    kernel:run()
  end
  kernel:reap()
  kernel:run()
  local result = { live = {}, kept = {}, cranks = kernel:stats().cranks }
  for n = 1, tenants do
    result.live[n], result.kept[n] = live_imports(kernel, "tenant " .. n), 0
    for _ in pairs(kept[n]) do
      result.kept[n] = result.kept[n] + 1
    end
  end
  result.agrees = kernel:check() == true
  result.replays = vat.replay(kernel:transcript(), builds) == true
  return result
end
