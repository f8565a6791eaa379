-- A small capability system of three vats: an issuer of money, a bank and a shop.
--
-- Who holds a purse may spend what is in it; nobody can make money but the issuer, and nobody needs
-- to ask who somebody is. Purses are exports of the issuer and imports of the bank and the shop.
-- What is paid with is spent: the shop lets go of it, and once nobody needs it the issuer forgets
-- it.
--
--   local roots = shop.open(kernel)
--   local result = shop.play(kernel, roots)
-- luacheck: no self, read globals E far when weak_map

local M = { builds = {} }

-- Purses of one currency. The ledger recognizes them, and keeps none alive.
function M.builds.issuer()
  local ledger = weak_map()
  local purse

  local methods = {}
  function methods:balance() return ledger:get(self) end

  function methods:deposit(amount, from)
    local have = ledger:get(from)
    if not have then error("no purse of ours", 0) end
    if amount < 0 or amount > have then error("not enough money", 0) end
    ledger:set(from, have - amount)
    ledger:set(self, ledger:get(self) + amount)
  end

  function methods:split(amount)
    local new = purse(0)
    new:deposit(amount, self)
    return new
  end

  function purse(amount)
    local new = far{
      balance = methods.balance, deposit = methods.deposit, split = methods.split,
    }
    ledger:set(new, amount)
    return new
  end

  return { mint = function(_, amount) return purse(amount) end }
end

-- Accounts under names; who may draw on one gets a purse with the money.
function M.builds.bank()
  local accounts = {}
  local root = {}

  function root:open(name, purse) accounts[name] = purse end
  function root:balance(name) return E(accounts[name]):balance() end
  function root:draw(name, amount) return E(accounts[name]):split(amount) end
  function root:close(name) accounts[name] = nil end

  return root
end

-- Sells tickets, objects of its own, for purses that hold their price.
function M.builds.shop()
  local prices = { apple = 3, pear = 5 }
  local till
  local root = {}

  function root:set_till(purse) till = purse end
  function root:takings() return E(till):balance() end

  function root:buy(item, payment)
    local price = prices[item]
    if not price then error("we have no " .. item, 0) end
    return when(E(till):deposit(price, payment), function()
      return far{ item = function() return item end }
    end)
  end

  return root
end

--- The vats of a kernel; `shop` may be another one that does the same.
function M.open(kernel, shop)
  local roots = {
    issuer = kernel:vat("issuer", M.builds.issuer),
    bank = kernel:vat("bank", M.builds.bank),
  }
  roots.shop = shop and kernel:raw_vat("shop", shop) or kernel:vat("shop", M.builds.shop)
  return roots
end

--- Alice has 20 in the bank, and buys: what she gets, and what is left.
function M.play(kernel, roots)
  local function ask(...)
    local value, message, code = kernel:await(kernel:send(...))
    if code then error(message) end
    return value
  end
  ask(roots.bank, "open", "alice", ask(roots.issuer, "mint", 20))
  ask(roots.shop, "set_till", ask(roots.issuer, "mint", 0))
  local tickets = {}
  for i, item in ipairs{ "apple", "pear", "apple" } do
    tickets[i] = ask(roots.shop, "buy", item, ask(roots.bank, "draw", "alice", 5))
  end
  local _, refused = kernel:await(kernel:send(roots.shop, "buy", "apple", roots.bank))
  return {
    tickets = tickets, refused = refused,
    alice = ask(roots.bank, "balance", "alice"), takings = ask(roots.shop, "takings"),
  }
end

return M
