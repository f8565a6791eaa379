-- How a vat joins a kernel: its record there, its root's handle, and the bounds that it is given.

local base = require "lethe.core.base"
local check = require "lethe.check"
local clist = require "lethe.vat.clist"
local crank = require "lethe.vat.crank"
local host = require "lethe.vat.host"

local M = {}

--- What a kernel knows of a vat.
---@param name string
---@return table vat
function M.record(name)
  return {
    name = name, clist = clist.new(), driver = nil, root = nil, ended = nil, doomed = nil,
    due = false, -- waits for its bringOutYourDead
    deliveries = 0, gc_krefs = 0, -- since its last one
  }
end

--- The vat joins with its root, o+0, which the kernel itself holds.
---@param k table
---@param vat table
---@param driver table
---@param bounds table
---@return lethe.vat.Presence root
function M.join(k, vat, driver, bounds)
  vat.driver = driver
  vat.root = k.counts:new_object(vat.name)
  vat.clist:export("o+0", vat.root)
  k.counts:add(vat.root)
  k.names[vat.name] = true
  k.vats[vat.name] = vat
  table.insert(k.living, vat)
  if driver.pending then k.queue:push{ start = vat } end
  k.transcript:vat(bounds)
  local root = host.handle(k, vat.root)
  crank.end_doomed(k)
  return root
end

--- The bounds of a vat in a state of its own, as the transcript has them, and its account.
---@param name string
---@param given { account: lethe.quota.Account?, meter: integer?, memory: integer|string|nil }
---@param level integer where misuse is reported, 1 being the caller
---@return table bounds
---@return lethe.quota.Account? account
function M.bounds(name, given, level)
  base.options(given, { "account", "meter", "memory" }, level + 1)
  local account = given.account
  if account ~= nil and base.type(account) ~= "quota.Account" then
    error(("account must be a lethe.quota.Account (got %s)"):format(base.type(account)
      or type(account)), level + 1)
  end
  return {
    name = name, meter = check.positive(given, "meter", level + 1),
    memory = check.size(given, "memory", level + 1),
  }, account
end

return M
