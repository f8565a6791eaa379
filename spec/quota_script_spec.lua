-- The quota tracker in plain scripts, outside any task: the executable and a stock lua5.4 say the
-- same.
local program = require "spec.support.program"

local SCRIPT <const> = [[
local lethe = require "lethe"
local quota = require "lethe.quota"
assert(lethe.quota == quota)
local tracker = quota.new{
  max = "4M",
  low_water = "2M",
  on_event = function(e) print(e.type, e.name, e.outcome or e.level or e.freed) end,
}
local function cache(name, age)
  local account = tracker:account{ name = name }
  local self = { account = account }
  self.memory = account:participant{
    get_oldest = function() return age end,
    reclaim = function(_, request)
      print("asked", name, request.reason, request.goal)
      lethe.loop.default():sleep(0.001)
      return "collapsing"
    end,
  }
  return self
end
local old, young = cache("old", 1), cache("young", 2)
print(old.memory:claim("3M"), young.memory:claim("1536K"))
lethe.loop.default():run()
print(old.memory:claim(1))
print(young.memory:used(), tracker:used() == 1536 * 1024, tracker:check())
print(young.memory:claim_wait("1M"), young.memory:claim_wait("5M"))
local tx, rx = quota.queue{ account = young.account }
lethe.loop.default():spawn(function() tx:send("sent") end)
print(rx:recv(), tracker:reclaim("8M") > 0)
print(rx:recv())
tracker:close()
print(young.memory:claim(1))
print(pcall(tracker.used, tracker))
]]

local EXPECTED <const> = [[
pressure nil high
pressure nil critical
true true
reclaim_start nil nil
asked old max 2621440
pressure nil normal
victim old 3145728
reclaim_stop nil complete
nil the account is closed account_closed
1572864 true true
]]

local function run(command)
  local out, err, code = program.run(command .. " " .. program.file(SCRIPT))
  assert.are.same({ "", 0 }, { err, code })
  return (out:gsub("[^\n]+", function(line) return (line:gsub("%s+", " ")) end))
end

describe("a plain script with a tracker", function()
  after_each(program.clean)

  it("says the same under the executable and under a stock lua5.4", function()
    local ours = run("lethe")
    local path <const> = "LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='build/?.so;;' "
    local stock = run(path .. "lua5.4")
    assert.are.equal(ours, stock)
    local first = ours:sub(1, #EXPECTED):gsub("asked old max %d+", "asked old max 2621440")
    assert.are.equal(EXPECTED, first)
    assert.matches("\ntrue nil claim of 5242880 bytes .* over_limit\n", ours)
    assert.matches("\nsent true\n", ours)
    assert.matches("\nnil the queue's memory was reclaimed reclaimed\n", ours)
    assert.matches("\nnil the tracker is shut down tracker_shutdown\n", ours)
    assert.matches("false attempt to use a closed lethe.quota.Tracker\n$", ours)
  end)
end)
