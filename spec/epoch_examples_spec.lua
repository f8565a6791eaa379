-- The examples of lethe.epoch, run as a user runs them.
local program = require "spec.support.program"

local function run(name)
  local out, err, code = program.run("lethe spec/examples/" .. name)
  assert.are.same({ "", 0 }, { err, code })
  return out
end

describe("the example of", function()
  after_each(program.clean)

  it("periodic reclamation reclaims as its model does", function()
    assert.are.equal([[
operation 9: reclaimed 1 objects
operation 19: reclaimed 10 objects
operation 29: reclaimed 10 objects
operation 39: reclaimed 10 objects
operation 49: reclaimed 10 objects
total reclaimed: 41 objects, 9 in limbo
]], run("epoch_periodic.lua"))
  end)

  it("a stalled reader tells it, and stays within the bound", function()
    local out = run("epoch_stalled.lua 20000")
    assert.is_truthy(out:find("reader: the pin was neutralized (neutralized)", 1, true))
    local most, bound = out:match("(%d+) at most in limbo %(bound (%d+)%), 1 ejection")
    assert.are.equal("2561", bound)
    assert.is_true(tonumber(most) <= 2561)
  end)

  it("a background thread that advances lets workers reclaim their own", function()
    local out = run("epoch_background.lua")
    assert.is_truthy(out:find("worker 2: reclaimed", 1, true))
    assert.is_truthy(out:find("total reclaimed across workers: 200 objects, 0 in limbo", 1, true))
  end)
end)
