-- The examples of lethe.epoch, run as a user runs them.
local program = require "spec.support.program"

local function run(name)
  local out, err, code = program.run("lethe spec/examples/" .. name)
  assert.are.same({ "", 0 }, { err, code })
  return out
end

describe("the example of", function()
  after_each(program.clean)

  it("a stalled reader tells it, and stays within the bound", function()
    local out = run("epoch_stalled.lua 20000")
    assert.is_truthy(out:find("reader: the pin was neutralized (neutralized)", 1, true))
    local most, bound = out:match("(%d+) at most in limbo %(bound (%d+)%), 1 ejection")
    assert.are.equal("2561", bound)
    assert.is_true(tonumber(most) <= 2561)
  end)
end)
