-- A conversation with a vat that runs the probes of vat_probes.lua: what they said, what it cost,
-- and the transcript.
local json = require "lethe.json"
local lethe = require "lethe"
local marshal = require "lethe.vat.marshal"
local probes = require "spec.support.vat_probes"
local supervisor = require "lethe.vat.supervisor"

local M = {}

M.ROUNDS = 4

---One vat probes, another has the object whose presence comes and goes.
---@param schedule integer?
---@return string[] said the i-th probe of round r at (r - 1) * probes + i
---@return string transcript
function M.converse(schedule)
  local k <close> = lethe.vat.kernel{}
  local root = k:vat("v", probes.source(), { meter = 10000000, memory = "32M" })
  local other = k:vat("w", "return { far = function() return far{} end }")
  local x = k:await(k:send(other, "far"))
  if schedule then k:gc_schedule(schedule) end
  local said = {}
  for round = 1, M.ROUNDS do
    for i = 1, #probes.list do
      said[#said + 1] = assert(k:await(k:send(root, "probe", i, x)))
    end
    k:send(root, round % 2 == 0 and "drop" or "hold", x)
    k:send(root, "waste", round * 100)
    k:run()
    if round ~= 2 then k:reap("v") end
  end
  assert(next(k:stats().ended) == nil)
  return said, json.encode(k:transcript())
end

--- The instructions that each probe took, with the vat's driver in our hands. `plan(driver, crank)`
--- may
---have it collected before each crank.
---@param plan fun(driver: table, crank: integer)?
---@return integer[]
function M.costs(plan)
  local nothing = setmetatable({}, { __index = function() return function() end end })
  local driver = supervisor.new(probes.source(), { name = "v", meter = 10000000 }, nothing, 1)
  local costs = {}
  local function deliver(method, ...)
    if plan then plan(driver, #costs + 1) end
    local values = table.pack(...)
    local data, slots = marshal.encode(values, function(v) return type(v) == "table" and v[1] end)
    assert(driver:deliver("o+0", method, { data = data, slots = slots }, "p-" .. #costs + 1))
    costs[#costs + 1] = driver:stats().instructions
  end
  for round = 1, M.ROUNDS do
    for i = 1, #probes.list do deliver("probe", i, { "o-5" }) end
    deliver(round % 2 == 0 and "drop" or "hold", { "o-5" })
    deliver("waste", round * 100)
    if round % 2 == 0 then driver:bring_out_your_dead() end
  end
  driver:close()
  return costs
end

return M
