-- The same shop with another tracker in it: not Lua's collector but reference counts with leases
-- (lib/leases.lua), as a raw vat. The issuer and the bank cannot tell the difference.
--
--   lethe spec/examples/vat_leases.lua [LEASE]
--
-- The shop releases each purse when it has been paid, but for every third, which it forgets: these
-- go when their lease, counted in deliveries to the shop, has run out.
local vat = require "lethe.vat"
local leases = dofile "spec/examples/lib/leases.lua"
local shop = dofile "spec/examples/lib/shop.lua"

local LEASE <const> = math.tointeger(tonumber((...) or "20"))

-- What `builds.shop` of lib/shop.lua does, by hand.
local function raw_shop(syscall)
  local tracker = leases.new(syscall, LEASE)
  local prices = { apple = 3, pear = 5 }
  local till
  local made, paid = 0, 0
  local waiting, tickets = {}, {} -- by the promise of the payment; what each ticket is for

  local function fulfill(result, args) syscall.resolve{ { result, false, args } } end
  local function refuse(result, why) syscall.resolve{ { result, true, { data = why } } } end

  -- Asks the till; `waiting` says what is to come of the answer.
  local function ask(method, args, entry)
    made = made + 1
    local vpid = "p+" .. made
    syscall.send(till, method, args, vpid)
    syscall.subscribe(vpid)
    waiting[vpid] = entry
  end

  local root = {}

  function root.set_till(result, purse)
    till = purse
    tracker:hold(purse)
    fulfill(result)
  end

  function root.takings(result)
    ask("balance", nil, { result = result })
  end

  function root.buy(result, item, payment)
    if not prices[item] then return refuse(result, "we have no " .. item) end
    tracker:hold(payment)
    ask("deposit", { data = { prices[item] }, slots = { payment } },
      { result = result, item = item, payment = payment })
  end

  local function sell(entry)
    made = made + 1
    local ticket = "o+" .. made
    tickets[ticket] = entry.item
    paid = paid + 1
    if paid % 3 ~= 0 then tracker:release(entry.payment) end -- a bug, which the lease makes good
    fulfill(entry.result, { slots = { ticket } })
  end

  return {
    deliver = function(vref, method, args, result)
      tracker:tick()
      if till then tracker:renew(till) end
      if tickets[vref] then return fulfill(result, { data = tickets[vref] }) end
      if not root[method] then return refuse(result, "there is no method " .. method) end
      root[method](result, vat.unpack(args))
    end,
    notify = function(resolutions)
      tracker:tick()
      for _, each in ipairs(resolutions) do
        local entry = waiting[each.vpid]
        waiting[each.vpid] = nil
        if each.rejected or not entry.item then
          syscall.resolve{ { entry.result, each.rejected, each.args } }
        else
          sell(entry)
        end
      end
    end,
    retire_exports = function(vrefs)
      for _, vref in ipairs(vrefs) do tickets[vref] = nil end
    end,
    bring_out_your_dead = function() tracker:bring_out_your_dead() end,
  }
end

-- How many purses of the issuer's are known elsewhere.
local function purses(kernel)
  local n = 0
  for _, row in ipairs(kernel:clist("issuer")) do
    if row.vref:find("^o%+[1-9]") then n = n + 1 end
  end
  return n
end

local kernel <close> = vat.kernel{}
local roots = shop.open(kernel, raw_shop)
local result = shop.play(kernel, roots)
print(("bought %d tickets; alice has %d left, the till %d; a purse of nobody's: %s"):format(
  #result.tickets, result.alice, result.takings, result.refused))
local counts = { purses(kernel) }
result = nil
kernel:collect()
counts[2] = purses(kernel)
local more = 0
while purses(kernel) > 2 do -- alice's and the till
  more = more + 1
  kernel:await(kernel:send(roots.shop, "takings"))
  kernel:collect()
end
counts[3] = purses(kernel)
print(("purses: %d, then %d once those that were released had gone, then %d"):format(
  table.unpack(counts)))
print(("the last lease ran out after %d more questions"):format(more))
local builds = { issuer = shop.builds.issuer, bank = shop.builds.bank, shop = { raw = raw_shop } }
assert(vat.replay(kernel:transcript(), builds))
print("the leases end at the same places when it is run again")
return { counts = counts, more = more, ended = kernel:stats().ended, result = result }
