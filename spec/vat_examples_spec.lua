-- The examples of lethe.vat: a shop among three vats, and the same with another tracker of imports.
local scenario = require("lethe.spec").scenario
local vat = require "lethe.vat"

local shop <const> = dofile "spec/examples/lib/shop.lua"

-- Runs an example with these arguments; what it returned, and what it printed.
local function run(name, ...)
  local printed = {}
  local env = setmetatable({ print = function(...)
    printed[#printed + 1] = table.concat({ ... }, "\t")
  end }, { __index = _G })
  local chunk = assert(loadfile("spec/examples/" .. name .. ".lua", "t", env))
  return chunk(...), table.concat(printed, "\n")
end

local function count(set)
  local n = 0
  for _ in pairs(set) do n = n + 1 end
  return n
end

describe("the shop of three vats", function()
  it("sells for money, and to nobody without", scenario(function(s)
    local k = s:kernel()
    local result = shop.play(k, shop.open(k))
    assert.are.same({ 3, 5, 11, "no purse of ours" },
      { #result.tickets, result.alice, result.takings, result.refused })
    for i, item in ipairs{ "apple", "pear", "apple" } do
      assert.are.equal(item, k:await(k:send(result.tickets[i], "item")))
    end
  end))

  it("holds of each other what is needed, and no more", scenario(function(s)
    local k = s:kernel()
    local roots = shop.open(k)
    local result = shop.play(k, roots)
    s:collect()
    assert.are.equal(3, count(s:exports(k, "shop"))) -- the tickets, which the test holds
    assert.are.same({ ["o-1"] = "reachable" }, s:imports(k, "shop")) -- the till
    assert.are.same({ ["o-1"] = "reachable" }, s:imports(k, "bank")) -- alice's purse
    assert.are.same({ ["o+10"] = "reachable", ["o+11"] = "reachable" }, s:exports(k, "issuer"))
    for _, ticket in ipairs(result.tickets) do ticket:close() end
    s:collect()
    assert.are.same({}, s:exports(k, "shop"))
    k:await(k:send(roots.bank, "close", "alice"))
    s:collect()
    assert.are.same({}, s:imports(k, "bank"))
    assert.are.same({ ["o+11"] = "reachable" }, s:exports(k, "issuer"))
    assert.is_true(k:check())
  end))

  it("says of each purse that was spent that it dropped and retired it, once", scenario(function(s)
    local k = s:kernel()
    shop.play(k, shop.open(k))
    s:collect()
    local said = {}
    for _, line in ipairs(s:collected(k, "shop")) do
      local what, names = line:match("^(%a+Imports) (.*)$")
      for name in (names or ""):gmatch("%S+") do
        said[what .. " " .. name] = (said[what .. " " .. name] or 0) + 1
      end
    end
    local expected = { ["dropImports o-5"] = 1, ["retireImports o-5"] = 1 } -- the bank, no purse
    for i = 2, 4 do
      expected["dropImports o-" .. i], expected["retireImports o-" .. i] = 1, 1
    end
    assert.are.same(expected, said)
  end))

  it("does the same again from its transcript", scenario(function(s)
    local k = s:kernel()
    shop.play(k, shop.open(k))
    k:collect()
    assert.is_true(vat.replay(k:transcript(), shop.builds))
  end))

  it("prints who holds what", function()
    local result, out = run("vat_shop")
    assert.are.same({}, result.stats.ended)
    assert.is_truthy(out:find("bought 3 tickets; alice has 5 left, the till 11", 1, true))
    assert.is_truthy(out:find("\n  issuer  o+0=ko1 o+10=ko4 o+11=ko5\n", 1, true))
    assert.is_truthy(out:find(("all %d records came again"):format(#result.records), 1, true))
  end)
end)

describe("the shop with leases", function()
  it("does what the other shop does, and its purses go", function()
    local result, out = run("vat_leases", "20")
    assert.are.same({ 5, 3, 2 }, result.counts)
    assert.are.same({}, result.ended)
    assert.is_true(result.more > 0)
    assert.is_truthy(out:find("bought 3 tickets; alice has 5 left, the till 11", 1, true))
    assert.is_truthy(out:find("the leases end at the same places", 1, true))
  end)

  it("lets what was forgotten go when its lease ends: the shorter, the sooner", function()
    local before = math.huge
    for _, lease in ipairs{ 40, 20, 5 } do
      local more = run("vat_leases", tostring(lease)).more
      assert.is_true(more < before)
      before = more
    end
    assert.are.equal(0, before)
  end)
end)
