-- The shop of lib/shop.lua: three vats, what they hold of each other while people buy, what is left
-- once nobody needs it, and the same again from the transcript.
--
--   lethe spec/examples/vat_shop.lua
local vat = require "lethe.vat"
local shop = dofile "spec/examples/lib/shop.lua"

local function show(kernel)
  for _, name in ipairs{ "issuer", "bank", "shop" } do
    local held = {}
    for i, row in ipairs(kernel:clist(name)) do
      held[i] = ("%s=%s%s"):format(row.vref, row.kref, row.reachable and "" or "?")
    end
    print(("  %-7s %s"):format(name, table.concat(held, " ")))
  end
end

local kernel <close> = vat.kernel{}
local roots = shop.open(kernel)
do
  local result = shop.play(kernel, roots)
  print(("bought %d tickets; alice has %d left, the till %d; a purse of nobody's: %s"):format(
    #result.tickets, result.alice, result.takings, result.refused))
  print "while the tickets are kept:"
  show(kernel)
end
local cranks = kernel:collect() -- the tickets are gone: nobody here has them any more
print(("after %d cranks of collecting:"):format(cranks))
show(kernel)
local records = kernel:transcript()
assert(vat.replay(records, shop.builds))
print(("all %d records came again"):format(#records))
return { records = records, stats = kernel:stats() }
